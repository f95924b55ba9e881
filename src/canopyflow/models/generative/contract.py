"""p(x, z), written once: simulation, likelihood, refinement, reference and training all use the same.

Three systems of coordinates appear. *Physical* state z is what the decoder takes, in units of the field. The
*base* box u is the fixed box that posterior families live on; the prior owns the map between the two.
*Probit* coordinates w turn each side of the base box into the real line: samplers move there, without bounds.
*Normal scores* are the coordinates in which the prior is a standard normal distribution; where the prior is
uniform on the base box, they are the probit coordinates. Trajectories of seasons live there.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Protocol

import torch
from torch import Tensor, nn

from canopyflow.errors import ConfigError
from canopyflow.observations.observation import Given, Observation, Sample
from canopyflow.samplers.contract import Target
from canopyflow.vocabulary import Variable

_FARTHEST = 5.2
"""Largest probit coordinate: the normal distribution function, 1e-7 below 1 there, is 1 in float32 beyond."""


class Kind(Enum):
    """What values a state has: numbers within bounds, any real numbers, or one of several classes."""

    BOX = "box"
    REAL = "real"
    CLASSES = "classes"


@dataclass(frozen=True)
class Space:
    """The state: ``names`` and ``units`` of its variables, bounds ``lower`` and ``upper`` (D,) of the base
    box."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    lower: Tensor
    upper: Tensor
    kind: Kind = Kind.BOX


