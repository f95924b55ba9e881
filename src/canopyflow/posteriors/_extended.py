"""What the families with auxiliary randomness share: normals, and a density in an extended space.

Such a family draws its variables z together with auxiliary variables u, so the density of z alone is an
integral without closed form. A *reverse model* r(u | z), which guesses u from z, replaces it: whatever r is,
q(z, u) / r(u | z) has expectation q(z) under r, and p(x, z) r(u | z) / q(z, u) has expectation p(x) under q.
A better r only means less variance and a tighter bound (Agakov & Barber 2004,
doi:10.1007/978-3-540-30499-9_86).

All of these families work in coordinates y with z = lower + (upper − lower)·Φ(μ(x) + σ(x)·y). Whatever the
pixel, y is of order one: networks of y, and steps in y, need not learn where the posterior lies and how wide
it is.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._bounds import LOG_SCALE_RANGE, in_probits, shrunk
from ._marginals import LOG_ROOT_TWO_PI
from .contract import EDGE, Box, Family, Posterior, Setting

NEAREST_PROBIT = 1e-9
"""Share of the width that stands for a point on a bound when it is mapped back: Φ(−6)."""


class Normal(NamedTuple):
    """Independent normals: ``loc`` and ``log_scale`` (..., n)."""

    loc: Tensor
    log_scale: Tensor

    @classmethod
    def bounded(
        cls, raw: Tensor, start: float = 0.0, log_scale_range: tuple[float, float] = LOG_SCALE_RANGE
    ) -> Normal:
        """Of a network's output (..., 2n); zeros make it N(0, exp(2·start))."""
        return cls(*in_probits(raw, start, log_scale_range))

    def transform(self, noise: Tensor) -> Tensor:
        """Standard normal ``noise`` (..., n) to draws (..., n)."""
        return self.loc + self.log_scale.exp() * noise

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density (...) at ``x`` (..., n)."""
        return standard_log_prob((x - self.loc) * torch.exp(-self.log_scale)) - self.log_scale.sum(-1)

    def merged(self, other: Normal) -> Normal:
        """The normalised product of both densities: locations are averaged by precision."""
        precisions = torch.exp(-2.0 * self.log_scale), torch.exp(-2.0 * other.log_scale)
        total = precisions[0] + precisions[1]
        loc = (precisions[0] * self.loc + precisions[1] * other.loc) / total
        return Normal(loc, -0.5 * total.log())

    def kl(self, other: Normal) -> Tensor:
        """Kullback–Leibler divergence (...) from ``other``, nats."""
        ratio = 2.0 * (self.log_scale - other.log_scale)
        shift = (self.loc - other.loc) * torch.exp(-other.log_scale)
        return 0.5 * (ratio.exp() + shift.square() - 1.0 - ratio).sum(-1)


def standard_log_prob(x: Tensor) -> Tensor:
    """Log density (...) of the standard normal distribution at ``x`` (..., n)."""
    return -0.5 * x.square().sum(-1) - x.shape[-1] * LOG_ROOT_TWO_PI


class ConditionalNormal(nn.Module):
    """A network with two hidden layers from variables (..., inputs) and features to a :class:`Normal`.

    The features' share of the first layer, :meth:`context`, is computed once per pixel and not once per
    sample. Weights are not shrunk at the start, because training would begin at a saddle point: while the
    variables do not depend on the auxiliary ones, the reverse model has nothing to learn, and while the
    reverse model has not learned, such a dependence does not improve the bound.
    """

    def __init__(self, inputs: int, features: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.from_features = nn.Linear(features, hidden)
        self.from_inputs = nn.Linear(inputs, hidden, bias=False)
        self.between = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, 2 * outputs)

    def context(self, h: Tensor) -> Tensor:
        """The features' share of the first hidden layer, (*batch, hidden)."""
        return torch.as_tensor(self.from_features(h))

    def forward(self, context: Tensor, inputs: Tensor) -> Normal:
        hidden = F.silu(context + self.from_inputs(inputs))
        return Normal.bounded(self.head(F.silu(self.between(hidden))))


class Coordinates:
    """The map from y (..., *batch, D), any real numbers, to physical units strictly inside the bounds.

    ``frame`` (*batch, D) is the location and scale of the variables' probits.
    """

    def __init__(self, lower: Tensor, upper: Tensor, frame: Normal) -> None:
        self.box, self.frame = Box(lower, upper), frame
        probit = len(lower) * (math.log1p(-2.0 * EDGE) - LOG_ROOT_TWO_PI)
        self._constant = self.box.log_volume + probit + frame.log_scale.sum(-1)

    def outward(self, y: Tensor) -> Tensor:
        """Coordinates ``y`` (..., *batch, D) to physical units."""
        probit = self.frame.transform(y)
        return self.box.outward(EDGE + (1.0 - 2.0 * EDGE) * torch.special.ndtr(probit))

    def log_slope(self, y: Tensor) -> Tensor:
        """Log-determinant (...) of :meth:`outward` at ``y``."""
        return self._constant - 0.5 * self.frame.transform(y).square().sum(-1)

    def inward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """y (..., *batch, D) of physical ``z``, and whether each point is within the bounds (...)."""
        unit, within = self.box.inward(z)
        # From the nearer tail: there floats have digits to spare.
        near = (torch.minimum(unit, 1.0 - unit) - EDGE) / (1.0 - 2.0 * EDGE)
        probit = torch.special.ndtri(near.clamp(min=NEAREST_PROBIT))
        probit = torch.where(unit < 0.5, probit, -probit)
        return (probit - self.frame.loc) * torch.exp(-self.frame.log_scale), within


class ExtendedFamily(Family):
    """A family whose posteriors are extended; a linear map of the features gives their coordinates."""

    has_density = False

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.frame = shrunk(nn.Linear(setting.features, 2 * setting.dim))

    def coordinates(self, h: Tensor) -> Coordinates:
        """The coordinates of pixels with features ``h`` (*batch, features)."""
        return Coordinates(self.lower, self.upper, Normal.bounded(self.frame(h)))


class ExtendedPosterior(Posterior):
    """A posterior whose density is known only together with auxiliary variables.

    A subclass says how y is drawn (:meth:`_forward`) and how its density is estimated (:meth:`_reverse`).
    """

    has_density = False

    def __init__(self, coordinates: Coordinates) -> None:
        super().__init__(coordinates.frame.loc)
        self.coordinates = coordinates

    @abc.abstractmethod
    def _forward(self, shape: Sequence[int], generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """y (*shape, *batch, D), and log q(y, u) − log r(u | y) of the draw (*shape, *batch)."""

    @abc.abstractmethod
    def _reverse(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        """log q(y, u) − log r(u | y) (...) at given ``y`` (..., *batch, D), u drawn from r."""

    def rsample_and_log_prob(
        self, shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        y, log_q = self._forward(shape, generator)
        return self.coordinates.outward(y), log_q - self.coordinates.log_slope(y)

    def log_prob_bound(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        y, within = self.coordinates.inward(z)
        value = self._reverse(y, generator) - self.coordinates.log_slope(y)
        return value.masked_fill(~within, -math.inf)
