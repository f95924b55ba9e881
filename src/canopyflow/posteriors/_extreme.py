"""The generalised extreme value distribution on the whole line, standard location and scale.

    F(s) = exp(−t),   t = (1 + ξ s)^(−1/ξ)   (ξ = 0: t = e⁻ˢ)

ξ here is −c of :class:`scipy.stats.genextreme`: the larger ξ, the heavier the right tail. Where 1 + ξ s <
.01, log t goes on as its tangent, the tail of a Gumbel distribution, so that no value is impossible; beyond
that seam lies no mass for ξ > 0, and 0.01^(1/|ξ|), at most 1e-4, for −0.5 < ξ < 0. Everything is finite,
with its gradient, at ξ = 0 too.
"""

import math

import torch
from torch import Tensor

from ._marginals import IMPOSSIBLE

LARGEST_SHAPE = 0.5
"""Bound of |ξ|: −0.28 is nearly symmetric, 0 a Gumbel distribution, and beyond 0.5 a GEV has no variance."""
SEAM = 0.01

EULER = 0.5772156649015329
_ZETA = (math.pi**2 / 6.0, 1.2020569031595942, math.pi**4 / 90.0, 1.0369277551433699, math.pi**6 / 945.0)
"""Riemann's ζ(2) … ζ(6): log Γ(1 − ξ) = γ ξ + Σ ζ(k) ξᵏ / k."""


def log_t(standard: Tensor, xi: Tensor) -> tuple[Tensor, Tensor]:
    """log t and log |d log t / ds| (...) of ``standard`` s (...); the latter is −log(1 + ξ s)."""
    stretch = xi * standard
    beyond = (SEAM - 1.0 - stretch).clamp(min=0.0)
    stretch = stretch.clamp(min=SEAM - 1.0)
    before = torch.where(beyond > 0.0, (SEAM - 1.0) / _away_from_zero(xi), standard)
    value = beyond / (SEAM * _away_from_zero(xi)) - before * _log1p_over(stretch)
    return value.clamp(max=IMPOSSIBLE), -torch.log1p(stretch)


def standard_of(log_t: Tensor, xi: Tensor) -> Tensor:
    """The s (...) of a ``log_t`` (...): the inverse of :func:`log_t`."""
    exponent = -xi * log_t
    beyond = (math.log(SEAM) - exponent).clamp(min=0.0)
    regular = -log_t * _expm1_over(exponent.clamp(min=math.log(SEAM)))
    tangent = (SEAM * (1.0 - beyond) - 1.0) / _away_from_zero(xi)
    return torch.where(beyond > 0.0, tangent, regular)


def moments(xi: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (...) of s for shapes ``xi`` (...) in (−0.5, 0.5), those of the GEV without a seam.

    With gₖ = Γ(1 − kξ): (g₁ − 1)/ξ and (g₂ − g₁²)/ξ², at ξ = 0 Euler's constant and π²/6.
    """
    first = torch.lgamma(1.0 - xi)
    small = xi.abs() < 0.05
    safe = torch.where(small, torch.full_like(xi, 0.25), xi)
    slope = torch.where(small, _series(xi, 1), torch.lgamma(1.0 - safe) / safe)
    mean = _expm1_over(first) * slope
    # log(g₂ / g₁²) is of the second order in ξ.
    exact = (torch.lgamma(1.0 - 2.0 * safe) - 2.0 * torch.lgamma(1.0 - safe)) / safe.square()
    curve = torch.where(small, _series(xi, 2), exact)
    variance = (2.0 * first).exp() * _expm1_over(curve * xi.square()) * curve
    return mean, variance


def _series(xi: Tensor, order: int) -> Tensor:
    """log Γ(1−ξ) / ξ (order 1), or (log Γ(1−2ξ) − 2 log Γ(1−ξ)) / ξ² (order 2), for small ``xi``."""
    total = torch.full_like(xi, EULER if order == 1 else 0.0)
    for k, zeta in enumerate(_ZETA, start=2):
        total = total + (1.0 if order == 1 else 2.0**k - 2.0) * zeta / k * xi ** (k - order)
    return total


def _away_from_zero(xi: Tensor) -> Tensor:
    """For divisions whose result is used only where ``xi`` is far from zero."""
    return torch.where(xi.abs() < 1e-6, torch.full_like(xi, 1e-6), xi)


def _log1p_over(v: Tensor) -> Tensor:
    """log(1 + v)/v; by its series about zero, where value and gradient would cancel."""
    series = 1.0 - v * (0.5 - v * (1.0 / 3.0 - v * (0.25 - v * (0.2 - v / 6.0))))
    small = v.abs() < 0.02
    safe = torch.where(small, torch.ones_like(v), v)
    return torch.where(small, series, torch.log1p(safe) / safe)


def _expm1_over(v: Tensor) -> Tensor:
    """(eᵛ − 1)/v; by its series about zero."""
    series = 1.0 + v / 2.0 * (1.0 + v / 3.0 * (1.0 + v / 4.0 * (1.0 + v / 5.0 * (1.0 + v / 6.0))))
    small = v.abs() < 0.02
    safe = torch.where(small, torch.ones_like(v), v)
    return torch.where(small, series, torch.expm1(safe) / safe)
