"""The law of a map given weather: h(X) with its error, through the decoder, and what that leaves over.

Errors e(Y) − h(X) are those of days that h was not fitted to: one group of days (a year) is left out at a
time and h is fitted to the others, with encoder and decoder held. Two laws are made of them:

- N(h(X), Σ_e) in the latents, Σ_e their covariance: what a season's posterior can use;
- errors of *similar* days, those whose forecasts are nearest to today's: a draw takes the error of such a day
  in the latents and what the decoder left over of its map. Errors depend on the weather (a dry high errs
  less than a front), are skewed, and are alike in space; all that comes along.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.weather.autoencoder import WeatherAutoencoder
from canopyflow.models.weather.latents.contract import Latents

SIMILAR, GAUSSIAN = "similar", "gaussian"
SIMILAR_DAYS = 30
_AT_LEAST = 4
"""Of few days no more than one in this many is similar."""
_JITTER = 1e-6
_WIDEST = 4.0
"""No error grows by more: with two years known nothing else would hold it."""
_AT_ONCE = 256
"""Days whose draws are made at a time."""


def latent_law(model: WeatherAutoencoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """N(h(X), Σ_e): mean (*batch, D), covariance (D, D) of latents given weather ``x`` (*batch, cells,
    drivers)."""
    return model.predict(x), model.error_factor @ model.error_factor.mT


@torch.no_grad()
def draw_maps(
    model: WeatherAutoencoder,
    x: Tensor,
    count: int,
    generator: torch.Generator | None = None,
    errors: str = SIMILAR,
) -> Tensor:
    """``count`` joint draws (count, n, values) of the maps under weather ``x`` (n, cells, drivers).

    ``errors``: :data:`SIMILAR`, or :data:`GAUSSIAN` for N(h(X), Σ_e). Raises ConfigError for others.
    """
    if errors not in (SIMILAR, GAUSSIAN):
        raise ConfigError(f"unknown errors {errors!r}", f"give {SIMILAR} or {GAUSSIAN}")
    parts = [_draw(model, part, count, generator, errors) for part in x.split(_AT_ONCE)]
    return torch.cat(parts, 1)


def _draw(
    model: WeatherAutoencoder, x: Tensor, count: int, generator: torch.Generator | None, errors: str
) -> Tensor:
    mean = model.predict(x)
    days = len(model.day_errors)
    if errors == GAUSSIAN:
        chosen = torch.randint(days, (count, len(x)), generator=generator)
        noise = torch.randn((count, *mean.shape), generator=generator, dtype=mean.dtype)
        error = noise @ model.error_factor.mT
    else:
        near = similar_days(model, mean)
        place = torch.randint(near.shape[-1], (count, len(x)), generator=generator)
        chosen = near.gather(1, place.mT).mT
        error = model.day_errors[chosen]
    error = error * _widening(model, error.shape[:-1], generator)
    return model.bounded(model.free(mean + error) + model.day_left[chosen])


def _widening(model: WeatherAutoencoder, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Factors (*shape, 1) that make errors known from G groups of days those of one more.

    Errors of a year are alike, so their size is known from G numbers: Student's t with G − 1 degrees of
    freedom in place of a normal distribution. 1 where there is one group, whose errors say nothing of others.
    """
    freedom = int(model.groups) - 1
    if freedom < 1:
        return torch.ones(*shape, 1)
    squares = torch.randn((*shape, freedom), generator=generator).square().sum(-1, keepdim=True)
    return (freedom / squares).sqrt().clamp(max=_WIDEST)


@torch.no_grad()
def similar_days(model: WeatherAutoencoder, mean: Tensor) -> Tensor:
    """Days (n, k) of training, the most similar first, of latents ``mean`` (n, D) predicted from weather.

    Forecasts are compared as standardised maps.
    """
    count = max(1, min(SIMILAR_DAYS, len(model.day_predicted) // _AT_LEAST))
    distance = torch.cdist(model.decoder(mean), model.decoder(model.day_predicted))
    return distance.topk(count, largest=False).indices


@torch.no_grad()
def learn_errors(model: WeatherAutoencoder, x: Tensor, y: Tensor, group: Tensor, ridge: float) -> None:
    """Set Σ_e and the table of errors, from days ``x`` (n, cells, drivers), ``y`` (n, values) of ``group``
    (n,). With one group alone the days that h was fitted to must serve."""
    model.eval()
    codes, weather = model.encode(y).mean, model.scaled_weather(x)
    predicted = model.latents(weather)
    if len(group.unique()) > 1:
        for out, found in left_out(model.latents, weather, codes, group, ridge):
            predicted[out] = found[out]
    left = y - model.free(codes)
    model.groups.fill_(len(group.unique()))
    model.day_predicted, model.day_errors = predicted, codes - predicted
    model.day_left = torch.where(left.isnan(), 0.0, left)
    model.error_factor.copy_(_factor(model.day_errors))


def left_out(
    latents: Latents, x: Tensor, z: Tensor, group: Tensor, ridge: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each ``group`` (n,): where it is (n,), and latents (n, D) by an h like ``latents`` that was fitted
    to the other days of standardised weather ``x`` (n, cells, drivers) and ``z`` (n, D)."""
    h = copy.deepcopy(latents)
    for each in group.unique():
        out = group == each
        h.refit(x[~out], z[~out], ridge)
        yield out, h(x)


def _factor(error: Tensor) -> Tensor:
    """Cholesky factor (D, D) of the second moment of ``error`` (n, D)."""
    moment = error.double().mT @ error.double() / len(error)
    jitter = _JITTER * moment.diagonal().mean().clamp(min=1e-12)
    return torch.linalg.cholesky(moment + jitter * torch.eye(len(moment), dtype=moment.dtype)).to(error)
