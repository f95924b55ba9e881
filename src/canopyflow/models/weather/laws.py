"""Laws of a map's latents: what the encoder says of z given a map, each latent on its own.

Unlike the families of :mod:`canopyflow.posteriors` these live on the whole line. All tensors are (*batch, D).
The map from weather is fitted to the law's mean, so each law knows its first two moments in closed form.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.posteriors._bounds import within
from canopyflow.posteriors._extreme import LARGEST_SHAPE, log_t, moments, standard_of
from canopyflow.registry import nearest

SCALE_RANGE = (1e-3, 3.0)
"""Of the scale of a latent, whose prior has standard deviation one."""
START_SCALE = 0.3
_LOG_ROOT_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Law(abc.ABC):
    """A distribution of D independent latents for each element of a batch."""

    numbers: ClassVar[int]
    """Network outputs per latent."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = loc, scale

    @classmethod
    @abc.abstractmethod
    def of(cls, raw: Tensor) -> Law:
        """From network outputs (*batch, numbers × D); zeros give scale :data:`START_SCALE`."""

    @property
    @abc.abstractmethod
    def mean(self) -> Tensor:
        """(*batch, D)"""

    @property
    @abc.abstractmethod
    def variance(self) -> Tensor:
        """(*batch, D)"""

    @abc.abstractmethod
    def rsample(self, shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Draws (*shape, *batch, D) with gradients to the parameters."""

    @abc.abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log density (..., *batch) of ``z`` (..., *batch, D)."""

    @abc.abstractmethod
    def kl(self, generator: torch.Generator | None = None) -> Tensor:
        """Divergence (*batch) from N(0, I), or an unbiased estimate of it."""


class Gaussian(Law):
    """Normal distributions. The divergence has a closed form."""

    numbers = 2

    @classmethod
    def of(cls, raw: Tensor) -> Gaussian:
        loc, scale = raw.chunk(2, dim=-1)
        return cls(loc, _scale(scale))

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.scale.square()

    def rsample(self, shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(
            (*shape, *self.loc.shape), generator=generator, dtype=self.loc.dtype, device=self.loc.device
        )
        return self.loc + self.scale * noise

    def log_prob(self, z: Tensor) -> Tensor:
        standard = (z - self.loc) / self.scale
        return (-0.5 * standard.square() - self.scale.log() - _LOG_ROOT_TWO_PI).sum(-1)

    def kl(self, generator: torch.Generator | None = None) -> Tensor:
        each = 0.5 * (self.loc.square() + self.variance - 1.0) - self.scale.log()
        return each.sum(-1)


class ExtremeValue(Law):
    """Generalised extreme value distributions, for latents whose law given a map is skewed.

    Drawn by the quantile function, z = μ + σ ((−log p)^(−ξ) − 1)/ξ with p uniform. Mean and variance are
    μ + σ (g₁ − 1)/ξ and σ² (g₂ − g₁²)/ξ² with gₖ = Γ(1 − kξ); |ξ| < 0.5, beyond which there is no variance.
    Their divergence from N(0, I) has no closed form: it is a mean over ``draws``.
    """

    numbers = 3
    draws: ClassVar[int] = 8

    def __init__(self, loc: Tensor, scale: Tensor, xi: Tensor) -> None:
        super().__init__(loc, scale)
        self.xi = xi

    @classmethod
    def of(cls, raw: Tensor) -> ExtremeValue:
        loc, scale, xi = raw.chunk(3, dim=-1)
        return cls(loc, _scale(scale), LARGEST_SHAPE * 0.98 * torch.tanh(xi))

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * moments(self.xi)[0]

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * moments(self.xi)[1]

    def quantile(self, p: Tensor) -> Tensor:
        """z (..., *batch, D) at probabilities ``p`` (..., *batch, D) in (0, 1)."""
        return self.loc + self.scale * standard_of(torch.log(-torch.log(p)), self.xi)

    def rsample(self, shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        p = torch.rand(
            (*shape, *self.loc.shape), generator=generator, dtype=self.loc.dtype, device=self.loc.device
        )
        tiny = torch.finfo(p.dtype).eps
        return self.quantile(p.clamp(tiny, 1.0 - tiny))

    def log_prob(self, z: Tensor) -> Tensor:
        value, slope = log_t((z - self.loc) / self.scale, self.xi)
        return (value + slope - value.exp() - self.scale.log()).sum(-1)

    def kl(self, generator: torch.Generator | None = None) -> Tensor:
        z = self.rsample((self.draws,), generator)
        # Of the prior's part the expectation is known: only the entropy is left to chance.
        cross = 0.5 * (self.mean.square() + self.variance) + _LOG_ROOT_TWO_PI
        return self.log_prob(z).mean(0) + cross.sum(-1)


LAWS: dict[str, type[Law]] = {"gaussian": Gaussian, "gev": ExtremeValue}
"""Laws by the names that options give them."""


def law_of(name: str) -> type[Law]:
    """The law called ``name``. Raises ConfigError for an unknown one."""
    if name not in LAWS:
        raise ConfigError(f"unknown law of latents {name!r}", nearest(name, LAWS))
    return LAWS[name]


def _scale(raw: Tensor) -> Tensor:
    """Unbounded outputs to scales within :data:`SCALE_RANGE`; zero gives :data:`START_SCALE`."""
    low, high = (math.log(s) for s in SCALE_RANGE)
    return within(raw, low, high, start=math.log(START_SCALE)).exp()
