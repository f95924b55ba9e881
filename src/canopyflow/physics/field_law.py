"""The field law: what pixels of fields are, as a distribution over their state.

PROSAIL's usual laws (:mod:`canopyflow.physics.priors`) describe a closed, green, even canopy over one kind of
soil. Fields also hold dead leaves, clumps, gaps and many soils, and their leaves do not narrow as leaf area
grows. Posteriors under the usual laws are therefore far too sure on fields. Each of :class:`Ingredients` is
one of these things and can be left out.

Every variable is a monotonous function of a coordinate in [0, 1] that is uniform, given the variables
before it. So the base box is the unit cube, its density is one, and density and inverse of the physical
state are exact. Most functions are tables between whose knots they are linear: such a table *is* the law.

Constants: measurements of fields, see the comment at each; halving or doubling their widths changes the
scores on fields little.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.physics.priors import BOUNDS_AT_LARGEST_LAI, TRUNCATED_NORMALS
from canopyflow.vocabulary import VARIABLES, Variable

KNOTS = 2048
"""Pieces of a table."""

EDGE = 1e-6
"""A point that rounding carries this far out of the unit cube still counts as inside."""

_GRID = np.linspace(0.0, 1.0, KNOTS + 1)

Array = NDArray[np.float64]


def normal(loc: float, scale: float, lower: float, upper: float) -> Array:
    """Table of a truncated normal distribution."""
    ends = torch.tensor([(lower - loc) / scale, (upper - loc) / scale], dtype=torch.float64)
    low, high = torch.special.ndtr(ends)
    values = loc + scale * torch.special.ndtri(low + torch.from_numpy(_GRID) * (high - low))
    return np.clip(values.numpy(), lower, upper)


def lognormal(median: float, sigma: float, lower: float, upper: float) -> Array:
    """Table of a truncated lognormal distribution."""
    return np.exp(normal(math.log(median), sigma, math.log(lower), math.log(upper)))


def uniform(lower: float, upper: float) -> Array:
    """Table of a uniform distribution."""
    return lower + (upper - lower) * _GRID


def log_uniform(lower: float, upper: float) -> Array:
    """Table of a distribution that is uniform in the logarithm."""
    return np.exp(uniform(math.log(lower), math.log(upper)))


def mixture(lower: float, upper: float, parts: Mapping[Callable[[Array], Array], float]) -> Array:
    """Table of a mixture of distributions between ``lower`` and ``upper``: ``parts`` gives the share of each
    distribution function."""
    x = np.linspace(lower, upper, 40_001)
    total = sum(share * part(x) for part, share in parts.items())
    assert isinstance(total, np.ndarray)
    keep = np.concatenate([[True], np.diff(total) > 0])
    table = np.interp(_GRID, total[keep], x[keep])
    table[0], table[-1] = lower, upper
    return table


def _below(lower: float, upper: float) -> Callable[[Array], Array]:
    """Distribution function of a uniform distribution."""
    return lambda x: np.clip((x - lower) / (upper - lower), 0.0, 1.0)


def _below_normal(loc: float, scale: float, lower: float, upper: float) -> Callable[[Array], Array]:
    table = normal(loc, scale, lower, upper)
    return lambda x: np.interp(x, table, _GRID)


@dataclass(frozen=True)
class Ingredients:
    """What of fields is in the law; False leaves it out.

    ``dead_leaves``: a share of the plant area is dead, and dead leaves have other optics; ``clumping``:
    leaves hide behind each other more than by chance; ``partly_bare``: a canopy covers part of the pixel;
    ``shadows``: crowns and rows darken a part of what the sensor sees; ``many_soils``: of the world, wet and
    dry, beside the mixture of PROSAIL's two; ``wide_leaves``: leaves, leaf angles and leaf area vary as
    measured, independently of each other, instead of by the toolbox's laws; ``smooth_noise``: an error that
    changes slowly over the spectrum, as those of atmospheric correction and of the model do.
    """

    dead_leaves: bool = True
    clumping: bool = True
    partly_bare: bool = True
    shadows: bool = True
    many_soils: bool = True
    wide_leaves: bool = True
    smooth_noise: bool = True


FRESH = (0.6, 0.87)
"""Least and largest share of water in the mass of a fresh leaf."""

_RATIO = (1.0 / (1.0 - uniform(*FRESH)) - 1.0 / (1.0 - FRESH[0])) / (
    1.0 / (1.0 - FRESH[1]) - 1.0 / (1.0 - FRESH[0])
)
"""Water per dry matter where the share of water is uniform, from 0 at its least to 1 at its largest."""

_WIDE: dict[str, tuple[Variable, Array]] = {
    # Contents of leaves: ranges of the LOPEX and ANGERS collections of crops, shrubs and trees.
    "N": (Variable("N", "1", 1.1, 2.4, "leaf structure parameter"), normal(1.6, 0.35, 1.1, 2.4)),
    "cab": (
        Variable("cab", "ug cm-2", 5.0, 100.0, "leaf chlorophyll a+b content"),
        normal(45.0, 25.0, 5.0, 100.0),
    ),
    # The range follows from chlorophyll, see `_Tied`.
    "car": (Variable("car", "ug cm-2", 0.6, 35.0, "leaf carotenoid content"), uniform(0.0, 1.0)),
    "cbrown": (Variable("cbrown", "1", 0.0, 0.6, "leaf brown pigment content"), normal(0.0, 0.12, 0.0, 0.6)),
    # Follows dry matter by the share of water in fresh leaves, 60 to 87 %.
    "cw": (Variable("cw", "cm", 0.002, 0.06, "leaf equivalent water thickness"), _RATIO),
    "cm": (
        Variable("cm", "g cm-2", 0.0015, 0.02, "leaf dry matter content"),
        lognormal(0.005, 0.4, 0.0015, 0.02),
    ),
    "lai": (
        Variable("lai", "m2 m-2", 0.0, 9.0, "plant area index"),
        mixture(0.0, 9.0, {_below(0.0, 0.3): 0.13, _below_normal(1.5, 2.7, 0.0, 9.0): 0.87}),
    ),
    "lidfa": (
        Variable("lidfa", "degree", 20.0, 82.0, "mean leaf inclination angle"),
        normal(57.0, 15.0, 20.0, 82.0),
    ),
    "hspot": (Variable("hspot", "1", 0.01, 0.6, "hot-spot size parameter"), log_uniform(0.01, 0.6)),
}
"""Leaves and their arrangement as measured."""

_GREEN = mixture(
    0.0,
    1.0,
    {
        # Mostly green canopies, ripening ones, dry ones.
        lambda g: 1.0 - np.sqrt(np.clip((1.0 - g) / 0.15, 0.0, 1.0)): 0.55,
        _below(0.0, 1.0): 0.30,
        _below(0.0, 0.1): 0.15,
    },
)

_DEAD: dict[str, tuple[Variable, Array]] = {
    "green": (Variable("green", "1", 0.0, 1.0, "green share of the plant area"), _GREEN),
    "dead_N": (
        Variable("dead_N", "1", 1.2, 3.0, "structure parameter of dead leaves"),
        normal(1.9, 0.4, 1.2, 3.0),
    ),
    "dead_cab": (
        Variable("dead_cab", "ug cm-2", 0.0, 20.0, "chlorophyll of dead leaves"),
        normal(0.0, 6.0, 0.0, 20.0),
    ),
    "dead_cbrown": (
        Variable("dead_cbrown", "1", 0.3, 4.0, "brown pigments of dead leaves"),
        uniform(0.3, 4.0),
    ),
    "dead_cw": (Variable("dead_cw", "cm", 3e-4, 6e-3, "water of dead leaves"), log_uniform(3e-4, 6e-3)),
    "dead_cm": (
        Variable("dead_cm", "g cm-2", 0.002, 0.02, "dry matter of dead leaves"),
        lognormal(0.0055, 0.4, 0.002, 0.02),
    ),
}

_CLUMPING: dict[str, tuple[Variable, Array]] = {
    "clumping": (
        # Of crops, grass and broad-leaved trees; needle-leaved ones clump more.
        Variable("clumping", "1", 0.75, 1.0, "clumping index"),
        mixture(0.75, 1.0, {_below(0.98, 1.0): 0.4, _below(0.75, 1.0): 0.6}),
    ),
}

_BARE: dict[str, tuple[Variable, Array]] = {
    "cover": (
        Variable("cover", "1", 0.3, 1.0, "share of the pixel that the canopy stands on"),
        # Half of the pixels are closed; of the others the bare share is 0.7 Beta(1, 2).
        mixture(0.3, 1.0, {_below(0.99, 1.0): 0.5, lambda c: ((c - 0.3) / 0.7) ** 2: 0.5}),
    ),
    "contrast": (
        Variable("contrast", "1", 0.8, 1.2, "brightness of the bare part over that under the canopy"),
        uniform(0.8, 1.2),
    ),
}

_SHADE: dict[str, tuple[Variable, Array]] = {
    "shade": (
        Variable("shade", "1", 0.0, 0.6, "share of the seen pixel in the shade of crowns and rows"),
        # Most fields throw none; in forests and orchards 0.6 Beta(1, 2).
        mixture(0.0, 0.6, {_below(0.0, 0.02): 0.6, lambda s: 1.0 - (1.0 - s / 0.6) ** 2: 0.4}),
    ),
}

_SOILS: dict[str, tuple[Variable, Array]] = {
    "soil_kind": (
        Variable("soil_kind", "1", 0.0, 1.0, "which soils: PROSAIL's two, or the world's"),
        uniform(0.0, 1.0),
    ),
    "soil_brightness": (
        Variable("soil_brightness", "1", 0.0, 1.0, "rank of the soil's brightness"),
        uniform(0.0, 1.0),
    ),
    "soil_hue": (
        Variable("soil_hue", "1", 0.0, 1.0, "rank of the soil's hue; dry share of PROSAIL's"),
        uniform(0.0, 1.0),
    ),
    "soil_shape": (Variable("soil_shape", "1", 0.0, 1.0, "rank of the soil's curvature"), uniform(0.0, 1.0)),
    "soil_moisture": (
        Variable("soil_moisture", "%", 0.0, 55.0, "moisture of the soil's surface, by volume"),
        # Half of the surfaces are dry: below 5 % there is no film.
        mixture(0.0, 55.0, {_below(0.0, 5.0): 0.5, _below(5.0, 55.0): 0.5}),
    ),
}
_ONE_SOIL = {name: _SOILS[name] for name in ("soil_brightness", "soil_hue")}

_ATBD: dict[str, tuple[Variable, Array]] = {
    v.name: (v, normal(*TRUNCATED_NORMALS[v.name], v.lower, v.upper)) for v in VARIABLES if v.name in _WIDE
}

CAROTENOIDS = ((0.12, 0.0), (0.32, 3.0))
"""Least and largest carotenoids: a share of the chlorophyll, and ug cm-2 beside it."""

MOST_WATER = 0.06
"""Most water of a leaf, cm, whatever its dry matter."""


class FieldLaw:
    """Distribution of the state under the field law; a :class:`canopyflow.models.generative.contract.Prior`.

    ``known``: the variables in order, with the bounds of their physical values.
    """

    def __init__(self, ingredients: Ingredients) -> None:
        wide = ingredients.wide_leaves
        tables = dict(_WIDE if wide else _ATBD)
        for wanted, more in (
            (ingredients.dead_leaves, _DEAD),
            (ingredients.clumping, _CLUMPING),
            (ingredients.partly_bare, _BARE),
            (ingredients.shadows, _SHADE),
        ):
            tables |= more if wanted else {}
        tables |= _SOILS if ingredients.many_soils else _ONE_SOIL
        self.wide = wide
        self.known: tuple[Variable, ...] = tuple(variable for variable, _ in tables.values())
        self.names: tuple[str, ...] = tuple(tables)
        self._place = {name: i for i, name in enumerate(self.names)}
        knots = torch.from_numpy(np.stack([table for _, table in tables.values()]))
        # A table must be invertible: strictly rising, in float32 too.
        assert bool((knots.float().diff(dim=-1) > 0).all()), [
            self.names[i] for i in (knots.float().diff(dim=-1) <= 0).any(-1).nonzero()[:, 0].tolist()
        ]
        self._knots = knots

    @property
    def lower(self) -> Tensor:
        return torch.zeros(len(self.names))

    @property
    def upper(self) -> Tensor:
        return torch.ones(len(self.names))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` draws (n, D) in physical units, computed in float64; they lie where the ``generator``
        does."""
        device = None if generator is None else generator.device
        u = torch.rand(n, len(self.names), generator=generator, dtype=torch.float64, device=device)
        return self.to_physical(u).to(torch.get_default_dtype())

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density (...) of physical ``z`` (..., D), per product of their units; −inf outside."""
        u = self.to_base(z)
        return self.log_prob_base(u) - self.log_abs_det(u)

    def log_prob_base(self, u: Tensor) -> Tensor:
        """Log density (...) of base ``u`` (..., D): 0 in the unit cube, −inf outside."""
        inside = ((u >= -EDGE) & (u <= 1.0 + EDGE)).all(-1)
        value = torch.zeros_like(u[..., 0])
        return torch.where(inside, value, torch.full_like(value, -math.inf))

    def to_physical(self, u: Tensor) -> Tensor:
        """Base (..., D) to physical coordinates."""
        value, _ = self._looked_up(u)
        free = {name: low + width * self._of(value, name) for name, (low, width) in self._ties(value).items()}
        return self._with(value, free)

    def to_base(self, z: Tensor) -> Tensor:
        """Inverse of :meth:`to_physical`; a point outside the physical domain stays outside the cube."""
        knots = self._knots.to(z)
        free = {name: (self._of(z, name) - low) / width for name, (low, width) in self._ties(z).items()}
        value = self._with(z, free)
        flat = value.reshape(-1, len(self.names)).T.contiguous()
        piece = (torch.searchsorted(knots, flat, right=True) - 1).clamp(0, KNOTS - 1)
        below, above = knots.gather(1, piece), knots.gather(1, piece + 1)
        base = (piece + (flat - below) / (above - below)) / KNOTS
        return base.T.reshape(z.shape)

    def log_abs_det(self, u: Tensor) -> Tensor:
        """log |det ∂z/∂u| (...) at base ``u`` (..., D)."""
        value, slope = self._looked_up(u)
        total = slope.log().sum(-1)
        # A tie stretches its variable by a width that depends on other ones alone: the map is triangular.
        for _, width in self._ties(value).values():
            total = total + width.log()
        return total

    def _looked_up(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Value and slope (..., D) of each variable's table at ``u``."""
        knots = self._knots.to(u)
        at = u * KNOTS
        piece = at.detach().floor().clamp(0, KNOTS - 1)
        index = piece.long() + torch.arange(len(self.names), device=u.device) * (KNOTS + 1)
        flat = knots.reshape(-1)
        below, above = flat[index], flat[index + 1]
        return below + (at - piece) * (above - below), (above - below) * KNOTS

    def _ties(self, z: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Lower end and width (...) of the variables whose range others decide, from values ``z`` (..., D)
        in which those others are right."""
        if not self.wide:
            return self._narrowed(self._of(z, "lai"))
        (share_low, low), (share_high, high) = CAROTENOIDS
        cab, cm = self._of(z, "cab"), self._of(z, "cm")
        least, most = (cm * share / (1.0 - share) for share in FRESH)
        return {
            "car": (share_low * cab + low, (share_high - share_low) * cab + high - low),
            "cw": (least, most.clamp(max=MOST_WATER) - least),
        }

    def _narrowed(self, lai: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """The toolbox's co-distribution: bounds shrink linearly as leaf area grows."""
        share = lai / self.known[self._place["lai"]].upper
        ties = {}
        for name, (low, high) in BOUNDS_AT_LARGEST_LAI.items():
            if name in _ATBD:
                v = _ATBD[name][0]
                factor = 1.0 + share * ((high - low) / (v.upper - v.lower) - 1.0)
                ties[name] = (v.lower + share * (low - v.lower) - v.lower * factor, factor)
        return ties

    def _of(self, z: Tensor, name: str) -> Tensor:
        return z[..., self._place[name]]

    def _with(self, z: Tensor, changed: Mapping[str, Tensor]) -> Tensor:
        """``z`` (..., D) with other values of some variables."""
        columns = list(z.unbind(-1))
        for name, value in changed.items():
            columns[self._place[name]] = value
        return torch.stack(columns, dim=-1)
