"""PROSAIL = PROSPECT + 4SAIL over a mixture of dry and wet soil, seen by Sentinel-2."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from canopyflow.errors import DataError
from canopyflow.vocabulary import BANDS, PLATFORMS, VARIABLES, Variable

from .bands import LEAF_MODELS, band_nodes, position, spectral_data
from .prospect import prospect, surfaces
from .sail import campbell, geometry, sail, structure


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
        """Canopy reflectance (wavelength, ...) in the type of ``variables``.

        ``variables`` (..., 11) are VARIABLES in order, ``angles`` (..., 3) ANGLES in order; leading
        dimensions broadcast.
        """
        kind, ndim = variables.dtype, max(variables.ndim, angles.ndim)
        # Equal numbers of dimensions, so that a leading one for the wavelength leaves them aligned.
        v = variables.reshape(*(1,) * (ndim - variables.ndim), *variables.shape).movedim(-1, 0)
        view = geometry(angles.to(kind).reshape(*(1,) * (ndim - angles.ndim), *angles.shape))
        # Of both the strided and the contiguous form: kernels round differently on them in the last bit.
        leaf = v.contiguous()
        lai, mean_angle, hot_spot, _, _ = v[-5:]
        canopy = structure(lai, campbell(mean_angle), hot_spot, view)
        absorption, interfaces, soil = (x.to(kind) for x in (self.absorption, self.interfaces, self.soil))
        dry, brightness = leaf[-2:]
        rho, tau = prospect(leaf[0], leaf[1:-5], absorption, interfaces)
        mixture = torch.stack([brightness * dry, brightness * (1.0 - dry)])
        return sail(rho, tau, torch.tensordot(soil.T, mixture, 1), canopy)


class Prosail(nn.Module):
    """Reflectance in Sentinel-2 bands of a canopy, differentiable in all its variables.

    Arguments:
        sensor: platform, "S2A", "S2B" or "S2C"; or several, when one batch mixes them.
        bands: names and order of the bands of the output; all ten without it.
        leaf: version of the leaf model, "prospect-d" (without anthocyanins) or "prospect-5b".
        exact: convolve the whole response functions. Without it each band is a weighted mean at two
            or three virtual wavelengths, fitted to the convolution (errors in DATA.md): 15 times faster.
        check: raise DataError for a variable or angle that is no number or outside its bounds. Loops over
            points that are known to be inside can switch it off.

    Raises DataError for a platform, band or leaf model that does not exist. Runs in float32 or float64,
    following the type of the variables; holds no parameters and nothing to save.
    """

    weights: Tensor

    def __init__(
        self,
        sensor: str | Sequence[str] = "S2A",
        bands: Sequence[str] = BANDS,
        leaf: str = "prospect-d",
        exact: bool = False,
        check: bool = True,
    ) -> None:
        super().__init__()
        self.platforms = (sensor,) if isinstance(sensor, str) else tuple(sensor)
        self.bands, self.check = tuple(bands), check
        rows = [position("platform", name, PLATFORMS) for name in self.platforms]
        columns = [position("band", name, BANDS) for name in self.bands]
        position("leaf model", leaf, LEAF_MODELS)
        data = spectral_data()
        if exact:
            weights = data.response[rows][:, columns]
            chosen = weights.any((0, 1))
            constants = np.concatenate([data.leaf[leaf], data.soil])[:, chosen]
        else:
            nodes = band_nodes(leaf)
            weights = nodes.weights[rows][:, columns]
            chosen = weights.any((0, 1))
            constants = nodes.constants[:, chosen]
        # (node, platform * band): one product serves every platform of a mixed batch.
        flat = np.ascontiguousarray(weights[..., chosen].reshape(-1, constants.shape[1]).T)
        self.register_buffer("weights", torch.from_numpy(flat), persistent=False)
        self.optics = Optics(constants[:-2], constants[-2:])
        self.full = Optics(data.leaf[leaf], data.soil)

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
        return self.in_bands(self.optics(variables, angles), platform)

    def in_bands(self, spectrum: Tensor, platform: Tensor | None = None) -> Tensor:
        """Bands (..., bands) of a ``spectrum`` (wavelength, ...) at the wavelengths of ``optics``;
        ``platform`` as in :meth:`forward`."""
        weights = self.weights.to(spectrum.dtype)
        value: Tensor = torch.tensordot(spectrum, weights, ([0], [0]))
        if len(self.platforms) == 1 or platform is None:
            return value
        size = (len(self.platforms), len(self.bands))
        every = value.reshape(*value.shape[:-1], *size)
        index = platform.long().expand(every.shape[:-2])[..., None, None]
        return every.gather(-2, index.expand(*index.shape[:-1], size[1])).squeeze(-2)

    def bands_of_nodes(self) -> NDArray[np.intp]:
        """Which band of BANDS each wavelength of ``optics`` stands for, (wavelength,)."""
        weights = self.weights.reshape(len(self.weights), len(self.platforms), len(self.bands))
        own = np.array([BANDS.index(band) for band in self.bands])
        return own[weights.abs().sum(1).argmax(1).numpy()]

    def spectrum(self, variables: Tensor, angles: Tensor) -> Tensor:
        """The same reflectance per nanometre from 400 to 2500, (..., 2101)."""
        self._validate(variables, angles)
        value: Tensor = self.full(variables, angles)
        return value.movedim(0, -1)

    def _validate(self, variables: Tensor, angles: Tensor) -> None:
        for name, values, known in (("variables", variables, VARIABLES), ("angles", angles, ANGLES)):
            if values.ndim == 0 or values.shape[-1] != len(known):
                raise DataError(
                    f"{name} have shape {tuple(values.shape)}",
                    f"the last dimension must be {len(known)}: {', '.join(v.name for v in known)}",
                )
            if self.check:
                check_domain(known, values)


ANGLES: tuple[Variable, ...] = (
    Variable("sun zenith", "degree", 0.0, 89.0, "sun zenith angle"),
    Variable("view zenith", "degree", 0.0, 89.0, "view zenith angle"),
    Variable("relative azimuth", "degree", -360.0, 360.0, "azimuth of the sensor from that of the sun"),
)
"""The geometry, in order. Zenith angles end below 90, where the path through the canopy is infinite."""

SLACK = 1e-6
"""Share of its larger bound by which rounding to float32 may carry a value beyond its bounds."""


def check_domain(known: Sequence[Variable], values: Tensor) -> None:
    """Raise DataError for the first of ``known`` whose ``values`` (..., V) are NaN or outside its bounds."""
    values = values.detach()
    lower, upper = (values.new_tensor([getattr(v, end) for v in known]) for end in ("lower", "upper"))
    slack = SLACK * torch.maximum(lower.abs(), upper.abs())
    inside = (values >= lower - slack) & (values <= upper + slack)
    if not inside.all():
        at = int((~inside).reshape(-1, len(known)).any(0).nonzero()[0])
        v, bad = known[at], ~inside[..., at]
        raise DataError(
            f"{v.name} is {float(values[..., at][bad][0]):g} in {int(bad.sum())} of {bad.numel()} samples",
            f"it must lie in [{v.lower:g}, {v.upper:g}] ({v.unit})",
        )
