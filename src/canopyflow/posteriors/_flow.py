"""What the flows share: from noise through layers, shift and scale to the bounds; the density both ways.

Standard normal noise goes through invertible layers, a shift and scale per variable, a limiter that is the
identity on [−4, 4], and the normal distribution function into the unit cube. Where layers and scale are near
the identity, the posterior is therefore uniform over the box. A flow's own file only says what its layers
are.
"""

import abc
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ._bounds import in_probits, shrunk
from .contract import Box, Family, LogJoint, Posterior, Setting

KNEE, FARTHEST = 4.0, 4.75
"""Noise beyond ±4 is compressed smoothly to within ±4.75: Φ(4.75) = 1 − 1e-6 is still inside the bounds in
float32. A hard clamp would put a finite share of the draws on one point, which has no density."""
NEAREST = 0.95
"""Share of the way from KNEE to FARTHEST up to which the density is exact: 1.2e-6 widths from a bound."""


class Step(abc.ABC):
    """An invertible map of noise space, its parameters fixed by the features of a batch."""

    @abc.abstractmethod
    def push(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the variables: y (*, *batch, D) and log |∂y/∂x| (*, *batch)."""

    @abc.abstractmethod
    def pull(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Back to the noise: x, and the log-determinant *of* :meth:`push` there."""


class Layer(nn.Module, abc.ABC):
    """Features (*batch, features) → :class:`Step`."""

    @abc.abstractmethod
    def forward(self, h: Tensor) -> Step: ...


class Flow(Family):
    """A family whose draws are noise pushed through ``layers``, the first of them first."""

    kin = "flow"

    def __init__(self, setting: Setting, layers: Iterable[Layer]) -> None:
        super().__init__(setting)
        self.layers = nn.ModuleList(layers)
        self.affine = shrunk(nn.Linear(self.features, 2 * self.dim))

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        loc, log_scale = in_probits(self.affine(h))
        return FlowPosterior([layer(h) for layer in self.layers], loc, log_scale, self.box)


class FlowPosterior(Posterior):
    """``steps`` act on the noise, then ``loc`` and ``log_scale`` (*batch, D)."""

    def __init__(self, steps: Sequence[Step], loc: Tensor, log_scale: Tensor, box: Box) -> None:
        super().__init__(loc)
        self.steps, self.loc, self.log_scale, self.box = steps, loc, log_scale, box
        # Noise and box share the constant of the normal density, which cancels.
        self.log_constant = -log_scale.sum(-1) - box.log_volume

    def rsample_and_log_prob(
        self, shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        x = self._noise((*shape, *self.loc.shape), generator)
        log_q = self.log_constant - 0.5 * x.square().sum(-1)
        for step in self.steps:
            x, log_det = step.push(x)
            log_q = log_q - log_det
        x, log_slope = _limit(self.loc + self.log_scale.exp() * x)
        return self.box.outward(torch.special.ndtr(x)), log_q - (log_slope - 0.5 * x.square()).sum(-1)

    def log_prob(self, z: Tensor) -> Tensor:
        unit, within = self.box.inward(z)
        # From the nearer tail: there floats have digits to spare.
        x = torch.special.ndtri(torch.minimum(unit, 1.0 - unit))
        limited = torch.where(unit < 0.5, x, -x)
        x, log_slope = _unlimit(limited)
        log_q = self.log_constant - (log_slope - 0.5 * limited.square()).sum(-1)
        x = (x - self.loc) * torch.exp(-self.log_scale)
        for step in reversed(self.steps):
            x, log_det = step.pull(x)
            log_q = log_q - log_det
        return (log_q - 0.5 * x.square().sum(-1)).masked_fill(~within, -math.inf)


def _limit(x: Tensor) -> tuple[Tensor, Tensor]:
    """The identity within ±KNEE, x / (1 + x) beyond: value and log slope (..., D)."""
    room = FARTHEST - KNEE
    inner = x.clamp(-KNEE, KNEE)
    excess = (x - inner) / room
    return inner + room * excess / (1.0 + excess.abs()), -2.0 * torch.log1p(excess.abs())


def _unlimit(y: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of :func:`_limit`, and the log slope of ``_limit`` there."""
    room = FARTHEST - KNEE
    inner = y.clamp(-KNEE, KNEE)
    # What lies closer to the bound counts as lying here: the noise that it stands for grows without limit,
    # and one simulation in a hundred thousand has a variable there, whose loss would drown a whole epoch.
    share = ((y - inner) / room).clamp(-NEAREST, NEAREST)
    return inner + room * share / (1.0 - share.abs()), 2.0 * torch.log1p(-share.abs())
