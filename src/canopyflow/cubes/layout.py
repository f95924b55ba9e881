"""What all stores share: Zarr v3 with zstd and bitshuffle, CF-encoded reflectance, the CRS."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from pyproj import CRS
from zarr.codecs import BloscCodec, BloscShuffle

from canopyflow.archive.grid import Grid
from canopyflow.errors import DataError

SCALE = 1e-4
NODATA = 0
CHUNK = 512
"""Side of a chunk of scene and mask stores, pixels."""

COMPRESSOR = BloscCodec(cname="zstd", clevel=5, shuffle=BloscShuffle.bitshuffle)
TIME_ENCODING = {"units": "microseconds since 1970-01-01", "dtype": "int64"}


def reflectance_attributes() -> dict[str, Any]:
    return {
        "long_name": "surface reflectance",
        "standard_name": "surface_bidirectional_reflectance",
        "units": "1",
        "grid_mapping": "spatial_ref",
    }


def grid_coordinates(grid: Grid) -> dict[str, Any]:
    """Coordinates y, x and the CF grid mapping ``spatial_ref`` (GeoTransform in GDAL's order)."""
    mapping = CRS.from_epsg(grid.epsg).to_cf()
    mapping["GeoTransform"] = " ".join(repr(float(v)) for v in grid.transform.to_gdal())
    axis = {"units": "m"}
    return {
        "y": ("y", grid.y, {**axis, "standard_name": "projection_y_coordinate"}),
        "x": ("x", grid.x, {**axis, "standard_name": "projection_x_coordinate"}),
        "spatial_ref": ((), np.int32(0), mapping),
    }


def grid_attributes(grid: Grid) -> dict[str, Any]:
    return {
        "epsg": grid.epsg,
        "crs_wkt": CRS.from_epsg(grid.epsg).to_wkt(),
        "transform": list(grid.transform)[:6],
        "bounds": list(grid.bounds),
        "resolution": grid.resolution,
    }


def grid_of_store(ds: xr.Dataset) -> Grid:
    """The grid a scene or mask store was written on."""
    return Grid.from_dict(ds.attrs)


def chunk_side(size: int) -> int:
    """Chunk length along a pixel axis of ``size``: no larger than the axis, never 0."""
    return max(1, min(CHUNK, size))


def write_template(path: Path, ds: xr.Dataset, encoding: Mapping[str, Mapping[str, Any]]) -> zarr.Group:
    """Write metadata and small coordinates of a store whose dask variables are filled afterwards.

    Whoever calls this fills whole chunks (shards): it is the one job that writes here.
    """
    full = {
        name: {"compressors": COMPRESSOR, **encoding.get(str(name), {})}
        for name in ds.variables
        if ds[name].ndim
    }
    with _quiet():
        ds.to_zarr(path, mode="w", compute=False, zarr_format=3, consolidated=False, encoding=full)
        return zarr.open_group(path, mode="r+", use_consolidated=False)


def array_of(store: zarr.Group, name: str) -> zarr.Array[Any]:
    """The array ``name`` of a store."""
    array = store[name]
    assert isinstance(array, zarr.Array), f"{name} is a group"
    return array


def open_store(path: Path, what: str) -> xr.Dataset:
    """Open a store: pixels lazily, everything smaller in memory.

    Raises:
        DataError: there is none, or it is not one.
    """
    try:
        with _quiet():
            ds = xr.open_zarr(path, consolidated=False)
            # Text and angles are asked for again and again; left lazy, each question would be a dask graph.
            small = {n: v.load() for n, v in ds.variables.items() if not {"y", "x"} <= set(v.dims)}
            return ds.assign({n: v for n, v in small.items() if n not in ds.indexes})
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise DataError(
            f"{what} {path} cannot be opened: {error}", "run the stage that writes it again"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence zarr's warning that its specification lacks variable-length text: we read what we write."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=zarr.errors.UnstableSpecificationWarning)
        warnings.simplefilter("ignore", category=zarr.errors.ZarrUserWarning)
        yield


def strips(rows: int, height: int) -> Iterator[slice]:
    """Consecutive row ranges of ``height``, a multiple of the chunk side: each chunk is written once."""
    assert height % chunk_side(rows) == 0 or height >= rows, "strips must hold whole chunks"
    for first in range(0, rows, height):
        yield slice(first, min(rows, first + height))
