"""PROSAIL = PROSPECT + 4SAIL over a mixture of dry and wet soil, seen by Sentinel-2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from canopyflow.errors import DataError

from .bands import BANDS, LEAF_MODELS, PLATFORMS, WAVELENGTHS, position, spectral_data
from .prospect import prospect, surfaces
from .sail import geometry, sail, structure
from .variables import VARIABLES


class Optics(nn.Module):
    """Constants of leaf, soil and interfaces at chosen wavelengths, as non-persistent buffers."""

    absorption: Tensor
    interfaces: Tensor
    soil: Tensor

    def __init__(self, leaf: NDArray[np.float64], soil: NDArray[np.float64]) -> None:
        super().__init__()
        for name, values in (("absorption", leaf[1:]), ("interfaces", surfaces(leaf[0])), ("soil", soil)):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)), persistent=False)

    def forward(self, variables: Tensor, angles: Tensor) -> Tensor:
        """Canopy reflectance (wavelength, ...) in the type of ``variables``."""
        kind, ndim = variables.dtype, max(variables.ndim, angles.ndim)
        # Equal numbers of dimensions, so that a leading one for the wavelength leaves them aligned.
        v = variables.reshape(*(1,) * (ndim - variables.ndim), *variables.shape).movedim(-1, 0).contiguous()
        view = geometry(angles.to(kind).reshape(*(1,) * (ndim - angles.ndim), *angles.shape))
        n, lai, mean_angle, hot_spot, dry, brightness = v[0], *v[6:]
        rho, tau = prospect(n, v[1:6], self.absorption.to(kind), self.interfaces.to(kind))
        soil = torch.tensordot(
            self.soil.to(kind).T, torch.stack([brightness * dry, brightness * (1.0 - dry)]), 1
        )
        return sail(rho, tau, soil, structure(lai, mean_angle, hot_spot, view))


class Prosail(nn.Module):
    """Reflectance in Sentinel-2 bands of a canopy, differentiable in all its variables.

    Arguments:
        sensor: platform, "S2A", "S2B" or "S2C"; or several, when one batch mixes them.
        bands: names and order of the bands of the output; all ten without it.
        leaf: "prospect-d" or "prospect-5b".
        exact: convolve the whole response functions. Without it each band is a weighted mean of a
            few wavelengths, chosen so that it differs from the convolution by at most 3e-4
            (the number measured is in DATA.md); tens of times faster.
        check: raise DataError for variables outside their bounds or angles out of range.

    Raises DataError for a platform, band or leaf model that does not exist. Runs in float32 or
    float64, following the type of ``variables``; holds no parameters and nothing to save.
    """

    weights: Tensor

    def __init__(
        self,
        sensor: str | Sequence[str] = "S2A",
        bands: Sequence[str] = BANDS,
        leaf: str = "prospect-d",
        exact: bool = False,
        check: bool = False,
    ) -> None:
        super().__init__()
        self.platforms = (sensor,) if isinstance(sensor, str) else tuple(sensor)
        self.bands, self.leaf, self.exact, self.check = tuple(bands), leaf, exact, check
        rows = [position("platform", name, PLATFORMS) for name in self.platforms]
        columns = [position("band", name, BANDS) for name in self.bands]
        position("leaf model", leaf, LEAF_MODELS)
        data = spectral_data()
        if exact:
            weights = data.response[rows][:, columns]
            chosen = np.flatnonzero(weights.any((0, 1)))
            weights = weights[..., chosen]
        else:
            weights = data.weights[rows][:, columns]
            used = weights.any((0, 1))
            chosen, weights = data.nodes[used], weights[..., used]
        self.wavelengths = WAVELENGTHS[chosen]
        # (wavelength, platform * band): one product serves every platform of a mixed batch.
        flat = np.ascontiguousarray(weights.reshape(-1, chosen.size).T)
        self.register_buffer("weights", torch.from_numpy(flat), persistent=False)
        coefficients = data.leaf[leaf]
        self.optics = Optics(coefficients[:, chosen], data.soil[:, chosen])
        self.full = Optics(coefficients, data.soil)

    def forward(self, variables: Tensor, angles: Tensor, platform: Tensor | None = None) -> Tensor:
        """Bidirectional reflectance factor in the bands, (..., bands), unit 1.

        ``variables`` (..., 11) in the order and units of VARIABLES; ``angles`` (..., 3) in degrees,
        sun zenith, view zenith, relative azimuth (0: sun behind the sensor); leading dimensions
        broadcast. ``platform`` (...) integer positions in ``self.platforms``, needed with several.
        """
        self._validate(variables, angles)
        if platform is None and len(self.platforms) > 1:
            raise DataError(
                "several platforms and no platform per sample",
                f"pass platform= with positions in {list(self.platforms)}",
            )
        value: Tensor = torch.tensordot(
            self.optics(variables, angles), self.weights.to(variables.dtype), ([0], [0])
        )
        if len(self.platforms) == 1 or platform is None:
            return value
        size = (len(self.platforms), len(self.bands))
        every = value.reshape(*value.shape[:-1], *size)
        index = platform.long().expand(every.shape[:-2])[..., None, None]
        return every.gather(-2, index.expand(*index.shape[:-1], size[1])).squeeze(-2)

    def spectrum(self, variables: Tensor, angles: Tensor) -> Tensor:
        """The same reflectance per nanometre from 400 to 2500, (..., 2101)."""
        self._validate(variables, angles)
        value: Tensor = self.full(variables, angles)
        return value.movedim(0, -1)

    def _validate(self, variables: Tensor, angles: Tensor) -> None:
        for name, values, size in (("variables", variables, len(VARIABLES)), ("angles", angles, 3)):
            if values.ndim == 0 or values.shape[-1] != size:
                raise DataError(
                    f"{name} have shape {tuple(values.shape)}", f"the last dimension must be {size}"
                )
        if self.check:
            check_domain(variables, angles)


def check_domain(variables: Tensor, angles: Tensor) -> None:
    """Raise DataError naming the first variable or angle out of its range (or not a number)."""
    limits = [(v.name, v.lower, v.upper, v.unit) for v in VARIABLES]
    limits += [("sun zenith", 0.0, 89.0, "degree"), ("view zenith", 0.0, 89.0, "degree")]
    limits += [("relative azimuth", 0.0, 360.0, "degree")]
    columns = [*variables.detach().unbind(-1), *angles.detach().unbind(-1)]
    for (name, lower, upper, unit), values in zip(limits, columns, strict=True):
        slack = 1e-6 * max(abs(lower), abs(upper))
        bad = ~((values >= lower - slack) & (values <= upper + slack))
        if bad.any():
            first = float(values[bad].flatten()[0])
            raise DataError(
                f"{name} is {first:g} in {int(bad.sum())} of {values.numel()} samples",
                f"it must lie in [{lower:g}, {upper:g}] ({unit})",
            )
