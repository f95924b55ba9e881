"""Distributions of one variable on the unit interval, each an increasing map of a standard normal score.

A score y stands for the probability level Φ(y). Unlike the level itself it
loses no digits in the upper tail, and it is what a Gaussian copula correlates.
"""

from __future__ import annotations

import abc
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ._bounds import softly, within
from .contract import EDGE

LOG_ROOT_TWO_PI = 0.5 * math.log(2.0 * math.pi)
FARTHEST_LOGIT = math.log1p(-EDGE) - math.log(EDGE)
"""Logit of 1 − EDGE: the share of the unit interval that the box keeps."""
TRUNCATED_SCALE_RANGE = (5e-4, 1.4)
TRUNCATED_START = 0.3
"""Broad at first: a narrow distribution would have to find the posterior before it could fit it."""
IMPOSSIBLE = math.log(1e4)
"""Tails that fall as exp(−eˣ) are cut at this x: a density of e^−10000 is zero in every float already, and
its logarithm stays finite."""
LOCATION_LIMIT = 7.0
"""Logit-normal locations: medians from 0.1 % to 99.9 % of the width."""
LOG_SCALE_RANGE = (math.log(5e-3), math.log(2.0))
"""Above √2 a logit-normal is U-shaped already; above 2 mass would gather within EDGE of the bounds."""


class Marginal(abc.ABC):
    """Distributions of D variables for each element of a batch, independent of each other."""

    shape: torch.Size
    """(*batch, D)"""

    @abc.abstractmethod
    def quantile(self, score: Tensor) -> Tensor:
        """Value in [EDGE, 1 − EDGE] at probability Φ(score); both (..., *batch, D)."""

    @abc.abstractmethod
    def log_density(self, unit: Tensor) -> Tensor:
        """Log density (..., *batch, D) at ``unit``, a value in [EDGE, 1 − EDGE]."""

    def kl_uniform(self) -> Tensor | None:
        """KL divergence (*batch, D) of each variable from the uniform distribution.

        None where it has no closed form.
        """
        return None


class ScoredMarginal(Marginal):
    """A marginal that also computes scores from values, as a copula needs."""

    loc: Tensor
    scale: Tensor

    @abc.abstractmethod
    def score(self, unit: Tensor) -> Tensor:
        """Standard normal score of ``unit``: the inverse of :meth:`quantile`."""


class TruncatedNormalMarginal(ScoredMarginal):
    """Normals of ``loc`` and ``scale`` (*batch, D), conditioned on lying in [0, 1].

    ``loc`` must not be more than three scales outside [0, 1]: the mass inside is then at least 1e-3, and
    neither sampling nor the density meets a far tail.
    """

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale, self.shape = loc, scale, loc.shape
        self._below = torch.special.ndtr(-loc / scale)
        self._above = torch.special.ndtr((loc - 1.0) / scale)
        self._inside = 1.0 - self._below - self._above

    @classmethod
    def of(cls, loc: Tensor, scale: Tensor) -> TruncatedNormalMarginal:
        """From unbounded network outputs (*batch, D), in the ranges of the published PROSAIL-VAE."""
        low, high = (math.log(s) for s in TRUNCATED_SCALE_RANGE)
        return cls(torch.sigmoid(loc), within(scale, low, high, start=math.log(TRUNCATED_START)).exp())

    def quantile(self, score: Tensor) -> Tensor:
        # From the nearer tail: there floats have digits to spare.
        left = self._below + torch.special.ndtr(score) * self._inside
        right = self._above + torch.special.ndtr(-score) * self._inside
        standard = torch.special.ndtri(torch.minimum(left, right).clamp(min=1e-30))
        standard = torch.where(left < right, standard, -standard)
        return (self.loc + self.scale * standard).clamp(EDGE, 1.0 - EDGE)

    def score(self, unit: Tensor) -> Tensor:
        left = _normal_mass(-self.loc / self.scale, unit / self.scale)
        right = _normal_mass((self.loc - 1.0) / self.scale, (1.0 - unit) / self.scale)
        tail = (torch.minimum(left, right) / self._inside).clamp(1e-30, 0.5)
        score = torch.special.ndtri(tail)
        return torch.where(left < right, score, -score)

    def log_density(self, unit: Tensor) -> Tensor:
        standard = (unit - self.loc) / self.scale
        return -0.5 * standard.square() - self.scale.log() - self._inside.log() - LOG_ROOT_TWO_PI

    def kl_uniform(self) -> Tensor:
        first, last = -self.loc / self.scale, (1.0 - self.loc) / self.scale
        ends = first * _normal_density(first) - last * _normal_density(last)
        return -(self.scale * self._inside).log() - LOG_ROOT_TWO_PI - 0.5 - 0.5 * ends / self._inside


def _normal_density(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x.square() - LOG_ROOT_TWO_PI)


def _normal_mass(start: Tensor, length: Tensor) -> Tensor:
    """Standard normal mass of [start, start + length], also where the difference of Φ would cancel."""
    short = _normal_density(start + 0.5 * length) * length
    long = torch.special.ndtr(start + length) - torch.special.ndtr(start)
    return torch.where(length < 1e-3, short, long)


class LogitNormalMarginal(ScoredMarginal):
    """The logit of each variable is normal with ``loc`` and ``scale`` (*batch, D)."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale, self.shape = loc, scale, loc.shape

    @classmethod
    def of(cls, loc: Tensor, scale: Tensor) -> LogitNormalMarginal:
        """From unbounded network outputs (*batch, D), which zero makes a standard logit-normal."""
        return cls(softly(loc, LOCATION_LIMIT), within(scale, *LOG_SCALE_RANGE, start=0.0).exp())

    def quantile(self, score: Tensor) -> Tensor:
        return torch.sigmoid(self.loc + self.scale * score).clamp(EDGE, 1.0 - EDGE)

    def score(self, unit: Tensor) -> Tensor:
        return (torch.logit(unit) - self.loc) / self.scale

    def log_density(self, unit: Tensor) -> Tensor:
        slope = unit.log() + torch.log1p(-unit)
        return -0.5 * self.score(unit).square() - self.scale.log() - LOG_ROOT_TWO_PI - slope


def log1mexp(x: Tensor) -> Tensor:
    """log(1 − eˣ) for x < 0 without loss of digits (Mächler 2012)."""
    near = x > -math.log(2.0)
    # Each branch is given an argument that it can differentiate.
    close = torch.log(-torch.expm1(torch.where(near, x, torch.full_like(x, -1.0))))
    return torch.where(near, close, torch.log1p(-torch.exp(torch.where(near, torch.full_like(x, -1.0), x))))


def log_gaussian(standard: Tensor) -> Tensor:
    """Standard normal log density, summed over the last dimension."""
    return -(0.5 * standard.square() + LOG_ROOT_TWO_PI).sum(-1)


def log_slope_of_sigmoid(x: Tensor) -> Tensor:
    """log dσ(x)/dx, summed over the last dimension."""
    return (F.logsigmoid(x) + F.logsigmoid(-x)).sum(-1)
