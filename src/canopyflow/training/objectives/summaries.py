"""Learn the summaries of the model's own posterior from its draws, by proper scores."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.summaries import LEARNED, LEVELS
from canopyflow.observations.observation import Observation, Sample
from canopyflow.training.objectives.contract import Objective, at_least_zero

_DECODED = 4
"""Draws per pixel that are decoded to judge the fit."""


@dataclass(frozen=True)
class SummaryScores(Objective):
    """Gaussian score of mean and standard deviation, pinball score of quantiles, gamma score of the fit.

    All in units of the posterior's own standard deviation, so that narrow posteriors count as much as wide
    ones. ``own_draws``: posterior draws per pixel and step; ``mixed``: share of the pixels that are replaced
    by mixtures of two, which no simulation holds and real fields do. The posterior itself is not trained.
    """

    own_draws: int = 16
    mixed: float = 0.25

    trains: ClassVar[tuple[str, ...]] = ("summaries",)

    def __post_init__(self) -> None:
        at_least_zero(self, "summaries")
        if self.own_draws < 2 or self.mixed > 1:
            raise ConfigError("objective 'summaries' needs own_draws of at least 2 and mixed of at most 1")

    def loss(self, model: Amortised, sample: Sample, draws: int, step: int | None = None) -> Tensor:
        head = model.summaries
        assert head is not None, "a model with options for summaries"
        seen = mixtures(sample.seen, self.mixed)
        with torch.no_grad():
            z = model.posterior(seen).rsample((self.own_draws,))
            values = model.generative.outputs(z, seen, LEARNED)
            distance2 = model.generative.distance2(z[:_DECODED], seen).mean(0) / len(seen.bands)
        mean, deviation, quantiles, fit = head(head.inputs(seen))
        values = values.transpose(1, 2).contiguous()
        return scores(values, mean, deviation, quantiles).mean(0) + gamma_score(distance2, fit)


def mixtures(seen: Observation, share: float, generator: torch.Generator | None = None) -> Observation:
    """``seen`` with the first ``share`` of its pixels mixed, half and half on average, with their
    neighbours."""
    count = int(share * len(seen))
    if not count:
        return seen
    weight = torch.rand(count, 1, device=seen.reflectance.device, generator=generator)
    mixed = seen.reflectance.clone()
    other = seen.reflectance.roll(1, 0)[:count]
    mixed[:count] = weight * mixed[:count] + (1.0 - weight) * other
    return replace(seen, reflectance=mixed)


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
