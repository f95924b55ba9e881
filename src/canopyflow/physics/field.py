"""What a pixel of a field looks like: PROSAIL over more than one kind of leaf, of ground and of soil.

Green and dead leaves are mixed before the light enters the canopy: each layer holds both. Clumped leaves act
as fewer leaves (Nilson 1971): 4SAIL sees the effective leaf area. Where a canopy stands on part of the pixel,
its leaf area is that of the pixel over that part, and the rest shows bare soil. State variables are those of
:class:`canopyflow.physics.field_law.FieldLaw`, by name; what an absent one would say is nothing: all leaves
green, none clumped, the pixel covered.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from canopyflow.physics.light import Fapar, fcover, lit
from canopyflow.physics.prosail import Prosail
from canopyflow.physics.prospect import prospect
from canopyflow.physics.sail import campbell, geometry, sail, structure
from canopyflow.physics.soils import Soils, band_soils, par_soils

State = Mapping[str, Tensor]
"""Physical values (...) of state variables by name."""

SHARE_OF_TWO_SOILS = 0.25
"""Share of soils that are mixtures of PROSAIL's dry and wet one."""

SOFTENING = 0.01
"""Width of the transition from those to the world's, in terms of ``soil_kind``: without it nothing tells a
sampler that there is another side."""

TWO_SOILS_BRIGHTNESS = (0.4, 1.6)
"""Range of the brightness factor of PROSAIL's two soils."""

BRIGHTNESS = (0.15, 0.6)
HUE = (-0.55, -0.05)
SHAPE = (-0.08, 0.08)
SHAPE_OF_HUE = (-0.115, -0.45)
"""Ranges of brightness, of the share of the second vector, and of the third about a line in the second (at no
hue, and its slope). Fitted to 41 dry soils of all orders of the Johns Hopkins University library (Baldridge
et al. 2009, RSE 113, 711), as PyPI ``radiative-transfer-models`` 1.6.2 holds it, gypsum sand left out:
brightness .21 to .55, shares -.54 to -.03 and -.24 to .26, each vector sum within .03 of its soil."""

DEAD_CAROTENOIDS = 4.0
"""Carotenoids of dead leaves, ug cm-2: brown pigments hide what they do."""


class Above(NamedTuple):
    """The canopy on the part of the pixel that it covers, each (...): effective leaf area index, leaf angles
    (18, ...), and the covered part."""

    lai: Tensor
    angles: Tensor
    cover: Tensor


def above(state: State) -> Above:
    """The canopy of ``state``."""
    one = torch.ones_like(state["lai"])
    cover = state.get("cover", one)
    return Above(state["lai"] * state.get("clumping", one) / cover, campbell(state["lidfa"]), cover)


