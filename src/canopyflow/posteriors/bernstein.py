"""Bernstein polynomial flow: coupling layers of increasing polynomials.

Coupling layers as in ``realnvp``, but each moved variable goes through an increasing polynomial of [−5, 5]
onto itself, the identity outside:

    y = Σᵢ θᵢ C(n, i) uⁱ (1 − u)ⁿ⁻ⁱ,    u = (x + 5) / 10,   θ₀ = −5 < θ₁ < … < θₙ = 5

Increasing coefficients make an increasing polynomial; the first and last two differences are fixed, so that
slope 1 and curvature 0 meet the identity at the ends. A network of the kept variables and the features gives
the other differences. The constraints are those of zuko's ``BoundedBernsteinTransform``. They are evaluated
here by de Casteljau's scheme, which gives value and slope together; zuko goes through Beta densities, takes
the slope by a second backward pass and inverts by bisection alone. At a given point the inverse of each
polynomial is found by Newton's method inside a bracket, to rounding, with the gradient of the implicit
function.

It is a smoother alternative to ``nsf``: no knots, so densities without kinks, at twice the cost per step on
simulations. A polynomial of degree n cannot turn faster than about 10 / √n of the scale of the noise: sharp
edges take a higher degree or more layers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Transform
from zuko.transforms import BoundedBernsteinTransform

from canopyflow.errors import ConfigError

from ._coupling import coupling_layers
from ._flow import Flow
from ._root import invert
from .contract import Setting

FIXED = 4
"""Coefficients that the conditions at the two ends take: value and unit slope there, no curvature."""


class Bernstein(Flow):
    """Options: ``transforms`` layers, ``hidden`` widths of their networks, ``degree`` (6 or more) of each."""

    summary = "Bernstein flow: coupled increasing polynomials, conditional on the pixel"
    reference = "Sick et al. 2021, arXiv:2004.00464"
    cost = "draw: 1 network pass per layer; density: and a root per variable"

    def __init__(
        self, setting: Setting, transforms: int = 3, hidden: Sequence[int] = (64, 64), degree: int = 12
    ) -> None:
        if degree < FIXED + 2:
            raise ConfigError(
                f"Bernstein polynomials of degree {degree} cannot bend", f"take {FIXED + 2} or more"
            )
        super().__init__(setting, coupling_layers(setting, transforms, hidden, Polynomial, degree - FIXED))


class Polynomial(BoundedBernsteinTransform):
    """Increasing polynomial from ``raw`` (..., degree − 4), with coefficients constrained by zuko."""

    def __init__(self, raw: Tensor, bound: float = 5.0) -> None:
        Transform.__init__(self)
        self.bound = bound
        self.theta = self._constrain_theta(raw)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = self._value_and_slope(x)
        return value, slope.log()

    def _inverse(self, y: Tensor) -> Tensor:
        inside = y.clamp(-self.bound, self.bound)
        edge = torch.full_like(y, self.bound)
        x = invert(self._value_and_slope, inside, -edge, edge)
        return torch.where(y.abs() < self.bound, x, y)

    def _value_and_slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        share = ((x + self.bound) / (2.0 * self.bound)).clamp(0.0, 1.0).unsqueeze(-1)
        rows = self.theta
        while rows.shape[-1] > 2:
            rows = torch.lerp(rows[..., :-1], rows[..., 1:], share)
        left, right = rows.unbind(-1)
        value = torch.lerp(left, right, share.squeeze(-1))
        slope = (right - left) * ((self.theta.shape[-1] - 1) / (2.0 * self.bound))
        outside = x.abs() >= self.bound
        return torch.where(outside, x, value), torch.where(outside, torch.ones_like(slope), slope)


FAMILY = Bernstein
