"""Learn the summaries of the model's own posterior from its draws, by proper scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.encoders._spectra import REFLECTANCE_FLOOR
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.summaries import LEVELS, Summaries
from canopyflow.observations.observation import Observation, Sample, View
from canopyflow.training.objectives.contract import Objective, at_least_zero

if TYPE_CHECKING:
    from canopyflow.models.season_summaries import SeasonSummaries

_DECODED = 4
"""Draws per pixel that are decoded to judge the fit."""

_SEASON_BATCHES = 8
"""Batches of seasons that are drawn together."""

_BAD, _WORST = 4.0, 100.0
"""Squared distances, in units of the batch's median one, beyond which a pixel's summaries count for less, and
the largest that is told from others."""


@dataclass(frozen=True)
class SummaryScores(Objective):
    """Gaussian score of mean and standard deviation, pinball score of quantiles, gamma score of the fit.

    All in units of the posterior's own standard deviation, so that narrow posteriors count as much as wide
    ones. ``own_draws``: posterior draws per pixel and step; ``mixed``: share of the pixels that are replaced
    by mixtures of two, which no simulation holds and real fields do; ``foreign``: share of those that are
    disturbed until no state explains them, from which the network learns what a bad fit is. The posterior
    itself is not trained.
    """

    SHARES: ClassVar[tuple[str, ...]] = ("mixed", "foreign")

    own_draws: int = 16
    mixed: float = 0.2
    foreign: float = 0.1

    trains: ClassVar[tuple[str, ...]] = ("head",)
    weighs: ClassVar[bool] = False
    # A few narrow posteriors decide the loss of an epoch; errors fall with the rate, so the last is the best.
    stops_early: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least_zero(self, "summaries")
        if self.own_draws < 2 or self.mixed + self.foreign > 1:
            raise ConfigError(
                "objective 'summaries': own_draws is at least 2, mixed and foreign together at most 1"
            )

    def loss(self, model: Amortised, sample: Sample, draws: int, step: int | None = None) -> Tensor:
        return self._scored(_head(model), *self._drawn(model, self.varied(sample.seen)))

    def at_once(self, view: View) -> int:
        # A season is drawn date after date, and many are drawn nearly as fast as few.
        return 1 if view is View.PIXEL else _SEASON_BATCHES

    def turns(
        self, model: Amortised, sample: Sample, draws: int, step: int, batch_size: int
    ) -> Iterator[Callable[[], Tensor]]:
        seen, values, distance2 = self._drawn(model, self.varied(sample.seen))
        pieces = max(1, len(seen) // batch_size)
        for piece in range(pieces):
            # Every so many: the disturbed ones stand last.
            rows = torch.arange(piece, len(seen), pieces, device=values.device)
            yield partial(self._scored, _head(model), seen.rows(rows), values[:, rows], distance2[rows])

    def _drawn(self, model: Amortised, seen: Observation) -> tuple[Observation, Tensor, Tensor]:
        """``seen``, draws (K, n, [date,] variables) of all outputs, and how far some of them are from what
        was seen, squared (n,)."""
        with torch.no_grad():
            z = model.posterior(seen).rsample((self.own_draws,))
            values = model.generative.outputs(z, seen, _head(model).names)
            counted = seen.valid.flatten(1).sum(-1)
            distance2 = model.generative.distance2(z[:_DECODED], seen).mean(0) / counted.clamp_min(1)
        return seen, values, distance2

    def _scored(self, head: Summaries, seen: Observation, values: Tensor, distance2: Tensor) -> Tensor:
        of_timing: Tensor | float = 0.0
        if seen.view is View.PIXEL:
            (mean, deviation, quantiles, fit), _ = head.answer(seen, head.names, LEVELS)
        else:
            of_seasons = cast("SeasonSummaries", head)
            (mean, deviation, quantiles, fit), whole = of_seasons.answer_both(seen, LEVELS)
            of_timing = scores(of_seasons.timing(values, seen).transpose(1, 2), *whole).mean(0)
        # Of seasons every date is one more element.
        values = values.flatten(1, -2).transpose(1, 2).contiguous()
        # Where nothing fits the pixel will be drawn, so that its summaries need not be learned.
        usual = distance2.median()
        weight = (_BAD * usual / distance2).clamp(max=1.0)
        score = scores(values, mean, deviation, quantiles).mean(0).view(len(seen), -1).mean(-1) + of_timing
        if seen.view is View.PIXEL:
            return weight * score + gamma_score(distance2.clamp(max=_WORST * usual), fit)
        # A season of which nothing was seen has no fit.
        known = seen.valid.flatten(1).any(-1)
        of_fit = gamma_score(distance2.clamp(max=_WORST * usual), fit)
        return torch.where(known, weight, 1.0) * score + torch.where(known, of_fit, 0.0)

    def varied(self, seen: Observation, generator: torch.Generator | None = None) -> Observation:
        """``seen`` with its first pixels mixed and its last ones disturbed; those between as they are. Of
        seasons no two have the same days, and none are mixed."""
        mixed, foreign = int(self.mixed * len(seen)), int(self.foreign * len(seen))
        x = seen.reflectance.clone()
        if seen.view is View.PIXEL:
            x[:mixed] = _mixed(seen.reflectance, mixed, generator)
        x[len(x) - foreign :] = disturbed(x[len(x) - foreign :], generator)
        return replace(seen, reflectance=x)


def _head(model: Amortised) -> Summaries:
    assert model.head is not None, "a model with options for summaries"
    return model.head


def _mixed(x: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """The first ``count`` of ``x`` (n, bands), each mixed with its neighbour in any proportion."""
    weight = torch.rand(count, 1, device=x.device, generator=generator)
    return weight * x[:count] + (1.0 - weight) * x.roll(1, 0)[:count]


def disturbed(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Spectra ``x`` (..., bands) as no canopy has them, in five ways at once, some stronger and some weaker.

    Each band by itself too bright or too dark, all of them so, an offset, a tilt over the spectrum as haze
    has, and one in five replaced by a level with a slope, as water, snow and roofs are.
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device=x.device, generator=generator)

    def some(share: float) -> Tensor:
        return (torch.rand(n, 1, device=x.device, generator=generator) < share).to(x)

    shape = x.shape
    x = x.reshape(-1, shape[-1])
    n, bands = x.shape
    slope = torch.linspace(1.0, -1.0, bands, device=x.device)
    size = 0.02 * 20.0 ** torch.rand(n, 1, device=x.device, generator=generator)
    replaced = some(0.2)
    level = torch.rand(n, 1, device=x.device, generator=generator).square() * (1.0 + normal(n, 1) * slope)
    x = torch.where(replaced > 0, level, x)
    x = x * torch.exp(size * normal(n, bands) + some(0.3) * 0.4 * normal(n, 1))
    x = x + some(0.3) * 0.1 * normal(n, 1) + some(0.3) * 0.1 * normal(n, 1).abs() * slope.clamp_min(0.0)
    return x.clamp(REFLECTANCE_FLOOR, 2.0).reshape(shape)


def scores(values: Tensor, mean: Tensor, deviation: Tensor, quantiles: Tensor) -> Tensor:
    """Sum of the Gaussian and the pinball scores (variables, n) of draws ``values`` (K, variables, n).

    ``mean``, ``deviation`` (variables, n), ``quantiles`` (levels, variables, n) as
    :class:`canopyflow.models.summaries.Summaries` gives them. The pinball score is divided by the standard
    deviation, which is held.
    """
    gaussian = deviation.log() + 0.5 * ((values - mean) / deviation).square().mean(0)
    scale = deviation.detach()
    pinball = torch.zeros_like(mean)
    for level, quantile in zip(LEVELS, quantiles, strict=True):
        error = values - quantile
        # max(level e, (level - 1) e) = max(e, 0) - (1 - level) e
        pinball = pinball + (error.clamp_min(0.0) - (1.0 - level) * error).mean(0)
    return gaussian + 2.0 * pinball / scale


def gamma_score(value: Tensor, log_mean: Tensor) -> Tensor:
    """Least in expectation where ``exp(log_mean)`` is the mean of the positive ``value``."""
    return value * torch.exp(-log_mean) + log_mean


OBJECTIVE = SummaryScores