class Prior(Protocol):
    """A distribution over the state, with its map between base and physical coordinates."""

    @property
    def lower(self) -> Tensor:
        """Bounds (D,) of the base box."""
        ...

    @property
    def upper(self) -> Tensor: ...

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` draws (n, D), physical."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density (...) of physical ``z`` (..., D)."""
        ...

    def log_prob_base(self, u: Tensor) -> Tensor:
        """Log density (...) of base ``u`` (..., D)."""
        ...

    def to_physical(self, u: Tensor) -> Tensor: ...

    def to_base(self, z: Tensor) -> Tensor: ...

    def log_abs_det(self, u: Tensor) -> Tensor:
        """log |det ∂z/∂u| (...) at base ``u``."""
        ...


class Generative(nn.Module, abc.ABC):
    """p(x, z) = p(z) p(x | z). ``bands`` and ``platforms`` name what it can render.

    ``estimates``: what :meth:`outputs` can say, with the bounds that this prior gives it.
    """

    space: Space
    estimates: tuple[Variable, ...]
    bands: tuple[str, ...]
    platforms: tuple[str, ...]

    @abc.abstractmethod
    def prior(self, given: Given | None = None) -> Prior:
        """The distribution of the state before anything is seen, under these circumstances."""

    @abc.abstractmethod
    def decode(self, z: Tensor, given: Given) -> Tensor:
        """Noise-free reflectance (*sample, *batch, band) of physical ``z`` (*sample, *batch, D)."""

    @abc.abstractmethod
    def log_likelihood(self, z: Tensor, seen: Observation) -> Tensor:
        """log p(x | z), (*sample, *batch), of the valid entries of ``seen`` alone."""

    @abc.abstractmethod
    def distance2(self, z: Tensor, seen: Observation) -> Tensor:
        """Squared Mahalanobis distance (*sample, *batch) of the valid entries from the spectrum of ``z``."""

    @abc.abstractmethod
    def observe(self, sample: Sample, generator: torch.Generator | None = None) -> Observation:
        """What a sensor would report of ``sample``: noise is added to what is free of it."""

    @abc.abstractmethod
    def outputs(self, z: Tensor, given: Given, names: Sequence[str]) -> Tensor:
        """What a product says of states ``z`` (*sample, *batch, D): (*sample, *batch, len(names)).

        ``names`` are of :attr:`estimates`. Those that follow from the state are computed from each joint
        draw, and only if they are asked for.
        """

    def target(self, seen: Observation) -> Target | None:
        """The posterior of ``seen`` as samplers take it, where its own coordinates are better than probit
        ones."""
        return None

    def simulate(self, given: Given, generator: torch.Generator | None = None) -> Sample:
        """A state from the prior and its noise-free reflectance for each element of ``given``."""
        return self.render(self.prior(given).sample(len(given), generator), given)

    @torch.no_grad()
    def render(self, z: Tensor, given: Given) -> Sample:
        """Noise-free reflectance of known states ``z`` (n, D)."""
        reflectance = self.decode(z, given)
        seen = Observation(
            **{f.name: getattr(given, f.name) for f in fields(Given)},
            reflectance=reflectance,
            valid=torch.ones_like(reflectance, dtype=torch.bool),
        )
        return Sample(seen, z, torch.ones(len(z), dtype=torch.bool, device=z.device))

    def log_joint(self, u: Tensor, seen: Observation) -> Tensor:
        """log p(x, u), (*sample, *batch), per unit of base volume."""
        prior = self.prior(seen)
        return self.log_likelihood(prior.to_physical(u), seen) + prior.log_prob_base(u)

    def log_density(self, w: Tensor, seen: Observation) -> Tensor:
        """log p(x, w) up to a constant, (*sample, *batch), at probit coordinates ``w`` (*sample, *batch,
        D)."""
        # The normal density is the derivative of u in w, hence the Jacobian (up to a constant).
        return self.log_joint(self.from_probit(w), seen) - 0.5 * w.square().sum(-1)

    def from_probit(self, w: Tensor) -> Tensor:
        """Probit coordinates (..., D) to base coordinates."""
        lower, upper = (bound.to(w) for bound in (self.space.lower, self.space.upper))
        return lower + (upper - lower) * torch.special.ndtr(w.clamp(-_FARTHEST, _FARTHEST))

    def to_probit(self, u: Tensor) -> Tensor:
        """Inverse of :meth:`from_probit`."""
        lower, upper = (bound.to(u) for bound in (self.space.lower, self.space.upper))
        return torch.special.ndtri(((u - lower) / (upper - lower)).clamp(1e-6, 1.0 - 1e-6))

    def from_scores(self, w: Tensor) -> Tensor:
        """Normal scores (..., D) to base coordinates. A model whose prior is not uniform on the base box
        overrides this and :meth:`to_scores`."""
        return self.from_probit(w)

    def to_scores(self, u: Tensor) -> Tensor:
        """Inverse of :meth:`from_scores`."""
        return self.to_probit(u)

    def noise_precision(self, value: Tensor, valid: Tensor | None = None) -> Tensor:
        """Inverse covariance (*batch, band, band) of the noise around noise-free reflectance ``value``
        (*batch, band); rows and columns of what is not ``valid`` (*batch, band) are 0. What linearised
        samplers need beside :meth:`linearise`. Raises ConfigError where the noise is not normal."""
        raise ConfigError(
            f"the noise of {type(self).__name__} has no covariance", "take a sampler that needs none: hmc"
        )

    def fit(self, z: Tensor, seen: Observation) -> Tensor:
        """Distance (*batch) of draws ``z`` (K, *batch, D) from the observation, in units of its noise.

        Root of the mean over draws of the squared Mahalanobis distance per valid band; near 1 for spectra of
        the model itself.
        """
        count = len(seen.bands) if seen.complete else seen.valid.sum(-1)
        return (self.distance2(z, seen).mean(0) / count).sqrt()

    def linearise(self, w: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        """Noise-free reflectance (*batch, band) at probit coordinates ``w`` (*batch, D), and its Jacobian
        (*batch, band, D) there: what smoothers and linearised samplers need."""
        with torch.enable_grad():
            leaf = w.detach().requires_grad_()
            value = self.decode(self.prior(given).to_physical(self.from_probit(leaf)), given)
            rows = [
                torch.autograd.grad(value[..., band].sum(), leaf, retain_graph=True)[0]
                for band in range(value.shape[-1])
            ]
        return value.detach(), torch.stack(rows, dim=-2)