class Fields(nn.Module):
    """Pixels of fields in Sentinel-2 bands, and what they do with light.

    Arguments as those of :class:`canopyflow.physics.prosail.Prosail`: ``platforms``, ``bands``, ``leaf``.
    Raises DataError for names that do not exist. Nothing checks that a state lies within its bounds.
    """

    def __init__(self, platforms: Sequence[str], bands: Sequence[str], leaf: str = "prospect-d") -> None:
        super().__init__()
        self.prosail = Prosail(sensor=platforms, bands=bands, leaf=leaf, check=False)
        self.soils = band_soils(self.prosail.bands_of_nodes())
        self.light = Fapar(leaf)
        self.light_soils = par_soils(len(self.light.weights))

    def forward(self, state: State, angles: Tensor, platform: Tensor | None = None) -> Tensor:
        """Reflectance (..., bands) of ``state``; ``angles`` (..., 3), degrees, and ``platform`` (...),
        integer positions in the platforms, as in :meth:`canopyflow.physics.prosail.Prosail.forward`."""
        optics, kind = self.prosail.optics, state["lai"].dtype
        absorption, interfaces, two = (
            x.to(kind) for x in (optics.absorption, optics.interfaces, optics.soil)
        )
        green = prospect(state["N"], _contents(state), absorption, interfaces)
        dead = (
            None if "green" not in state else prospect(state["dead_N"], _dead(state), absorption, interfaces)
        )
        rho, tau = _mixed(state, green, dead)
        soil = _soil(state, two, self.soils)
        lai, share, cover = above(state)
        # As many dimensions as the state: the leading one of the leaf-angle classes leaves them aligned.
        angles = angles.to(kind).reshape(*(1,) * (lai.ndim + 1 - angles.ndim), *angles.shape)
        canopy = structure(lai, share, state["hspot"], geometry(angles))
        value = cover * sail(rho, tau, soil, canopy)
        if "cover" in state:
            value = value + (1.0 - cover) * state["contrast"] * soil
        if "shade" in state:
            value = value * (1.0 - state["shade"])
        return self.prosail.in_bands(value, platform)

    def fapar(self, state: State, sun_zenith: Tensor) -> Tensor:
        """Share (...) of the light for photosynthesis that the green leaves of the pixel absorb;
        ``sun_zenith`` (...), degrees.

        At each wavelength what the canopy absorbs is shared by green and dead leaves as their area times
        their absorptance is.
        """
        light, kind = self.light, state["lai"].dtype
        green = light.leaf(state["N"], _contents(state))
        dead = None if "green" not in state else light.leaf(state["dead_N"], _dead(state))
        rho, tau = _mixed(state, green, dead)
        part = None if dead is None else state["green"] * (1.0 - sum(green)) / (1.0 - rho - tau)
        lai, share, cover = above(state)
        soil = _soil(state, light.optics.soil.to(kind), self.light_soils)
        return cover * light.absorbed(rho, tau, soil, lit(lai, share, sun_zenith.to(kind)), part)

    def fcover(self, state: State) -> Tensor:
        """Share (...) of the pixel that a sensor at nadir sees as green leaves: one minus the gap fraction,
        times their share of the leaves."""
        lai, share, cover = above(state)
        return cover * fcover(lai, share) * state.get("green", torch.ones_like(cover))


def _contents(state: State) -> Tensor:
    return torch.stack([state[name] for name in ("cab", "car", "cbrown", "cw", "cm")])


def _dead(state: State) -> Tensor:
    carotenoids = torch.full_like(state["dead_cab"], DEAD_CAROTENOIDS)
    held = (state["dead_cab"], carotenoids, state["dead_cbrown"], state["dead_cw"], state["dead_cm"])
    return torch.stack(held)


def _mixed(
    state: State, green: tuple[Tensor, Tensor], dead: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Reflectance and transmittance of the mean leaf."""
    if dead is None:
        return green
    share = state["green"]
    rho, tau = (share * fresh + (1.0 - share) * dry for fresh, dry in zip(green, dead, strict=True))
    return rho, tau


def _soil(state: State, two: Tensor, soils: Soils) -> Tensor:
    """Soil reflectance (wavelength, ...); ``two`` (2, wavelength): PROSAIL's dry and wet soil."""
    rank = state["soil_brightness"]
    brightness, dry = _between(TWO_SOILS_BRIGHTNESS, rank), state["soil_hue"]
    mixture = torch.tensordot(two.T, torch.stack([brightness * dry, brightness * (1.0 - dry)]), 1)
    if "soil_kind" not in state:
        return mixture
    hue = _between(HUE, state["soil_hue"])
    at_none, slope = SHAPE_OF_HUE
    shape = at_none + slope * hue + _between(SHAPE, state["soil_shape"])
    world = soils(_between(BRIGHTNESS, rank), hue, shape, state["soil_moisture"])
    kind = ((state["soil_kind"] - SHARE_OF_TWO_SOILS) / SOFTENING + 0.5).clamp(0.0, 1.0)
    return mixture + kind * (world - mixture)


def _between(ends: tuple[float, float], share: Tensor) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * share
