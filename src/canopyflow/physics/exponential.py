"""Exponential integrals for the leaf model, with exact derivatives.

A plate that absorbs with optical depth ``k`` transmits diffuse light in the share 2·E₃(k) = (1 − k)·e⁻ᵏ +
k²·E₁(k) (Allen et al. 1969, J. Opt. Soc. Am. 59, 1376). torch has no exponential integral, so E₁ is evaluated
here: the power series (Abramowitz & Stegun 5.1.11) below a switch point and Gauss-Laguerre quadrature of
e⁻ᵏ∫e⁻ᵗ/(k+t)dt above it. Derivatives use Eₙ' = −Eₙ₋₁ and are not differentiated through the approximations.
"""

from math import factorial
from typing import Any

import numpy as np
import torch
from torch import Tensor

EULER_GAMMA = 0.57721566490153286061
DEPTH_FLOOR = {torch.float64: 1e-7, torch.float32: 1e-5}
"""Least optical depth. Leaf reflectance is analytic in the depth, but is computed by square roots whose
derivative is infinite at zero. A green leaf has at least 4e-3 at any wavelength. Below the floor the
derivative is that at the floor, not zero."""


def _series(terms: int) -> tuple[float, ...]:
    """Coefficients of Σ (−1)ⁿ⁺¹ kⁿ/(n·n!), highest power first, for Horner's rule."""
    return tuple((-1.0) ** (n + 1) / (n * factorial(n)) for n in range(terms, 0, -1))


def _rational(nodes: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Gauss-Laguerre rule of ∫e⁻ᵗ/(k+t)dt as one fraction P(k)/Q(k), highest power first."""
    t, w = np.polynomial.laguerre.laggauss(nodes)
    bottom = np.poly(-t)
    top = sum(w[i] * np.poly(-np.delete(t, i)) for i in range(nodes))
    # Scaled so that float32 holds the large coefficients and the large powers together.
    scale = bottom[-1] ** 0.5
    return tuple(float(c) for c in np.asarray(top) / scale), tuple(float(c) for c in bottom / scale)


# Switch point, series, numerator and denominator of the fraction: made once.
_APPROXIMATION = {
    torch.float64: (3.0, _series(30), *_rational(20)),
    torch.float32: (2.0, _series(14), *_rational(9)),
}


def _horner(coefficients: tuple[float, ...], k: Tensor) -> Tensor:
    value = k * coefficients[0]
    for coefficient in coefficients[1:-1]:
        value.add_(coefficient).mul_(k)
    return value.add_(coefficients[-1])


def e1(k: Tensor) -> Tensor:
    """E₁(k) for k > 0, any shape; no autograd. Absolute error 1e-15 (float64) or 1e-7 (float32)."""
    switch, series, top, bottom = _APPROXIMATION[k.dtype]
    small = k.clamp(max=switch)
    low = _horner(series, small).mul_(small).sub_(torch.log(small)).sub_(EULER_GAMMA)
    # Beyond 80, e⁻ᵏ has left float32 and the value no longer matters.
    large = k.clamp(min=switch, max=80.0)
    high = torch.exp(-large).mul_(_horner(top, large)).div_(_horner(bottom, large))
    return torch.where(k <= switch, low, high)


class _E1(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, k: Tensor) -> Tensor:
        ctx.save_for_backward(k)
        return e1(k)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (k,) = ctx.saved_tensors
        return -grads[0] * torch.exp(-k) / k


class _Plate(torch.autograd.Function):
    """k → (2·E₃(k), 1 − 2·E₃(k)); the second is formed without cancellation."""

    @staticmethod
    def forward(ctx: Any, depth: Tensor) -> tuple[Tensor, Tensor]:
        k = depth.clamp_min(DEPTH_FLOOR[depth.dtype])
        decay = torch.exp(-k)
        k_e1 = e1(k).mul_(k)
        e2 = decay - k_e1
        absorbed = torch.addcmul(-torch.expm1(-k), k, e2)
        ctx.save_for_backward(depth, e2)
        return torch.addcmul(decay, k, e2, value=-1.0), absorbed

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        depth, e2 = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            k = depth.clamp_min(DEPTH_FLOOR[depth.dtype])
            e2 = torch.exp(-k) - k * _E1.apply(k)
        return 2.0 * e2 * (grads[1] - grads[0])


def plate(k: Tensor) -> tuple[Tensor, Tensor]:
    """Diffuse transmittance of one absorbing plate and its complement, for optical depth k >= 0.

    Twice differentiable. A plate that absorbs nothing gets value and derivative at DEPTH_FLOOR.
    """
    transmitted, absorbed = _Plate.apply(k)
    return transmitted, absorbed
