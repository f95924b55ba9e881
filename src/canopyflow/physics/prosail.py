"""PROSAIL = PROSPECT + 4SAIL over a mixture of dry and wet soil, seen by Sentinel-2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from canopyflow.errors import DataError

from .bands import BANDS, PLATFORMS, band_nodes, position, spectral_data
from .fused import can_compile, compiled, in_chunks
from .prospect import prospect, surfaces
from .sail import Geometry, Structure, campbell, leaves_in, sail, sight, structure, two_parameter
from .variables import LEAF_ANGLES, LEAF_MODELS, Variable, variables_of


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

        ``variables`` (..., V) as :func:`variables_of` orders them: one leaf angle is Campbell's mean,
        two are Verhoef's parameters.
        """
        kind, ndim = variables.dtype, max(variables.ndim, angles.ndim)
        # Equal numbers of dimensions, so that a leading one for the wavelength leaves them aligned.
        v = variables.reshape(*(1,) * (ndim - variables.ndim), *variables.shape).movedim(-1, 0)
        a = angles.to(kind).reshape(*(1,) * (ndim - angles.ndim), *angles.shape)
        view = leaves_in(sight(a))
        return spectra(v.contiguous(), self.contents, canopy(v, self.contents, view), *self.constants(kind))

    @property
    def contents(self) -> int:
        """How many variables the leaf has, the first ones."""
        return 1 + len(self.absorption)

    def constants(self, kind: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        return self.absorption.to(kind), self.interfaces.to(kind), self.soil.to(kind)


def canopy(v: Tensor, contents: int, view: Geometry) -> Structure:
    """What does not depend on the wavelength, of ``v`` (V, ...), the first ``contents`` of it the leaf's."""
    lai, *leaf_angles, hot_spot, _, _ = v[contents:]
    share = campbell(*leaf_angles) if len(leaf_angles) == 1 else two_parameter(*leaf_angles)
    return structure(lai, share, hot_spot, view)


def spectra(
    v: Tensor, contents: int, canopy: Structure, absorption: Tensor, interfaces: Tensor, soil: Tensor
) -> Tensor:
    """Reflectance (wavelength, ...) of leaf and soil ``v`` (V, ...) in a ``canopy``, all of one type."""
    dry, brightness = v[-2:]
    rho, tau = prospect(v[0], v[1:contents], absorption, interfaces)
    mixture = torch.stack([brightness * dry, brightness * (1.0 - dry)])
    return sail(rho, tau, torch.tensordot(soil.T, mixture, 1), canopy)


class Fused:
    """The fast path compiled: a kernel for what does not depend on the wavelength, one for what does.

    Together they would be one loop in which the first part is repeated at each node.
    """

    def __init__(self, contents: int) -> None:
        def first(v: Tensor, seen: Tensor) -> Tensor:
            return torch.stack(canopy(v, contents, leaves_in(seen)))

        def second(v: Tensor, first: Tensor, *constants: Tensor) -> Tensor:
            *optics, weights = constants
            return weights.T @ spectra(v, contents, Structure(*first), *optics)

        self.first, self.second = compiled(first), compiled(second)

    def __call__(self, variables: Tensor, angles: Tensor, *constants: Tensor) -> Tensor:
        """(..., band) of ``variables`` (..., V) and ``angles`` (..., 3), broadcast."""

        def kernel(v: Tensor, seen: Tensor) -> Tensor:
            return self.second(v, self.first(v, seen), *constants)

        return in_chunks(kernel, variables, sight(angles).movedim(0, -1))


class Prosail(nn.Module):
    """Reflectance in Sentinel-2 bands of a canopy, differentiable in all its variables.

    Arguments:
        sensor: platform, "S2A", "S2B" or "S2C"; or several, when one batch mixes them.
        bands: names and order of the bands of the output; all ten without it.
        leaf: "prospect-d" (no anthocyanins), "prospect-d-ant" (with them), "prospect-5b" or
            "prospect-pro" (dry matter as proteins and carbon-based constituents).
        leaf_angles: "campbell" (one mean angle) or "two-parameter" (Verhoef's a and b).
        exact: convolve the whole response functions. Without it each band is a weighted mean at two
            to four virtual wavelengths, fitted to the convolution (errors in DATA.md); tens of times faster.
        compile: fuse the fast path into one kernel by ``torch.compile``: several times faster after a
            start of about a minute, so for long jobs only; first derivatives only. Needs a C++
            compiler on a CPU; without one it warns and runs uncompiled.
        check: raise DataError for a variable or angle that is no number or outside its bounds;
            inner loops over points known to be inside switch it off.

    ``variables`` are the inputs in order; without other options they are VARIABLES.
    Raises DataError for a platform, band, leaf model or leaf-angle law that does not exist. Runs in float32
    or float64, following the type of ``variables``; holds no parameters and nothing to save.
    """

    weights: Tensor

    def __init__(
        self,
        sensor: str | Sequence[str] = "S2A",
        bands: Sequence[str] = BANDS,
        leaf: str = "prospect-d",
        exact: bool = False,
        check: bool = True,
        leaf_angles: str = "campbell",
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.platforms = (sensor,) if isinstance(sensor, str) else tuple(sensor)
        self.bands, self.leaf, self.exact, self.check = tuple(bands), leaf, exact, check
        rows = [position("platform", name, PLATFORMS) for name in self.platforms]
        columns = [position("band", name, BANDS) for name in self.bands]
        position("leaf model", leaf, tuple(LEAF_MODELS))
        position("leaf-angle law", leaf_angles, LEAF_ANGLES)
        self.variables = variables_of(leaf, leaf_angles)
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
        self._fused = Fused(self.optics.contents) if compile and not exact and can_compile() else None

    def forward(self, variables: Tensor, angles: Tensor, platform: Tensor | None = None) -> Tensor:
        """Bidirectional reflectance factor in the bands, (..., bands), unit 1.

        ``variables`` (..., V) in the order and units of ``self.variables``; ``angles`` (..., 3) in degrees,
        sun zenith, view zenith, relative azimuth (0: sun behind the sensor); leading dimensions
        broadcast. ``platform`` (...) integer positions in ``self.platforms``, needed with several.
        """
        self._validate(variables, angles)
        if platform is None and len(self.platforms) > 1:
            raise DataError(
                "several platforms and no platform per sample",
                f"pass platform= with positions in {list(self.platforms)}",
            )
        kind = variables.dtype
        weights = self.weights.to(kind)
        if self._fused is None:
            value: Tensor = torch.tensordot(self.optics(variables, angles), weights, ([0], [0]))
        else:
            value = self._fused(variables, angles.to(kind), *self.optics.constants(kind), weights)
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
        for name, values, size in (("variables", variables, len(self.variables)), ("angles", angles, 3)):
            if values.ndim == 0 or values.shape[-1] != size:
                wanted = ", ".join(v.name for v in (self.variables if name == "variables" else ANGLES))
                raise DataError(
                    f"{name} have shape {tuple(values.shape)}",
                    f"the last dimension must be {size}: {wanted}",
                )
        if self.check:
            check_domain(self.variables, variables)
            check_domain(ANGLES, angles)


ANGLES: tuple[Variable, ...] = (
    Variable("sun zenith", "degree", 0.0, 89.0, "sun zenith angle"),
    Variable("view zenith", "degree", 0.0, 89.0, "view zenith angle"),
    Variable("relative azimuth", "degree", -360.0, 360.0, "azimuth of the sensor from that of the sun"),
)
"""The geometry, in order. At the horizon the path through the canopy is without end."""

SLACK = 1e-6
"""Share of the larger bound by which rounding to float32 may carry a value over."""


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
    names = [v.name for v in known]
    if "lidfb" in names:
        a, b = values[..., names.index("lidfa")], values[..., names.index("lidfb")]
        if (a.abs() + b.abs() > 1.0 + SLACK).any():
            raise DataError("|lidfa| + |lidfb| exceeds 1", "only within it are they a distribution of angles")
