"""Training objectives: each turns one batch into a loss to minimise, in nats per pixel.

An objective is a frozen dataclass; its fields are its options. Those with a likelihood term need no truth
and can look at observed pixels; ``batch.variables`` is None there.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, ClassVar

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.priors import held
from canopyflow.models.retrieval import PhysicalPosterior, RetrievalModel
from canopyflow.physics.priors import LAI


@dataclass(frozen=True)
class Batch:
    """Noisy pixels: reflectance (B, bands), angles (B, 3) degrees, platform (B,) long, truth (B, 11)."""

    reflectance: Tensor
    angles: Tensor
    platform: Tensor
    variables: Tensor | None = None


class Objective(abc.ABC):
    """What training minimises."""

    needs_truth: ClassVar[bool] = False
    """Whether it can look at simulations only."""
    has_prior: ClassVar[bool] = True
    """Whether it has a prior term, hence could fit a learned prior."""

    @abc.abstractmethod
    def loss(self, model: RetrievalModel, batch: Batch, samples: int, step: int | None = None) -> Tensor:
        """Loss of each pixel, (B,), from ``samples`` draws.

        ``step``: optimizer steps done in this phase, for what is annealed; None: at its final value.
        """


def _posterior(model: RetrievalModel, batch: Batch) -> PhysicalPosterior:
    return model.posterior(batch.reflectance, batch.angles, batch.platform)


def _terms(model: RetrievalModel, batch: Batch, samples: int) -> tuple[Tensor, Tensor]:
    """Mean log-likelihood and divergence of posterior from prior, both (B,), over K draws.

    On the base box, where the Jacobians have cancelled. Where the family knows its divergence from the
    uniform law in closed form, the draws' scatter in log q does not enter.
    """
    q = _posterior(model, batch)
    u, log_q = q.base.rsample_and_log_prob((samples,))
    closed = q.base.kl_uniform()
    if closed is None:
        negative_entropy = log_q.mean(0)
    else:
        negative_entropy = closed.sum(-1) - (model.family.upper - model.family.lower).log().sum()
    return q.base_log_likelihood(u).mean(0), negative_entropy - model.log_prior(u).mean(0)


@dataclass(frozen=True)
class Elbo(Objective):
    """Negative evidence lower bound."""

    def loss(self, model: RetrievalModel, batch: Batch, samples: int, step: int | None = None) -> Tensor:
        log_likelihood, divergence = _terms(model, batch, samples)
        return divergence - log_likelihood


@dataclass(frozen=True)
class BetaElbo(Objective):
    """The bound with its divergence weighted (Higgins et al. 2017), annealed, and free up to a rate.

    ``beta``: weight of the divergence; ``anneal_steps``: steps over which it rises from 0 to there;
    ``free_bits``: bits per pixel, as a mean over the batch, below which the divergence costs nothing
    (Kingma et al. 2016, all variables as one group: a joint posterior has no divergence per variable).
    """

    beta: float = 1.0
    anneal_steps: int = 0
    free_bits: float = 0.0

    def __post_init__(self) -> None:
        _at_least_zero(self)

    def loss(self, model: RetrievalModel, batch: Batch, samples: int, step: int | None = None) -> Tensor:
        log_likelihood, divergence = _terms(model, batch, samples)
        free = self.free_bits * math.log(2.0)
        charged = torch.where(divergence.mean() > free, divergence, torch.full_like(divergence, free))
        return self.weight(step) * charged - log_likelihood

    def weight(self, step: int | None) -> float:
        """Weight of the divergence after ``step`` steps; None: after annealing."""
        if step is None or step >= self.anneal_steps:
            return self.beta
        return self.beta * step / self.anneal_steps


@dataclass(frozen=True)
class Iwae(Objective):
    """Negative importance-weighted bound (Burda et al. 2016) with the doubly reparametrised gradient.

    The plain gradient's signal-to-noise ratio falls with the number of draws (Rainforth et al. 2018); with
    the score of q removed and the weights squared it grows (DReG: Tucker et al. 2019, arXiv:1810.04152).
    That needs q at a point with its parameters held, so families without a density take the plain one.
    """

    def loss(self, model: RetrievalModel, batch: Batch, samples: int, step: int | None = None) -> Tensor:
        q = _posterior(model, batch)
        u, log_q = q.base.rsample_and_log_prob((samples,))
        if not q.has_density:
            log_weight = q.base_log_likelihood(u) + model.log_prior(u) - log_q
            return math.log(samples) - torch.logsumexp(log_weight, dim=0)
        with held(model):
            log_prior = model.log_prior(u)
        path = q.base_log_likelihood(u) + log_prior - q.held_log_prob(u)
        weight = torch.softmax(path.detach(), dim=0)
        gradient = (weight.square() * path).sum(0)
        if model.learned_prior is not None:
            gradient = gradient + (weight * model.log_prior(u.detach())).sum(0)
        bound = torch.logsumexp(path.detach(), dim=0) - math.log(samples)
        # Its value is the bound, its gradient DReG's.
        return -(bound + gradient - gradient.detach())


@dataclass(frozen=True)
class Npe(Objective):
    """Neural posterior estimation: −log q of the variables that made the spectrum (forward divergence).

    For families without a density, the bound of it.
    """

    needs_truth = True
    has_prior = False

    def loss(self, model: RetrievalModel, batch: Batch, samples: int, step: int | None = None) -> Tensor:
        assert batch.variables is not None
        return -_posterior(model, batch).log_prob_bound(batch.variables)


@dataclass(frozen=True)
class PredictiveNll(Objective):
    """The published PROSAIL-VAE loss (Zérah et al. 2024), for comparison.

    Gaussian negative log-likelihood of the observation under mean and variance, band by band, of ``draws``
    reconstructions, B02 left out; plus ``beta`` times the divergence of leaf area index from uniform.
    It is no bound of the evidence: its minimiser is not the posterior.
    """

    has_prior = False
    draws: int = 70
    beta: float = 2.0

    def __post_init__(self) -> None:
        _at_least_zero(self)
        if not isinstance(self.draws, int) or self.draws < 2:
            raise ConfigError(
                f"option 'draws' of objective 'predictive_nll' is {self.draws!r}",
                "a whole number, at least 2",
            )

    def loss(self, model: RetrievalModel, batch: Batch, samples: int, step: int | None = None) -> Tensor:
        q = _posterior(model, batch)
        u = q.base.rsample((self.draws,))
        decoded = model.decode(model.prior.to_physical(u), batch.angles, batch.platform)
        kept = [i for i, band in enumerate(model.bands) if band != LEFT_OUT]
        variance, mean = torch.var_mean(decoded[..., kept], dim=0)
        variance = variance + VARIANCE_FLOOR
        distance = (batch.reflectance[:, kept] - mean).square() / variance
        nll = 0.5 * (distance + variance.log() + math.log(2.0 * math.pi)).sum(-1)
        return nll + self.beta * _lai_divergence(q, u)


LEFT_OUT = "B02"
VARIANCE_FLOOR = 1e-8
"""Square of a hundredth of a percent reflectance: draws that agree exactly must not divide by zero."""


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


OBJECTIVES: dict[str, type[Objective]] = {
    "elbo": Elbo,
    "beta_elbo": BetaElbo,
    "iwae": Iwae,
    "npe": Npe,
    "predictive_nll": PredictiveNll,
}


def objective(name: str, options: Mapping[str, Any] | None = None) -> Objective:
    """The objective called ``name`` with its ``options``.

    Raises ConfigError with the nearest name for an unknown objective, and for an unknown option or value.
    """
    if name not in OBJECTIVES:
        near = get_close_matches(name, OBJECTIVES, n=1) or sorted(OBJECTIVES)
        raise ConfigError(f"objective {name!r} is unknown", f"did you mean {near[0]!r}?")
    known = options_of(name)
    for option in options or {}:
        if option not in known:
            raise ConfigError(
                f"unknown option {option!r} of objective {name!r}", f"known: {', '.join(known) or 'none'}"
            )
    return OBJECTIVES[name](**(options or {}))


def options_of(name: str) -> dict[str, Any]:
    """Options of the objective called ``name`` with their defaults."""
    kind: Any = OBJECTIVES[name]
    return {f.name: f.default for f in fields(kind)}


def _at_least_zero(options: Any) -> None:
    names = {kind: name for name, kind in OBJECTIVES.items()}
    for f in fields(options):
        value = getattr(options, f.name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(
                f"option {f.name!r} of objective {names[type(options)]!r} is {value!r}",
                "a number of at least 0",
            )
