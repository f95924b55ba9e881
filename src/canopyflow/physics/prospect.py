"""PROSPECT: reflectance and transmittance of a leaf from what it contains.

The leaf is a pile of N absorbing plates with rough surfaces. Sources:
Jacquemoud & Baret 1990 (Remote Sens. Environ. 34, 75). The versions differ in
how much each content absorbs, not in the equations: PROSPECT-5B (Féret et al.
2008, RSE 112, 3030), PROSPECT-D (Féret et al. 2017, RSE 193, 204). Interfaces after
Stern 1964 (Appl. Opt. 3, 111) and Allen et al. 1969; the pile after Stokes 1862.

Written here in the hyperbolic form of Stokes' solution, R = sinh β / sinh(α+β), T = sinh α / sinh(α+β), with
every quantity that tends to zero for a leaf without absorption formed without cancellation, so float32 and
the conservative limit are both safe.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .exponential import plate

SURFACE_ANGLE = 40.0
"""Largest incidence angle at the rough upper surface, degrees (Féret et al. 2008)."""


def interface_transmittance(angle: float, n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean transmittance into a medium of refractive index ``n`` of light within ``angle`` degrees.

    Closed-form integral of the Fresnel coefficients over the cone (Stern 1964).
    """
    n2 = n**2
    plus, minus = n2 + 1.0, n2 - 1.0
    sin2 = np.sin(np.radians(angle)) ** 2
    upper = (n + 1.0) ** 2 / 2.0
    k = -(minus**2) / 4.0
    offset = sin2 - plus / 2.0
    root = np.zeros_like(n) if angle == 90.0 else np.sqrt(offset**2 + k)
    lower = root - offset

    def perpendicular(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(k**2 / (6.0 * x**3) + k / x - x / 2.0)

    def parallel(x: NDArray[np.float64]) -> NDArray[np.float64]:
        inner = 2.0 * plus * x - minus**2
        return np.asarray(
            -2.0 * n2 * x / plus**2
            - 2.0 * n2 * plus * np.log(x) / minus**2
            + n2 / (2.0 * x)
            + 16.0 * n2**2 * (n2**2 + 1.0) * np.log(inner) / (plus**3 * minus**2)
            + 16.0 * n2**3 / (plus**3 * inner)
        )

    total = perpendicular(lower) - perpendicular(upper) + parallel(lower) - parallel(upper)
    return np.asarray(total / (2.0 * sin2))


def surfaces(refractive_index: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interface constants (3, wavelength): cone transmittance in, diffuse in, diffuse out."""
    diffuse = interface_transmittance(90.0, refractive_index)
    cone = interface_transmittance(SURFACE_ANGLE, refractive_index)
    return np.stack([cone, diffuse, diffuse / refractive_index**2])


def prospect(
    structure: Tensor, contents: Tensor, absorption: Tensor, interfaces: Tensor
) -> tuple[Tensor, Tensor]:
    """Leaf reflectance and transmittance, each (wavelength, ...).

    ``structure`` (...) is N; ``contents`` (5, ...) are what the leaf holds, in the order and units of
    VARIABLES; ``absorption`` (5, wavelength) are the specific absorption coefficients and ``interfaces``
    (3, wavelength) comes from :func:`surfaces`.
    """
    tau, absorbed = plate(torch.tensordot(absorption.T, contents / structure, 1))
    cone, enter, leave = interfaces.reshape(3, -1, *(1,) * structure.ndim)
    bounce = (1.0 - leave) * tau
    # Products with reciprocals, whose derivative is a product: that of a quotient takes three divisions.
    share = leave * tau * (1.0 / (1.0 - bounce * bounce))
    # One plate under diffuse light: r + t = 1 - lost.
    t = enter * share
    r = torch.addcmul(1.0 - enter, bounce, t)
    lost = enter * absorbed * (1.0 / (1.0 - bounce))
    # The top plate, lit within the cone.
    t_top = cone * share
    r_top = torch.addcmul(1.0 - cone, bounce, t_top)
    # The N - 1 plates below: beta = (N − 1)·ln b, growth = exp(beta) − 1.
    r_less_t = r - t
    uneven = 1.0 + r_less_t
    d = torch.sqrt(lost * (2.0 - lost) * uneven * (1.0 - r_less_t))
    half_t = 0.5 / t.clamp_min(1e-12)
    growth = torch.expm1(torch.log1p((lost * uneven + d) * half_t) * (structure - 1.0))
    shrinkage = growth * (1.0 / (1.0 + growth))
    sinh_twice, cosh_twice = growth + shrinkage, 2.0 + (growth - shrinkage)
    # Numerators and denominator are multiplied by sinh(alpha) = d/2r; d·below and r·below stay finite.
    below = 2.0 / (d * cosh_twice + (1.0 + r_less_t * (r + t)) * sinh_twice)
    t_pile = d * below
    r_pile = r * sinh_twice * below
    up = t_top * (1.0 / (1.0 - r_pile * r))
    return torch.addcmul(r_top, up, r_pile * t), up * t_pile
