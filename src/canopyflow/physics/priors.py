"""Priors over the PROSAIL variables: exact densities, in physical units.

A prior is a product of truncated normal (or uniform) distributions over the
*base box* of VARIABLES, and for the ATBD a map from the base box to physical variables:
the bounds of every other variable shrink linearly as the leaf area index
grows (the co-distribution of Weiss & Baret, S2ToolBox Level 2 products ATBD,
2016). The map is triangular, so density and inverse are exact.

Variational families live on the base box; :meth:`Prior.to_physical` takes their samples to physical units.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.registry import nearest
from canopyflow.vocabulary import NAMES, VARIABLES

TRUNCATED_NORMALS: dict[str, tuple[float, float]] = {
    "N": (1.5, 0.3),
    "cab": (45.0, 30.0),
    "car": (11.0, 5.0),
    "cbrown": (0.0, 0.3),
    "cw": (0.025, 0.02),
    "cm": (0.005, 0.005),
    "lai": (2.0, 3.0),
    "lidfa": (60.0, 30.0),
    "hspot": (0.2, 0.5),
    "rsoil": (1.2, 2.0),
}
"""Location and scale before truncation to the bounds; psoil is uniform. Zérah et al. 2024, table 1."""

BOUNDS_AT_LARGEST_LAI: dict[str, tuple[float, float]] = {
    "N": (1.3, 1.8),
    "cab": (45.0, 90.0),
    "cbrown": (0.0, 0.2),
    "cw": (0.015, 0.055),
    "lidfa": (55.0, 65.0),
    "hspot": (0.1, 0.5),
    "rsoil": (0.5, 1.2),
}
"""Bounds at the largest leaf area index, under the co-distribution; variables not named here keep theirs."""

LAI = NAMES.index("lai")
FARTHEST = 5.2
"""Largest normal score: the normal distribution function, 1e-7 below 1 there, is 1 in float32 beyond."""
EDGE = 1e-6
"""Share of a variable's width: a point that rounding carries this far beyond a bound still counts as
inside."""


def _cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


class Prior:
    """Prior over the eleven variables; make one with :func:`prior`.

    ``lower``, ``upper`` (11,) bound the base box; ``name`` is what :func:`prior` was called with. ``normals``
    gives location and scale before truncation of each variable that is not uniform, ``at_largest_lai`` the
    bounds of the variables that shrink as leaf area grows.
    """

    def __init__(
        self,
        name: str,
        normals: Mapping[str, tuple[float, float]],
        at_largest_lai: Mapping[str, tuple[float, float]],
    ) -> None:
        self.name = name
        self.co_distributed = bool(at_largest_lai)
        ends = [at_largest_lai.get(v.name, (v.lower, v.upper)) for v in VARIABLES]
        self._lower = torch.tensor([v.lower for v in VARIABLES], dtype=torch.float64)
        self._upper = torch.tensor([v.upper for v in VARIABLES], dtype=torch.float64)
        self._lower_shift = torch.tensor([e[0] for e in ends], dtype=torch.float64) - self._lower
        self._upper_shift = torch.tensor([e[1] for e in ends], dtype=torch.float64) - self._upper
        loc, scale, low, mass, beyond = [], [], [], [], []
        for v in VARIABLES:
            # A uniform distribution is a normal of infinite scale: precision zero, mass that of the box.
            a, b = normals.get(v.name, (0.0, math.inf))
            loc.append(a)
            scale.append(b)
            low.append(0.0 if math.isinf(b) else _cdf((v.lower - a) / b))
            mass.append(1.0 if math.isinf(b) else _cdf((v.upper - a) / b) - low[-1])
            beyond.append(0.0 if math.isinf(b) else _cdf((a - v.upper) / b))
        self._loc, self._scale, self._low, self._mass, self._beyond = (
            torch.tensor(values, dtype=torch.float64) for values in (loc, scale, low, mass, beyond)
        )
        flat = torch.isinf(self._scale)
        self._precision = 1.0 / self._scale
        normal = -self._scale.log() - 0.5 * math.log(2.0 * math.pi) - self._mass.log()
        self._log_constant = torch.where(flat, -(self._upper - self._lower).log(), normal).sum()
        self._flat = flat

    @property
    def lower(self) -> Tensor:
        return self._lower.to(torch.get_default_dtype())

    @property
    def upper(self) -> Tensor:
        return self._upper.to(torch.get_default_dtype())

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` draws in physical units, (n, 11), by inverse distribution functions in float64; they lie
        where the ``generator`` does."""
        device = None if generator is None else generator.device
        uniform = torch.rand(n, len(VARIABLES), generator=generator, dtype=torch.float64, device=device)
        lower, upper, loc, scale, low, mass = self._like(
            uniform, self._lower, self._upper, self._loc, self._scale, self._low, self._mass
        )
        normal = loc + scale * torch.special.ndtri(low + uniform * mass)
        base = torch.where(self._flat.to(uniform.device), lower + uniform * (upper - lower), normal)
        base = torch.maximum(torch.minimum(base, upper), lower)
        return self.to_physical(base).to(torch.get_default_dtype())

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of physical variables ``z`` (..., 11), per product of their units; −inf outside."""
        base = self.to_base(z)
        return self.log_prob_base(base) - self.log_abs_det(base)

    def log_prob_base(self, u: Tensor) -> Tensor:
        """Log density of base variables ``u`` (..., 11); −inf outside the base box.

        log_prob(to_physical(u)) = log_prob_base(u) − log_abs_det(u): in a divergence between two
        distributions on the base box the second term cancels, and this is the cheaper one to use.
        """
        lower, upper, loc, precision, constant = self._like(
            u, self._lower, self._upper, self._loc, self._precision, self._log_constant
        )
        slack = EDGE * (upper - lower)
        inside = ((u >= lower - slack) & (u <= upper + slack)).all(-1)
        standard = (torch.where(inside.unsqueeze(-1), u, lower) - loc) * precision
        value = constant - 0.5 * standard.square().sum(-1)
        return torch.where(inside, value, torch.full_like(value, -math.inf))

    def to_physical(self, u: Tensor) -> Tensor:
        """Base variables (..., 11) to physical ones; the identity without co-distribution."""
        if not self.co_distributed:
            return u
        lower, shift, factor = self._bounds(u)
        (low,) = self._like(u, self._lower)
        return lower + shift + (u - low) * factor

    def to_base(self, z: Tensor) -> Tensor:
        """Inverse of :meth:`to_physical`; a point outside the physical domain stays outside the box."""
        if not self.co_distributed:
            return z
        lower, shift, factor = self._bounds(z)
        (low,) = self._like(z, self._lower)
        return low + (z - lower - shift) / factor

    def from_scores(self, w: Tensor) -> Tensor:
        """Base variables (..., 11) whose normal scores are ``w``: if these are independent and standard
        normal, the base variables follow the prior."""
        lower, upper, loc, scale, low, mass, beyond = self._like(
            w, self._lower, self._upper, self._loc, self._scale, self._low, self._mass, self._beyond
        )
        flat = self._flat.to(w.device)
        scale = torch.where(flat, torch.ones_like(scale), scale)
        w = w.clamp(-FARTHEST, FARTHEST)
        # Each tail by its own probability: one minus a small number has too few digits.
        below, above = (torch.special.ndtr(side.clamp(max=0.0)) for side in (w, -w))
        from_below = loc + scale * torch.special.ndtri((low + below * mass).clamp(max=0.9999999))
        from_above = loc - scale * torch.special.ndtri((beyond + above * mass).clamp(max=0.9999999))
        uniform = torch.where(w < 0.0, lower + (upper - lower) * below, upper - (upper - lower) * above)
        base = torch.where(flat, uniform, torch.where(w < 0.0, from_below, from_above))
        return torch.maximum(torch.minimum(base, upper), lower)

    def to_scores(self, u: Tensor) -> Tensor:
        """Inverse of :meth:`from_scores`; finite on the bounds too."""
        lower, upper, loc, precision, low, mass, beyond = self._like(
            u, self._lower, self._upper, self._loc, self._precision, self._low, self._mass, self._beyond
        )
        flat = self._flat.to(u.device)
        standard = (u - loc) * precision
        width = upper - lower
        below = torch.where(flat, (u - lower) / width, (torch.special.ndtr(standard) - low) / mass)
        above = torch.where(flat, (upper - u) / width, (torch.special.ndtr(-standard) - beyond) / mass)
        least = _cdf(-FARTHEST)
        from_below = torch.special.ndtri(below.clamp(least, 0.5))
        from_above = -torch.special.ndtri(above.clamp(least, 0.5))
        return torch.where(below < 0.5, from_below, from_above)

    def log_abs_det(self, u: Tensor) -> Tensor:
        """log |det ∂z/∂u| at base (or physical: both share the lai) variables, (...)."""
        if not self.co_distributed:
            return torch.zeros_like(u[..., 0])
        return self._bounds(u)[2].log().sum(-1)

    def _bounds(self, variables: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Base lower bounds (11,), their shift (..., 11) and the factor of the width at each sample's lai."""
        lower, upper, low_shift, up_shift = self._like(
            variables, self._lower, self._upper, self._lower_shift, self._upper_shift
        )
        lai = (variables[..., LAI : LAI + 1] - lower[LAI]) / (upper[LAI] - lower[LAI])
        share = lai.clamp(0.0, 1.0)  # outside there is no density; the factor must stay positive
        return lower, share * low_shift, 1.0 + share * (up_shift - low_shift) / (upper - lower)

    @staticmethod
    def _like(reference: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(t.to(device=reference.device, dtype=reference.dtype) for t in tensors)


PRIORS: tuple[str, ...] = ("atbd", "prosail-vae", "uniform")


def prior(name: str) -> Prior:
    """The prior called ``name``; ConfigError naming the nearest valid one when there is none.

    "atbd": truncated normals with co-distribution; "prosail-vae": the same normals, independent;
    "uniform": flat over the base box.
    """
    if name not in PRIORS:
        raise ConfigError(f"unknown prior {name!r}", nearest(name, PRIORS))
    normals = {} if name == "uniform" else TRUNCATED_NORMALS
    return Prior(name, normals, BOUNDS_AT_LARGEST_LAI if name == "atbd" else {})
