"""What all stores share: Zarr v3 with zstd and bitshuffle, CF-encoded reflectance, the CRS."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from pyproj import CRS
from zarr.codecs import BloscCodec, BloscShuffle

from canopyflow.archive.grid import Grid
from canopyflow.errors import DataError

SCALE = 1e-4
NODATA = 0
CHUNK = 512
"""Side of a chunk of scene, mask and product stores, pixels."""
STRIP = 2 * CHUNK
"""Rows of a shard of scene and mask stores, and what is read, computed and written at once: ten bands of a
full tile's width then take 225 MB."""

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


def chunk_side(size: int, most: int | None = None) -> int:
    """Chunk length along a pixel axis of ``size``: no larger than the axis or ``most`` (CHUNK), never 0."""
    return max(1, min(most or CHUNK, size))


def empty(shape: Sequence[int], dtype: npt.DTypeLike) -> da.Array:
    """A lazy array for :func:`write_template`: never computed, so its size does not matter."""
    return da.zeros(tuple(shape), chunks=tuple(shape), dtype=dtype)


def in_strips(shape: Sequence[int], rows: int | None = None, side: int | None = None) -> dict[str, Any]:
    """Encoding of an array (time, ..., y, x): a shard is a full-width strip of one time.

    A strip has ``rows`` (:data:`STRIP`) rows. Inner chunks are squares of ``side`` (:data:`CHUNK`) pixels,
    with all layers of the axes between time and y. Whoever fills the array writes whole strips, one after
    the other (see :func:`strips`): each shard is written once.
    """
    rows, side = rows or STRIP, side or CHUNK
    assert rows % side == 0, "a shard holds whole chunks"
    *between, height, width = shape[1:]
    tall, wide = chunk_side(height, side), chunk_side(width, side)
    shard = (1, *between, min(rows, _upward(height, tall)), _upward(width, wide))
    return {"chunks": (1, *between, tall, wide), "shards": shard}


def in_one_shard(shape: Sequence[int], side: int) -> dict[str, Any]:
    """Encoding of an array (time, ..., y, x) that is one file whatever its size, filled by
    :class:`canopyflow.cubes.shards.ShardWriter`.

    Inner chunks are squares of ``side`` pixels of one time, with all layers of the axes between time and y.
    """
    *between, height, width = shape[1:]
    tall, wide = chunk_side(height, side), chunk_side(width, side)
    whole = (max(1, shape[0]), *between, _upward(height, tall), _upward(width, wide))
    return {"chunks": (1, *between, tall, wide), "shards": whole}


def _upward(size: int, step: int) -> int:
    """The least multiple of ``step`` that is not below ``size``, and not 0."""
    return max(1, -(-size // step)) * step


def write_template(path: Path, ds: xr.Dataset, encoding: Mapping[str, Mapping[str, Any]]) -> zarr.Group:
    """Write metadata and small coordinates of a store; lazy variables (:func:`empty`) are filled afterwards.

    Whoever calls this fills whole shards: it is the one job that writes here.
    """
    # In one piece, whatever its size: dask would cut it at 128 MiB, across the shards, which xarray refuses.
    whole = {name: v.chunk(-1) for name, v in ds.variables.items() if v.chunks}
    full = {
        name: {"compressors": COMPRESSOR, **encoding.get(str(name), {})}
        for name in ds.variables
        if ds[name].ndim
    }
    with _quiet():
        ds.assign(whole).to_zarr(
            path, mode="w", compute=False, zarr_format=3, consolidated=False, encoding=full
        )
        return zarr.open_group(path, mode="r+", use_consolidated=False)


def array_of(store: zarr.Group, name: str) -> zarr.Array[Any]:
    """The array ``name`` of a store."""
    array = store[name]
    assert isinstance(array, zarr.Array), f"{name} is a group"
    return array


def decoded(numbers: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Reflectance of stored numbers, NaN where there is no data: the float32 nearest to number x SCALE."""
    reflectance = np.divide(numbers, np.float32(round(1 / SCALE)), dtype=np.float32)
    np.copyto(reflectance, np.float32(np.nan), where=numbers == NODATA)
    return reflectance


def with_reflectance(ds: xr.Dataset, path: Path) -> xr.Dataset:
    """An opened store of undecoded numbers with ``reflectance`` decoded, lazily, in float32.

    xarray would decode it to float64, four times what is on disk.

    Raises:
        DataError: the numbers are of another type or scale.
    """
    raw = ds["reflectance"]
    attributes = dict(raw.attrs)
    scale, nodata = attributes.pop("scale_factor", None), attributes.pop("_FillValue", None)
    if raw.dtype != np.uint16 or (scale, nodata) != (SCALE, NODATA):
        raise DataError(
            f"{path} holds reflectance as {raw.dtype} with scale {scale} and fill value {nodata}",
            "run the stage that writes it again",
        )
    in_memory = isinstance(raw.data, np.ndarray)
    data = decoded(raw.data) if in_memory else raw.data.map_blocks(decoded, dtype=np.float32)
    ds["reflectance"] = (raw.dims, data, attributes)
    return ds


def open_store(path: Path, what: str, raw: Sequence[str] = ()) -> xr.Dataset:
    """Open a store: pixels lazily, everything smaller in memory; variables ``raw`` as the numbers on disk.

    Raises:
        DataError: there is none, or it is not one.
    """
    try:
        with _quiet():
            decode = dict.fromkeys(raw, False)
            ds = xr.open_zarr(path, consolidated=False, mask_and_scale=decode or None)
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


def strips(rows: int, height: int | None = None) -> Iterator[slice]:
    """Consecutive row ranges of ``height`` (:data:`STRIP`), the rows of a shard: each is written once."""
    height = height or STRIP
    for first in range(0, rows, height):
        yield slice(first, min(rows, first + height))
