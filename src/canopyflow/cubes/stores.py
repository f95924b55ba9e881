"""Opening the stores that others read: scenes, masks, patches; and the angles of every pixel.

Knows how stores look and not how they are made, so that those who only read
them need not run again when the making changes.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from canopyflow.archive.grid import node_weights
from canopyflow.cubes.layout import open_store, with_reflectance

ANGLES = ("sun_zenith", "sun_azimuth", "view_zenith", "view_azimuth")


def open_scenes(path: Path, *, decode: bool = True) -> xr.Dataset:
    """The scene store, lazily: ``reflectance`` (time, band, y, x) float32, NaN where there is no data.

    Without ``decode`` it stays as it is on disk: uint16, in units of :data:`canopyflow.cubes.layout.SCALE`,
    NODATA where there is none.
    """
    ds = open_store(path, "scene store", raw=["reflectance"])
    return with_reflectance(ds, path) if decode else ds


class PixelAngles:
    """Angles of the pixels of a scene store, or of a window of one, asked for block by block."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._rows = node_weights(ds.y.values, ds.y_angle.values).astype(np.float32)
        self._columns = node_weights(ds.x.values, ds.x_angle.values).astype(np.float32)
        sun, view = (_nodes(ds, body) for body in ("sun", "view"))
        self._fields = np.stack([*sun, *view], axis=1).astype(np.float32)

    def at(
        self, time: int, rows: slice = slice(None), columns: slice = slice(None)
    ) -> npt.NDArray[np.float32]:
        """Angles of a block of one acquisition.

        Zeniths are interpolated between the nodes as numbers, azimuths as vectors, in float32: within 0.001
        degree of float64. The relative azimuth is the angle between the vectors of sun and view, which takes
        one arc tangent per pixel.

        Returns:
            (3, y, x) float32, degrees: sun zenith, view zenith, relative azimuth in [0, 180].
        """
        vertical, north_south = _used(self._rows[rows])
        horizontal, west_east = _used(self._columns[columns])
        fields = self._fields[time][:, north_south, west_east]
        sun, sun_east, sun_north, view, view_east, view_north = vertical @ fields @ horizontal.T
        along = sun_east * view_east + sun_north * view_north
        across = np.abs(sun_east * view_north - sun_north * view_east)
        return np.stack([sun, view, np.degrees(np.arctan2(across, along))])


def _nodes(ds: xr.Dataset, body: str) -> tuple[npt.NDArray[np.float64], ...]:
    """Zenith, and azimuth as a vector to the east and to the north, at all nodes; (time, y, x) each."""
    turn = np.radians(ds[f"{body}_azimuth"].values.astype(float))
    return ds[f"{body}_zenith"].values.astype(float), np.sin(turn), np.cos(turn)


def _used(weights: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], slice]:
    """Weights (pixels, nodes) without the nodes before the first and after the last that has any weight."""
    (nodes,) = np.nonzero(weights.any(axis=0))
    used = slice(nodes[0], nodes[-1] + 1) if len(nodes) else slice(0)
    return weights[:, used], used


def open_masks(path: Path) -> xr.Dataset:
    """The mask store, lazily: ``valid`` (time, y, x) bool and ``quality`` (time, y, x) uint16."""
    return open_store(path, "mask store")


def open_patches(path: Path) -> xr.Dataset:
    """The patch cube, lazily; reflectance (patch, band, y, x) float32, NaN where there is no data."""
    return with_reflectance(open_store(path, "patch cube", raw=["reflectance"]), path)
