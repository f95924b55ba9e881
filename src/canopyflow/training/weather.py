"""Training of maps from weather: the alternation of an autoencoder and of the regression of its latents.

Two players take turns (:mod:`canopyflow.training.plain`): encoder and decoder go down

    L1 = ‖Y − Ŷ‖² + α ‖Y − Ŷ_X‖² + β KL(q(z|Y) ‖ N(0, I)),    Ŷ = d(z), z ~ q(·|Y);  Ŷ_X = d(h(X)), h held,

and h goes down L2 = ‖e(Y) − h(X)‖² with the encoder e, the mean of q, held; every ``refit`` of its steps h
is set to its least squares fit on all days. Squares are summed over the known values of a standardised map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.runtime import generator
from canopyflow.models.weather.autoencoder import WeatherAutoencoder, WeatherOptions
from canopyflow.models.weather.forecast import learn_errors, left_out
from canopyflow.training.plain import Player, train_plain

RIDGES = (1e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
MIDDLE_RIDGE = 3.0


@dataclass(frozen=True)
class WeatherTraining:
    """``alpha``, ``beta``: weights of L1. ``ridge``: of h, in sums of squares; 0 is least squares, and None
    lets :func:`chosen_ridge` decide.

    ``steps``: of both players together; ``batch``: days of a step; ``refit``: steps of h between two least
    squares fits; ``decay``: weight decay of encoder and decoder.
    """

    alpha: float = 1.0
    beta: float = 1.0
    ridge: float | None = 0.0
    steps: int = 4000
    batch: int = 64
    rate: float = 1e-3
    refit: int = 25
    decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "ridge", "decay"):
            value = getattr(self, name)
            if not (value is None or value >= 0.0):
                raise ConfigError(f"weather training: {name} is {value}", "give 0 or more")


@dataclass(frozen=True)
class Days:
    """Days to learn from: weather ``x`` (n, cells, drivers), maps ``y`` (n, values; NaN where missing), and
    ``group`` (n,), whole numbers: days that are not independent (a year) share one. The errors of forecasts
    are learned group by group, h being fitted to the others."""

    x: Tensor
    y: Tensor
    group: Tensor


def fit_weather(
    days: Days, options: WeatherOptions, training: WeatherTraining
) -> tuple[WeatherAutoencoder, list[dict[str, Any]]]:
    """Train a model on ``days``: the model, ready to be asked, and its history.

    Raises DataError for days that do not fit the options, ConfigError for options that cannot be.
    """
    with torch.random.fork_rng():
        torch.manual_seed(generator("weather", training.seed).initial_seed())
        model = WeatherAutoencoder(options)
    model.standardise(days.x, days.y)
    if training.ridge is None:
        training = replace(training, ridge=chosen_ridge(model, days))
    history = alternate(model, days, training)
    learn_errors(model, days.x, days.y, days.group, training.ridge or 0.0)
    return model.eval().requires_grad_(False), history


@torch.no_grad()
def chosen_ridge(model: WeatherAutoencoder, days: Days) -> float:
    """The penalty of :data:`RIDGES` with which h, fitted to all groups of days but one, predicts the latents
    of that one best, each in turn; latents are those of the model as it is. :data:`MIDDLE_RIDGE` where there
    is one group alone."""
    groups = days.group.unique()
    if len(groups) < 2:
        return MIDDLE_RIDGE
    x, codes = model.scaled_weather(days.x), model.encode(days.y).mean
    # Latents count by what they change in a map.
    weight = model.decoder.linear.weight.square().sum(0)

    def left(ridge: float) -> float:
        return sum(
            float(((codes - predicted).square() * weight)[out].sum())
            for out, predicted in left_out(model.latents, x, codes, days.group, ridge)
        )

    return min(RIDGES, key=left)


def alternate(model: WeatherAutoencoder, days: Days, training: WeatherTraining) -> list[dict[str, Any]]:
    """The alternation alone, from the model as it is; h ends as the (ridge) least squares fit to e(Y)."""
    y, known = model.scaled_maps(days.y)
    x = model.scaled_weather(days.x)
    model.train()

    def draw_batch(step: int) -> Tensor:
        # Both players of a turn see the same days.
        chosen = generator("weather days", training.seed, step // 2)
        if training.batch >= len(x):
            return torch.arange(len(x))
        return torch.randint(len(x), (training.batch,), generator=chosen)

    def maps(rows: Tensor, step: int) -> Tensor:
        law = model.law.of(model.encoder(y[rows]))
        loss = training.beta * law.kl()
        loss = loss + _squares(model.decoder(law.rsample()), y[rows], known[rows])
        if training.alpha > 0.0:
            with torch.no_grad():
                from_weather = model.latents(x[rows])
            loss = loss + training.alpha * _squares(model.decoder(from_weather), y[rows], known[rows])
        return loss.mean()

    def regression(rows: Tensor, step: int) -> Tensor:
        return (_codes(model, y[rows]) - model.latents(x[rows])).square().sum(-1).mean()

    def refit(step: int | None) -> None:
        if step is None or (step // 2) % training.refit == 0:
            model.latents.refit(x, _codes(model, y), training.ridge or 0.0)

    refit(None)
    networks: Sequence[Tensor] = [*model.encoder.parameters(), *model.decoder.parameters()]
    players = [
        Player(networks, maps, decay=training.decay),
        Player(list(model.latents.parameters()), regression, refit),
    ]
    history = train_plain(
        players,
        draw_batch,
        steps=training.steps,
        rate=training.rate,
        seed=training.seed,
        log_every=max(1, training.steps // 20),
    )
    model.eval()
    refit(None)
    return history


@torch.no_grad()
def _codes(model: WeatherAutoencoder, y: Tensor) -> Tensor:
    """e(Y) of standardised maps: the mean of the law, without dropout."""
    training = model.training
    model.eval()
    found = model.law.of(model.encoder(y)).mean
    model.train(training)
    return found


def _squares(found: Tensor, y: Tensor, known: Tensor) -> Tensor:
    return ((found - y).square() * known).sum(-1)
