"""Radial flow: layers that push the noise away from a centre, or draw it towards it.

    y = x + β (x − c) / (α + r),    r = |x − c|,   α > 0,   β = α (eˢ − 1)

with c, log α and s linear in the features, and bounded. A layer is invertible if and only if β > −α, which
the last formula says for every s. log |∂y/∂x| = (D − 1) log(1 + β/(α + r)) + log(1 + αβ/(α + r)²). The
inverse is the positive root of r² + (α + β − |y − c|) r − α |y − c| = 0.

It suits peaks with wide feet, or a hole, and is the simplest flow to compare with. Layers are round: a
trade-off of two variables among eleven is nearly out of reach.
"""

import torch
from torch import Tensor, nn

from ._bounds import shrunk, softly
from ._flow import Flow, Layer, Step
from .contract import Setting

FARTHEST_CENTRE = 4.0
LARGEST_LOG_RADIUS = 2.0
LARGEST_STRENGTH = 3.0
"""Bound of s: the slope at the centre, eˢ, lies in [0.05, 20]."""


class Radial(Flow):
    """Option ``transforms``: the number of layers."""

    summary = "radial flow: layers that spread or gather the noise around one centre each"
    reference = "Rezende & Mohamed 2015, arXiv:1505.05770"
    cost = "draw: no network; density: the same"

    def __init__(self, setting: Setting, transforms: int = 8) -> None:
        super().__init__(setting, (RadialLayer(setting.dim, setting.features) for _ in range(transforms)))


class RadialLayer(Layer):
    """Centre (*batch, D), log α and s (*batch) from the features."""

    def __init__(self, dim: int, features: int) -> None:
        super().__init__()
        self.dim = dim
        self.place = nn.Linear(features, dim + 1)
        self.strength = shrunk(nn.Linear(features, 1))

    def forward(self, h: Tensor) -> Step:
        centre, log_radius = self.place(h).split([self.dim, 1], dim=-1)
        return RadialStep(
            softly(centre, FARTHEST_CENTRE),
            softly(log_radius, LARGEST_LOG_RADIUS).squeeze(-1).exp(),
            softly(self.strength(h), LARGEST_STRENGTH).squeeze(-1),
        )


class RadialStep(Step):
    """``centre`` (*batch, D), ``alpha`` > 0 and ``strength`` (*batch)."""

    def __init__(self, centre: Tensor, alpha: Tensor, strength: Tensor) -> None:
        self.centre, self.alpha = centre, alpha
        self.beta = alpha * torch.expm1(strength)
        self.inner = alpha * strength.exp()  # α + β without its cancellation

    def push(self, x: Tensor) -> tuple[Tensor, Tensor]:
        offset = x - self.centre
        distance = torch.linalg.vector_norm(offset, dim=-1)
        stretch = (self.inner + distance) / (self.alpha + distance)
        return self.centre + stretch.unsqueeze(-1) * offset, self._log_det(distance, stretch, x.shape[-1])

    def pull(self, y: Tensor) -> tuple[Tensor, Tensor]:
        offset = y - self.centre
        target = torch.linalg.vector_norm(offset, dim=-1)
        # distance² + (α + β − target) distance − α target = 0: the positive root, without cancellation.
        p, q = self.inner - target, self.alpha * target
        root = torch.sqrt(p.square() + 4.0 * q)
        distance = torch.where(p > 0.0, 2.0 * q / (p.abs() + root), 0.5 * (p.abs() + root))
        stretch = (self.inner + distance) / (self.alpha + distance)
        return self.centre + offset / stretch.unsqueeze(-1), self._log_det(distance, stretch, y.shape[-1])

    def _log_det(self, distance: Tensor, stretch: Tensor, dim: int) -> Tensor:
        """Across the ray a layer stretches D − 1 times; along it by 1 + αβ / (α + distance)²."""
        # α² + 2 α distance + distance² + αβ with α + β joined: a sum of positive terms.
        along = (self.alpha * self.inner + distance * (2.0 * self.alpha + distance)) / (
            self.alpha + distance
        ).square()
        return (dim - 1) * stretch.log() + along.log()


FAMILY = Radial
