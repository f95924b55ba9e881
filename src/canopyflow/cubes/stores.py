"""Opening the stores that others read: scenes, masks, patches; and the angles of every pixel.

Knows how stores look and not how they are made, so that those who only read
them need not run again when the making changes.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from canopyflow.archive.directions import Direction, interpolate, relative_azimuth
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


def pixel_angles(ds: xr.Dataset, time_index: int) -> npt.NDArray[np.float32]:
    """Angles of every pixel of ``ds`` (a scene store or a window of one).

    Returns:
        (3, y, x) float32, degrees: sun zenith, view zenith, relative azimuth in [0, 180].
    """
    rows = node_weights(ds.y.values, ds.y_angle.values)
    columns = node_weights(ds.x.values, ds.x_angle.values)
    coarse = {name: ds[name].values[time_index].astype(float) for name in ANGLES}
    sun = interpolate(Direction(coarse["sun_zenith"], coarse["sun_azimuth"]), rows, columns)
    view = interpolate(Direction(coarse["view_zenith"], coarse["view_azimuth"]), rows, columns)
    return np.stack([sun.zenith, view.zenith, relative_azimuth(sun.azimuth, view.azimuth)]).astype(np.float32)


def open_masks(path: Path) -> xr.Dataset:
    """The mask store, lazily: ``valid`` (time, y, x) bool and ``quality`` (time, y, x) uint16."""
    return open_store(path, "mask store")


def open_patches(path: Path) -> xr.Dataset:
    """The patch cube, lazily; reflectance (patch, band, y, x) float32, NaN where there is no data."""
    return with_reflectance(open_store(path, "patch cube", raw=["reflectance"]), path)
