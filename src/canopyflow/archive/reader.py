"""Reading the bands of one item onto a grid, lazily; two libraries behind one small protocol.

Resampling is ours and not the libraries', so that both give the same pixels:
a band finer than the grid is read at its own resolution and averaged over its
valid pixels (SCL: the most frequent class), a coarser one is read by nearest
neighbour. Left to themselves the one warps from full resolution and the other
from whatever overview the file happens to have.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import dask.array as da
import numpy as np
import numpy.typing as npt
import odc.stac
import pystac
import rasterio
import stackstac
import xarray as xr
from odc.geo.geobox import GeoBox
from stackstac.rio_env import LayeredEnv

from canopyflow.archive.grid import Grid
from canopyflow.archive.items import SCL, Item, epsg, resolve_href, transform_of
from canopyflow.archive.signing import PlanetaryComputerSigner, Signer
from canopyflow.errors import ArchiveError

CHUNK = 512
"""Side of a chunk in pixels of the scene grid."""

GDAL_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_CONNECTTIMEOUT": "15",
    "GDAL_HTTP_TIMEOUT": "120",
    # GDAL remembers for the life of the process that a URL failed; a second attempt must ask again.
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/",
}

CLASS_ORDER = (9, 8, 10, 3, 11, 1, 2, 6, 7, 5, 4, 0)
"""SCL classes by who wins a tie: cloud and shadow before clear, data before none."""


class Reader(Protocol):
    """Reads items of a pinned search."""

    def read(self, item: Item, bands: Sequence[str], grid: Grid) -> xr.DataArray:
        """DN of ``bands`` on ``grid``: (band, y, x) uint16, dask-backed, 0 where there is no data.

        Errors of the files surface when the array is computed; see :func:`canopyflow.archive.access.compute`.
        """
        ...


class _FileReader(ABC):
    """What both readers share: hrefs, native resolution, coarsening."""

    def __init__(self, asset_base: Path | None = None, sign: Signer | None = None) -> None:
        self.asset_base = asset_base
        self.sign = sign or PlanetaryComputerSigner()

    def read(self, item: Item, bands: Sequence[str], grid: Grid) -> xr.DataArray:
        opened = openable(item, bands, self.asset_base, self.sign)
        planes: dict[str, da.Array] = {}
        factors = {band: refinement(opened, band, grid) for band in bands}
        for factor in sorted(set(factors.values())):
            group = [band for band in bands if factors[band] == factor]
            fine = self._load(opened, group, grid.refined(factor), CHUNK * factor)
            for index, band in enumerate(group):
                planes[band] = _coarsened(fine[index], factor, band)
        data = da.stack([planes[band] for band in bands]).rechunk((len(bands), CHUNK, CHUNK))
        return xr.DataArray(
            data, coords={"band": list(bands), "y": grid.y, "x": grid.x}, dims=("band", "y", "x")
        )

    @abstractmethod
    def _load(self, item: Item, bands: Sequence[str], grid: Grid, chunk: int) -> da.Array:
        """(band, y, x) uint16 by nearest neighbour, 0 where there is no data."""


class StackstacReader(_FileReader):
    """The default: stackstac, with the arguments it needs to neither rescale nor choose a grid itself."""

    def _load(self, item: Item, bands: Sequence[str], grid: Grid, chunk: int) -> da.Array:
        stack = stackstac.stack(
            [item],
            assets=list(bands),
            epsg=grid.epsg,
            resolution=grid.resolution,
            bounds=grid.bounds,
            snap_bounds=False,
            dtype=np.dtype("uint16"),
            fill_value=np.uint16(0),
            rescale=False,
            chunksize=chunk,
            sortby_date=False,
            properties=False,
            band_coords=False,
            errors_as_nodata=(),
            gdal_env=LayeredEnv(always=GDAL_OPTIONS),
        )
        # stackstac leaves out bands that miss the bounds.
        there = list(stack.band.values) if stack.size else []
        empty = da.zeros(grid.shape, dtype=np.uint16, chunks=chunk)
        return da.stack([stack.data[0, there.index(b)] if b in there else empty for b in bands])


class OdcReader(_FileReader):
    """The alternative: odc-stac."""

    def _load(self, item: Item, bands: Sequence[str], grid: Grid, chunk: int) -> da.Array:
        odc.stac.configure_rio(cloud_defaults=False, verbose=False, aws=None, **GDAL_OPTIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about raster extensions the item does not declare
            loaded = odc.stac.load(
                [pystac.Item.from_dict(item, preserve_dict=True)],
                bands=list(bands),
                geobox=GeoBox(grid.shape, grid.transform, f"EPSG:{grid.epsg}"),
                resampling="nearest",
                dtype="uint16",
                nodata=0,
                chunks={"y": chunk, "x": chunk},
            )
        return da.stack([loaded[band].data[0] for band in bands])


READERS = {"stackstac": StackstacReader, "odc": OdcReader}


def open_reader(name: str, asset_base: Path | None, sign: Signer | None = None) -> Reader:
    """The reader called ``stackstac`` or ``odc``.

    Raises:
        ArchiveError: another name.
    """
    if name not in READERS:
        raise ArchiveError(f"there is no reader called {name}", f"choose one of {', '.join(sorted(READERS))}")
    return READERS[name](asset_base, sign)


def openable(item: Item, names: Sequence[str], asset_base: Path | None, sign: Signer) -> Item:
    """The item with only ``names`` as assets, their hrefs absolute and signed, ``proj:epsg`` in place."""
    assets = {}
    for name in names:
        asset = {k: v for k, v in item["assets"][name].items() if k not in ("raster:bands", "bands")}
        assets[name] = {**asset, "href": sign(resolve_href(asset["href"], asset_base))}
    properties = {**item["properties"], "proj:epsg": epsg(item)}
    # Item-level extents would be taken for the asset's own; assets carry theirs.
    for key in ("proj:bbox", "proj:shape", "proj:transform"):
        value = properties.pop(key, None)
        for asset in assets.values():
            if value is not None and not (key == "proj:bbox" and "proj:transform" in asset):
                asset.setdefault(key, value)
    return {**item, "properties": properties, "assets": assets}


def native_resolution(item: Item, band: str) -> float:
    """Pixel size of an asset in metres: from its projection fields, its ``gsd``, or the file itself."""
    asset = item["assets"][band]
    placed = transform_of(item, asset)
    if placed:
        return abs(float(placed[0][0]))
    if asset.get("gsd"):
        return float(asset["gsd"])
    with rasterio.Env(**GDAL_OPTIONS), rasterio.open(asset["href"]) as source:
        return float(source.res[0])


def refinement(item: Item, band: str, grid: Grid) -> int:
    """How many native pixels go along one side of a grid pixel; 1 where the band is as coarse or coarser."""
    return max(1, round(grid.resolution / native_resolution(item, band)))


def _coarsened(fine: da.Array, factor: int, band: str) -> da.Array:
    if factor == 1:
        return fine
    combine = most_frequent_class if band == SCL else mean_of_valid
    chunks = tuple(tuple(size // factor for size in axis) for axis in fine.chunks)
    return da.map_blocks(combine, fine, factor=factor, dtype=np.uint16, chunks=chunks)


def _cells(fine: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """(y, x, factor * factor) view of the pixels in each cell."""
    rows, columns = fine.shape[0] // factor, fine.shape[1] // factor
    return fine.reshape(rows, factor, columns, factor).swapaxes(1, 2).reshape(rows, columns, -1)


def mean_of_valid(fine: npt.NDArray[np.uint16], factor: int) -> npt.NDArray[np.uint16]:
    """Mean over the pixels of each cell that are not 0, rounded; 0 where all are."""
    cells = _cells(fine, factor)
    count = (cells != 0).sum(axis=-1)
    return np.rint(cells.sum(axis=-1, dtype=np.int64) / np.maximum(count, 1)).astype(np.uint16)


def most_frequent_class(fine: npt.NDArray[np.uint16], factor: int) -> npt.NDArray[np.uint16]:
    """Most frequent SCL class of each cell, ties to the earlier one in ``CLASS_ORDER``."""
    cells = _cells(fine, factor)
    counts = np.stack([(cells == value).sum(axis=-1) for value in CLASS_ORDER])
    return np.array(CLASS_ORDER, dtype=np.uint16)[counts.argmax(axis=0)]
