"""Planar flow: layers that bend the noise along one direction each.

    y = x + û tanh(w·x + b),    û = u + (ELU(u·w) − u·w) w / |w|²

with u, w and b linear in the features. A layer is invertible if and only if û·w ≥ −1, which free parameters
violate often. The second formula moves u along w until û·w = ELU(u·w), whose floor is at −0.999, so the
constraint holds for every weight and not only after training. (The paper's softplus(u·w) − 1 moves û away
from u even where u·w is positive, and is singular at w = 0.) log |∂y/∂x| = log(1 + û·w (1 − tanh²)).

The density at any point needs the inverse, that is w·x, the root of w·y = s + û·w tanh(s + b): an increasing
function of s, solved by Newton's method inside a bracket, to rounding; its gradient is that of the implicit
function.

It suits cheap draws that need a little more than independent variables: a bend, a shoulder, a few trade-offs.
Each layer acts along one direction only, so a full correlation of eleven variables takes many layers:
``multivariate_logit_normal`` represents correlations better at the same cost, ``nsf`` everything else.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._bounds import shrunk, softly
from ._flow import Flow, Layer, Step
from ._root import invert
from .contract import Setting

LEAST_SLOPE = 1e-3
FARTHEST = 4.0
"""Bound of the components of u, w and b, in units of the noise."""


class Planar(Flow):
    """Option ``transforms``: the number of layers."""

    summary = "planar flow: layers that bend the noise along one direction each"
    reference = "Rezende & Mohamed 2015, arXiv:1505.05770"
    cost = "draw: no network; density: a root per layer"

    def __init__(self, setting: Setting, transforms: int = 8) -> None:
        super().__init__(setting, (PlanarLayer(setting.dim, setting.features) for _ in range(transforms)))


class PlanarLayer(Layer):
    """u, w (*batch, D) and b (*batch) from the features."""

    def __init__(self, dim: int, features: int) -> None:
        super().__init__()
        self.dim = dim
        self.amount = shrunk(nn.Linear(features, dim))
        self.direction = nn.Linear(features, dim + 1)

    def forward(self, h: Tensor) -> Step:
        u = softly(self.amount(h), FARTHEST)
        w, b = softly(self.direction(h), FARTHEST).split([self.dim, 1], dim=-1)
        return PlanarStep(u, w, b.squeeze(-1))


class PlanarStep(Step):
    """``u``, ``w`` (*batch, D) and ``b`` (*batch), unconstrained."""

    def __init__(self, u: Tensor, w: Tensor, b: Tensor) -> None:
        free = (u * w).sum(-1)
        self.w, self.b = w, b
        self.along = F.elu(free, alpha=1.0 - LEAST_SLOPE)
        # With w = 0 there is nothing to correct, and nothing to divide by.
        square = w.square().sum(-1).clamp(min=1e-12)
        self.u = u + ((self.along - free) / square).unsqueeze(-1) * w

    def push(self, x: Tensor) -> tuple[Tensor, Tensor]:
        level = (x * self.w).sum(-1)
        return x + self._bend(level), self._moved(level)[1].log()

    def pull(self, y: Tensor) -> tuple[Tensor, Tensor]:
        target = (y * self.w).sum(-1)
        # With room for rounding: where tanh saturates the root is one end itself.
        reach = self.along.abs().detach() + 1e-3
        level = invert(self._moved, target, target.detach() - reach, target.detach() + reach)
        return y - self._bend(level), self._moved(level)[1].log()

    def _bend(self, level: Tensor) -> Tensor:
        return self.u * torch.tanh(level + self.b).unsqueeze(-1)

    def _moved(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """w·y of the points with w·x = ``level``, and its derivative, which is the layer's determinant."""
        bend = torch.tanh(level + self.b)
        # 1 + along · (1 − bend²), arranged so that nothing cancels as along → −1.
        slope = bend.square() + (1.0 + self.along) * (1.0 - bend.square())
        return level + self.along * bend, slope


FAMILY = Planar
