"""The published PROSAIL-VAE loss (Zérah et al. 2024), for comparison."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.estimators.amortised import Amortised, PhysicalPosterior
from canopyflow.observations.observation import Sample
from canopyflow.training.objectives.contract import Objective, at_least_zero
from canopyflow.vocabulary import NAMES

LEFT_OUT = "B02"
VARIANCE_FLOOR = 1e-8
"""Least variance, (0.01 % reflectance)²: it is divided by, and draws may agree exactly."""

LAI = NAMES.index("lai")


@dataclass(frozen=True)
class PredictiveNll(Objective):
    """Gaussian negative log-likelihood of the observation under mean and variance, band by band, of ``draws``
    reconstructions, B02 left out; plus ``beta`` times the divergence of leaf area index from uniform.

    It is no bound of the evidence: its minimiser is not the posterior.
    """

    trains: ClassVar[tuple[str, ...]] = ("encoder", "family")
    weighs: ClassVar[bool] = False
    of_seasons: ClassVar[bool] = False
    draws: int = 70
    beta: float = 2.0

    def __post_init__(self) -> None:
        at_least_zero(self, "predictive_nll")
        if not isinstance(self.draws, int) or self.draws < 2:
            raise ConfigError(
                f"option 'draws' of objective 'predictive_nll' is {self.draws!r}",
                "a whole number, at least 2",
            )

    def loss(self, model: Amortised, sample: Sample, draws: int, step: int | None = None) -> Tensor:
        q = model.posterior(sample.seen)
        u = q.base.rsample((self.draws,))
        decoded = model.generative.decode(q.prior.to_physical(u), sample.seen)
        kept = [i for i, band in enumerate(model.bands) if band != LEFT_OUT]
        variance, mean = torch.var_mean(decoded[..., kept], dim=0)
        variance = variance + VARIANCE_FLOOR
        distance = (sample.seen.reflectance[:, kept] - mean).square() / variance
        terms = 0.5 * (distance + variance.log() + math.log(2.0 * math.pi))
        nll = torch.where(sample.seen.valid[:, kept], terms, 0.0).sum(-1)
        return nll + self.beta * _lai_divergence(q, u)


def _lai_divergence(q: PhysicalPosterior, u: Tensor) -> Tensor:
    """KL divergence (B,) of the marginal of leaf area index from uniform over its range.

    In closed form, or with the entropy estimated from the spacings of sorted draws (Vasicek 1976).
    """
    closed = q.base.kl_uniform()
    if closed is not None:
        return closed[..., LAI]
    width = float(q.prior.upper[LAI] - q.prior.lower[LAI])
    ordered = (u[..., LAI] / width).sort(dim=0).values
    n = len(ordered)
    spacing = (ordered[1:] - ordered[:-1]).clamp(min=1e-9).log().mean(0)
    # Of uniform draws, the mean logarithm of the spacings is ψ(1) − ψ(n + 1).
    unbiased = torch.digamma(torch.tensor(n + 1.0)) - torch.digamma(torch.tensor(1.0))
    return -(spacing + unbiased)


OBJECTIVE = PredictiveNll
