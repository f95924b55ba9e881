"""What a canopy does with sunlight: the share that it absorbs for photosynthesis, the ground that it covers.

The canopy is that of :mod:`canopyflow.physics.sail`, in the same classes of leaf inclination; its fluxes are
those of the four streams (Verhoef et al. 2007, IEEE TGRS 45, 1808), over a soil that reflects diffusely.
Definitions: Weiss & Baret 2016, S2ToolBox Level 2 products. Wavelengths and classes of leaf inclination are
leading dimensions, as there.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .bands import LEAF_MODELS, PAR_WAVELENGTHS, light_nodes, position, spectral_data
from .prosail import Optics
from .prospect import prospect
from .sail import ABSORPTANCE_FLOOR, CLASSES, SOIL_COUPLING_FLOOR, decays_between, extinction, floored

COSINES: tuple[float, ...] = tuple(math.cos((i + 0.5) * (math.pi / 2 / CLASSES)) for i in range(CLASSES))
"""Of the inclination in the middle of each class."""


class Lit(NamedTuple):
    """A canopy as the sun lights it, each (...).

    ``ks``: extinction of the sun's beam per leaf area; ``bf``: mean squared cosine of the inclination;
    ``lai``: leaf area index.
    """

    ks: Tensor
    bf: Tensor
    lai: Tensor


def lit(lai: Tensor, share: Tensor, sun_zenith: Tensor) -> Lit:
    """The canopy of ``lai`` (...) and leaf angles ``share`` (18, ...) under a sun at ``sun_zenith`` (...),
    degrees; dimensions broadcast. For ``share`` see :func:`canopyflow.physics.sail.campbell`."""
    sun = extinction(sun_zenith)
    sun = sun.reshape(CLASSES, *(1,) * (share.ndim - sun.ndim), *sun.shape[1:])
    return Lit((share * sun).sum(0), weighted(share, 2), lai)


def weighted(share: Tensor, power: int) -> Tensor:
    """Mean (...) of a power of the cosine of the inclination, over leaf angles ``share`` (18, ...)."""
    return torch.tensordot(share.new_tensor([cosine**power for cosine in COSINES]), share, 1)


def fcover(lai: Tensor, share: Tensor) -> Tensor:
    """Share of the ground (...) that leaves hide from a sensor at nadir: one minus the gap fraction.

    ``lai`` (...), leaf angles ``share`` (18, ...). The mean cosine of the inclination is the extinction at
    nadir. There is no hot spot in it, which is about two directions.
    """
    return -torch.expm1(-lai * weighted(share, 1))


def absorptance(leaf_reflectance: Tensor, leaf_transmittance: Tensor, soil: Tensor, canopy: Lit) -> Tensor:
    """Share of the sun's direct beam that a canopy over a soil absorbs, (wavelength, ...) as the spectra.

    Of the beam, and of the diffuse light that the soil sends back after any number of bounces between the
    two, the canopy absorbs what it neither reflects nor lets through. These fluxes conserve energy: what
    canopy and soil absorb and what goes back to the sky add up to one. Over a soil brighter than white, which
    sends back more than it gets, the canopy may absorb more than one at single wavelengths.
    """
    rho, tau = leaf_reflectance, leaf_transmittance
    ks, bf, lai = canopy
    # The two-stream solution as in `sail`, where its parts are explained.
    total = 0.5 * (rho + tau)
    tilt = 0.5 * bf * (rho - tau)
    back = total + tilt
    lost = floored(1.0 - 2.0 * total, ABSORPTANCE_FLOOR[total.dtype])
    m = torch.sqrt(lost * (lost + 2.0 * back))
    deep = 1.0 / (lost + back + m)
    rinf, escaped = back * deep, (lost + m) * deep
    sb, sf = ks * total + tilt, ks * total - tilt
    path = m * lai
    e1 = torch.exp(-path)
    faded = -torch.expm1(-path)
    re = rinf * e1
    gap = torch.exp(-ks * lai)
    j1 = lai * decays_between(e1, gap, (ks - m) * lai)
    j2 = (1.0 - gap * e1) / (ks + m)
    p, q = (sf + sb * rinf) * j1, (sf * rinf + sb) * j2
    once = 1.0 / (1.0 + re)
    denom = once / (escaped + rinf * faded)
    # Scattered out of the layer, up and down: r_sd + t_sd, where (1 - re) has cancelled.
    scattered = (p + q) * once
    from_sun = 1.0 - gap - scattered
    # 1 - r_dd - t_dd, without a difference of like numbers.
    from_soil = escaped * faded * once
    rdd = rinf * faded * (1.0 + e1) * denom
    coupling = soil / (1.0 - soil * rdd).clamp_min(SOIL_COUPLING_FLOOR)
    return from_sun + (gap + (p - re * q) * denom) * coupling * from_soil


class Fapar(nn.Module):
    """Share of photosynthetically active radiation that the canopy absorbs.

    It is black-sky FAPAR: all light comes from the sun. Wavelengths from 400 to 700 nm count by their energy
    in the direct beam of ASTM G173-03 (air mass 1.5). All leaves count, with all that they hold.

    Arguments:
        leaf: version of the leaf model.
        exact: sum over each nanometre. Without it, over three virtual wavelengths fitted to that sum
            (errors in DATA.md).

    Raises DataError for a leaf model that does not exist. Holds no parameters and nothing to save.
    """

    weights: Tensor

    def __init__(self, leaf: str = "prospect-d", exact: bool = False) -> None:
        super().__init__()
        position("leaf model", leaf, LEAF_MODELS)
        if exact:
            data, par = spectral_data(), slice(PAR_WAVELENGTHS.size)
            constants, weights = np.concatenate([data.leaf[leaf], data.soil])[:, par], data.sunlight
        else:
            constants, weights = light_nodes(leaf)
        self.optics = Optics(constants[:-2], constants[-2:])
        self.register_buffer("weights", torch.from_numpy(weights.copy()), persistent=False)

    def forward(self, variables: Tensor, share: Tensor, sun_zenith: Tensor) -> Tensor:
        """FAPAR (...), at least 0 and at most 1, of ``variables`` (11, ...), which are VARIABLES in order.

        ``share`` (18, ...): leaf angles; ``sun_zenith`` (...), degrees, broadcasts.
        """
        rho, tau, soil = self.spectra(variables)
        return self.absorbed(rho, tau, soil, lit(variables[-5], share, sun_zenith.to(variables.dtype)))

    def spectra(self, variables: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reflectance and transmittance of leaves, reflectance of soil, (wavelength, ...) each, of
        ``variables`` as in :meth:`forward`."""
        rho, tau = self.leaf(variables[0], variables[1:-5])
        dry, brightness = variables[-2:]
        mixture = torch.stack([brightness * dry, brightness * (1.0 - dry)])
        return rho, tau, torch.tensordot(self.optics.soil.to(variables.dtype).T, mixture, 1)

    def leaf(self, structure: Tensor, contents: Tensor) -> tuple[Tensor, Tensor]:
        """Reflectance and transmittance (wavelength, ...) of leaves, see
        :func:`canopyflow.physics.prospect.prospect`."""
        optics, kind = self.optics, structure.dtype
        return prospect(structure, contents, optics.absorption.to(kind), optics.interfaces.to(kind))

    def absorbed(
        self, rho: Tensor, tau: Tensor, soil: Tensor, canopy: Lit, part: Tensor | None = None
    ) -> Tensor:
        """FAPAR (...) of a canopy whose spectra (wavelength, ...) are given at the wavelengths of this
        module; of its leaves only the ``part`` (wavelength, ...) counts, all without it."""
        share = absorptance(rho, tau, soil, canopy)
        share = share if part is None else share * part
        # Hardly any leaves absorb a difference of nearly equal numbers, which rounding makes negative.
        return floored(torch.tensordot(self.weights.to(share.dtype), share, 1), 0.0)
