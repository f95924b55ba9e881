"""Neural spline flow: coupled rational-quadratic splines (Durkan et al. 2019, arXiv:1906.04032).

Standard normal noise → coupling layers → a shift and scale per variable →
the normal distribution function → the bounds. Splines, shift and scale near
the identity therefore give the uniform law over the box, and a law that piles
up at a bound with finite density is an ordinary normal tail to the splines,
which act on [−5, 5] (zuko's; outside they are the identity).

The splines are zuko's. The coupling is written here for speed: the features'
share of the first hidden layer is computed once per pixel instead of once per
sample, and a pass in either direction evaluates each network once and yields
value and log-determinant together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Transform
from zuko.transforms import MonotonicRQSTransform

from .contract import Box, Family, LogJoint, Posterior

BOUND = 5.0
"""Splines act on [−5, 5]."""
LOG_SLOPE = math.log(1e3)
"""Least slope of a spline 1e-3, greatest 1e3."""
LOG_SCALE_RANGE = (-5.0, 0.5)
FARTHEST_SHIFT = 3.0
"""Bounded shift and scale keep the samples off :data:`FARTHEST`, where density would gather in a lump."""
FARTHEST = 4.75
"""Φ(4.75) = 1 − 1e-6: samples farther out would meet the bounds in float32."""


class NeuralSpline(Family):
    """Conditional spline coupling flow.

    Options: ``transforms`` coupling layers (at least two for every variable to be transformed once),
    ``hidden`` widths of the two hidden layers of each, ``bins`` of the splines.
    """

    kin = "flow"
    summary = "neural spline flow: coupled rational-quadratic splines, conditional on the pixel"
    reference = "Durkan et al. 2019, arXiv:1906.04032"

    def __init__(
        self,
        dim: int,
        features: int,
        lower: Tensor,
        upper: Tensor,
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
        bins: int = 8,
    ) -> None:
        super().__init__(dim, features, lower, upper)
        self.layers = nn.ModuleList(
            Coupling(*_split(dim, i), features, tuple(hidden), bins) for i in range(transforms)
        )
        self.affine = nn.Linear(features, 2 * dim)
        _shrink(self.affine)

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        shift, raw = self.affine(h).chunk(2, dim=-1)
        loc = FARTHEST_SHIFT * torch.tanh(shift / FARTHEST_SHIFT)
        low, high = LOG_SCALE_RANGE
        # The range is not symmetric: the offset makes a raw zero a unit scale.
        offset = math.log(-low / high)
        log_scale = low + (high - low) * torch.sigmoid(raw + offset)
        contexts = [layer.context(h) for layer in self.layers if isinstance(layer, Coupling)]
        return NeuralSplinePosterior(list(self.layers), contexts, loc, log_scale, Box(self.lower, self.upper))


class Coupling(nn.Module):
    """Splines of the variables ``moved``, their shape a network of those ``kept`` and the features."""

    moved: Tensor
    kept: Tensor
    back: Tensor

    def __init__(
        self, moved: Tensor, kept: Tensor, features: int, hidden: tuple[int, ...], bins: int
    ) -> None:
        super().__init__()
        self.bins = bins
        self.register_buffer("moved", moved, persistent=False)
        self.register_buffer("kept", kept, persistent=False)
        # Where each variable lies after (moved, kept) are joined: a gather is cheaper than two scatters.
        self.register_buffer("back", torch.argsort(torch.cat([moved, kept])), persistent=False)
        self.from_features = nn.Linear(features, hidden[0])
        self.from_kept = nn.Linear(len(kept), hidden[0], bias=False) if len(kept) else None
        layers: list[nn.Module] = []
        for before, after in pairwise(hidden):
            layers += [nn.Linear(before, after), nn.ReLU()]
        last = nn.Linear(hidden[-1], len(moved) * (3 * bins - 1))
        _shrink(last)
        self.network = nn.Sequential(*layers, last)

    def context(self, h: Tensor) -> Tensor:
        """The features' share of the first hidden layer, (*batch, hidden)."""
        return torch.as_tensor(self.from_features(h))

    def _spline(self, context: Tensor, kept: Tensor) -> Spline:
        hidden = context if self.from_kept is None else context + self.from_kept(kept)
        shape = self.network(torch.relu(hidden)).unflatten(-1, (len(self.moved), -1))
        return Spline(*shape.split([self.bins, self.bins, self.bins - 1], dim=-1))

    def forward(self, context: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Noise to variables: value and log-determinant (..., D), (...)."""
        kept = x[..., self.kept]
        moved, log_slope = self._spline(context, kept).call_and_ladj(x[..., self.moved])
        return torch.cat([moved, kept], -1)[..., self.back], log_slope.sum(-1)

    def inverse(self, context: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Variables to noise, and the log-determinant of the *forward* direction there."""
        kept = y[..., self.kept]
        spline = self._spline(context, kept)
        moved = spline._inverse(y[..., self.moved])
        log_slope = spline.call_and_ladj(moved)[1]
        return torch.cat([moved, kept], -1)[..., self.back], log_slope.sum(-1)


class Spline(MonotonicRQSTransform):
    """zuko's spline, its knots normalised without ``softmax``.

    The raw widths and heights are soft-clipped to ±½·log(1/slope) first, so plain exponentials are
    safe; torch's softmax over eight numbers took half the time of a sample.
    """

    def __init__(self, widths: Tensor, heights: Tensor, derivatives: Tensor) -> None:
        Transform.__init__(self)
        self.horizontal = _knots(widths)
        self.vertical = _knots(heights)
        self.derivatives = F.pad(
            torch.exp(derivatives / (1.0 + derivatives.abs() / LOG_SLOPE)), (1, 1), value=1.0
        )


def _knots(raw: Tensor) -> Tensor:
    """Raw bin sizes (..., K) to knots (..., K + 1) from −5 to 5."""
    ends = torch.exp(raw / (1.0 + raw.abs() * (2.0 / LOG_SLOPE))).cumsum(-1)
    return F.pad(ends * (2.0 * BOUND / ends[..., -1:]) - BOUND, (1, 0), value=-BOUND)


class NeuralSplinePosterior(Posterior):
    """``contexts`` hold the features' share of each layer, ``loc`` and ``log_scale`` (*batch, D)."""

    def __init__(
        self, layers: list[nn.Module], contexts: list[Tensor], loc: Tensor, log_scale: Tensor, box: Box
    ) -> None:
        self.layers = [layer for layer in layers if isinstance(layer, Coupling)]
        self.contexts, self.loc, self.log_scale, self.box = contexts, loc, log_scale, box

    @property
    def batch_shape(self) -> torch.Size:
        return self.loc.shape[:-1]

    @property
    def device(self) -> torch.device:
        return self.loc.device

    def rsample_and_log_prob(
        self, shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        x = torch.randn(
            (*shape, *self.loc.shape), generator=generator, dtype=self.loc.dtype, device=self.loc.device
        )
        # The normal density of the noise and the slope of the distribution function at the end
        # share their constant, which cancels.
        log_q = -0.5 * x.square().sum(-1) - self.log_scale.sum(-1) - self.box.log_volume
        for layer, context in zip(self.layers, self.contexts, strict=True):
            x, log_det = layer(context, x)
            log_q = log_q - log_det
        x = (self.loc + self.log_scale.exp() * x).clamp(-FARTHEST, FARTHEST)
        return self.box.outward(torch.special.ndtr(x)), log_q + 0.5 * x.square().sum(-1)

    def log_prob(self, z: Tensor) -> Tensor:
        unit, within = self.box.inward(z)
        # From the nearer tail: see truncated_normal.
        x = torch.special.ndtri(torch.minimum(unit, 1.0 - unit))
        x = torch.where(unit < 0.5, x, -x)
        log_q = 0.5 * x.square().sum(-1) - self.log_scale.sum(-1) - self.box.log_volume
        x = (x - self.loc) * torch.exp(-self.log_scale)
        for layer, context in zip(reversed(self.layers), reversed(self.contexts), strict=True):
            x, log_det = layer.inverse(context, x)
            log_q = log_q - log_det
        value = log_q - 0.5 * x.square().sum(-1)
        return torch.where(within, value, torch.full_like(value, -math.inf))


def _split(dim: int, layer: int) -> tuple[Tensor, Tensor]:
    """Indices moved and kept by coupling layer number ``layer``.

    Layers go in pairs of complements; each pair splits by another binary digit of the index, so
    that sooner or later any two variables stand on opposite sides.
    """
    index = torch.arange(dim)
    if dim == 1:
        return index, index[:0]
    digits = (dim - 1).bit_length()
    moved = (index >> (layer // 2 % digits)) % 2 == layer % 2
    return index[moved], index[~moved]


def _shrink(linear: nn.Linear) -> None:
    """Start near the identity, but not at it: every parameter must already receive a gradient."""
    with torch.no_grad():
        linear.weight.mul_(0.1)
        linear.bias.zero_()


FAMILY = NeuralSpline
