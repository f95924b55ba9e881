"""Reading the bands of one item onto a grid; two libraries behind one small protocol.

The libraries read the files' own blocks, each once. Resampling is ours, so that both give the same pixels:
a band finer than the grid is averaged over its valid pixels (SCL: the most frequent class), a coarser one
is read by nearest neighbour. Left to themselves the one warps from full resolution and the other from
whatever overview the file happens to have.
"""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, product
from typing import Any, Protocol

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import odc.stac
import pystac
import stackstac
from odc.geo.geobox import GeoBox
from stackstac.rio_env import LayeredEnv

from canopyflow.archive.assets import GDAL_OPTIONS, BrokenFile, LocalAsset
from canopyflow.archive.grid import Grid
from canopyflow.archive.items import SCL, Item
from canopyflow.errors import ArchiveError

CHUNK = (1024, 4096)
"""Rows and columns that are read at once at least, where a file has as many: whole blocks of a usual file.

Wide, because a library opens the file for each chunk; low, because strips are read one after the other.
"""

Numbers = npt.NDArray[np.uint16]

CLASS_ORDER = (9, 8, 10, 3, 11, 1, 2, 6, 7, 5, 4, 0)
"""SCL classes by who wins a tie: cloud and shadow before clear, data before none."""


class BrokenBand(BrokenFile):
    """A file that cannot be decoded; ``name`` is its band."""

    def __init__(self, asset: LocalAsset) -> None:
        self.name = asset.name
        super().__init__(asset.label)


class Reader(Protocol):
    """Reads the files of one item, each with its own pixels."""

    def open(self, item: Item, assets: Sequence[LocalAsset]) -> list[da.Array]:
        """The whole of each file: (y, x) uint16, lazy, in chunks of whole blocks.

        ``assets`` have the same pixels. A block that cannot be decoded raises when it is computed.
        """
        ...


class StackstacReader:
    """The default: stackstac, with the arguments it needs to neither rescale nor choose a grid itself."""

    def open(self, item: Item, assets: Sequence[LocalAsset]) -> list[da.Array]:
        first = assets[0]
        # The files' own grid: then no pixel is warped.
        stack = stackstac.stack(
            [_described(item, assets)],
            assets=[asset.name for asset in assets],
            epsg=first.epsg,
            resolution=first.resolution,
            bounds=_bounds(first),
            snap_bounds=False,
            dtype=np.dtype("uint16"),
            fill_value=np.uint16(0),
            rescale=False,
            chunksize=(1, 1, *_chunk(first)),
            sortby_date=False,
            properties=False,
            band_coords=False,
            errors_as_nodata=(),
            gdal_env=LayeredEnv(always=GDAL_OPTIONS),
        )
        return [stack.data[0, index] for index in range(len(assets))]


class OdcReader:
    """The alternative: odc-stac."""

    def open(self, item: Item, assets: Sequence[LocalAsset]) -> list[da.Array]:
        first = assets[0]
        rows, columns = _chunk(first)
        odc.stac.configure_rio(cloud_defaults=False, verbose=False, aws=None, **GDAL_OPTIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about raster extensions the item does not declare
            loaded = odc.stac.load(
                [pystac.Item.from_dict(_described(item, assets), preserve_dict=True)],
                bands=[asset.name for asset in assets],
                geobox=GeoBox(first.shape, first.transform, f"EPSG:{first.epsg}"),
                resampling="nearest",
                dtype="uint16",
                nodata=0,
                chunks={"y": rows, "x": columns},
                fail_on_error=True,
            )
        return [loaded[asset.name].data[0] for asset in assets]


READERS: dict[str, type[Reader]] = {"stackstac": StackstacReader, "odc": OdcReader}


def open_reader(name: str) -> Reader:
    """The reader called ``stackstac`` or ``odc``.

    Raises:
        ArchiveError: another name.
    """
    if name not in READERS:
        raise ArchiveError(f"there is no reader called {name}", f"choose one of {', '.join(sorted(READERS))}")
    return READERS[name]()


class Scene:
    """The bands of an item, read strip by strip."""

    def __init__(self, reader: Reader, item: Item, assets: Mapping[str, LocalAsset]) -> None:
        self._reader, self._item = reader, item
        self._assets: dict[str, LocalAsset] = {}
        self._files: dict[str, da.Array] = {}
        self.replace(assets.values())

    def replace(self, assets: Iterable[LocalAsset]) -> None:
        """Read these bands from other files from now on."""
        by_pixels = sorted(assets, key=_pixels)
        for _, group in groupby(by_pixels, key=_pixels):
            alike = list(group)
            self._assets |= {asset.name: asset for asset in alike}
            opened = self._reader.open(self._item, alike)
            self._files |= {asset.name: data for asset, data in zip(alike, opened, strict=True)}

    def read(self, bands: Sequence[str], grid: Grid, rows: slice) -> list[Numbers]:
        """DN of ``bands`` in some rows of ``grid``, each (rows, columns of the grid), 0 where there is no
        data.

        Raises:
            BrokenBand: a file cannot be decoded.
        """
        takes = {band: _Take(self._assets[band], grid, rows) for band in bands}
        parts = [self._files[band][takes[band].window] for band in bands]
        with dask.config.set(scheduler="threads"):
            try:
                read = dask.compute(*parts)
            except Exception as error:  # stackstac raises RuntimeError, odc-stac and rasterio their own
                raise self._broken(bands, parts, error) from error
        return [takes[band].onto_grid(part) for band, part in zip(bands, read, strict=True)]

    def _broken(self, bands: Sequence[str], parts: Sequence[da.Array], error: Exception) -> ArchiveError:
        """The first band that cannot be read alone: the libraries' own words do not say which it was."""
        for band, part in zip(bands, parts, strict=True):
            try:
                part.compute()
            except Exception:  # as above
                return BrokenBand(self._assets[band])
        return ArchiveError(f"{self._item['id']} cannot be read: {' '.join(str(error).split())[:200]}")


class _Take:
    """Which pixels of a file some rows of a grid need, and how they become the grid's."""

    def __init__(self, asset: LocalAsset, grid: Grid, rows: slice) -> None:
        self.name = asset.name
        self.factor = refinement(asset, grid)
        fine = grid.refined(self.factor)
        first, last = rows.start * self.factor, rows.stop * self.factor
        xmin, _, _, ymax = grid.bounds
        pixel, transform = asset.resolution, asset.transform
        top = (transform.f - ymax) + fine.resolution * np.arange(first + 0.5, last)
        left = (xmin - transform.c) + fine.resolution * np.arange(0.5, fine.shape[1])
        # A centre on the border of two pixels belongs to the second, whatever the rounding.
        self._rows, self._columns = (np.floor(at / pixel + 1e-6).astype(np.intp) for at in (top, left))
        self._inside = (
            _span((self._rows >= 0) & (self._rows < asset.shape[0])),
            _span((self._columns >= 0) & (self._columns < asset.shape[1])),
        )
        self.window = tuple(
            slice(int(index[inside][0]), int(index[inside][-1]) + 1)
            if inside.stop > inside.start
            else slice(0)
            for index, inside in zip((self._rows, self._columns), self._inside, strict=True)
        )

    def onto_grid(self, read: Numbers) -> Numbers:
        """The pixels of ``window`` on the grid's rows and columns."""
        rows, columns = self._inside
        fine = read
        if read.size:
            fine = _repeated(read, self._rows[rows] - self.window[0].start, 0)
            fine = _repeated(fine, self._columns[columns] - self.window[1].start, 1)
        shape = len(self._rows), len(self._columns)
        if fine.shape != shape:
            whole = np.zeros(shape, dtype=np.uint16)
            if read.size:
                whole[rows, columns] = fine
            fine = whole
        if self.factor == 1:
            return fine
        return (most_frequent_class if self.name == SCL else mean_of_valid)(fine, self.factor)


def _span(inside: npt.NDArray[np.bool_]) -> slice:
    found = np.flatnonzero(inside)
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0)


def _repeated(pixels: Numbers, index: npt.NDArray[np.intp], axis: int) -> Numbers:
    """``pixels`` taken at ``index``; themselves where that is each of them once."""
    if len(index) == pixels.shape[axis] and index[0] == 0 and (np.diff(index) == 1).all():
        return pixels
    return pixels.take(index, axis)


def refinement(asset: LocalAsset, grid: Grid) -> int:
    """How many pixels of a file go along one side of a grid pixel; 1 where they are as coarse or coarser."""
    return max(1, round(grid.resolution / asset.resolution))


def _pixels(asset: LocalAsset) -> tuple[Any, ...]:
    return asset.resolution, asset.shape, tuple(asset.transform), asset.block


def _bounds(asset: LocalAsset) -> tuple[float, float, float, float]:
    west, south = asset.transform @ (0, asset.shape[0])
    east, north = asset.transform @ (asset.shape[1], 0)
    return west, south, east, north


def _chunk(asset: LocalAsset) -> tuple[int, int]:
    """Rows and columns of whole blocks, at least ``CHUNK`` where the file has as many."""
    rows, columns = (
        min(size, block * max(1, math.ceil(least / block)))
        for size, block, least in zip(asset.shape, asset.block, CHUNK, strict=True)
    )
    return rows, columns


def _described(item: Item, assets: Sequence[LocalAsset]) -> Item:
    """An item of these files alone, with their own pixels: what a catalogue says of them does not count."""
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "id": item["id"],
        "bbox": item["bbox"],
        "geometry": item["geometry"],
        # Both libraries know the projection by this name; pystac renames it where it may.
        "properties": {"datetime": item["properties"]["datetime"], "proj:epsg": assets[0].epsg},
        "links": [],
        "assets": {
            asset.name: {
                "href": str(asset.path),
                "proj:shape": list(asset.shape),
                "proj:transform": list(asset.transform)[:6],
            }
            for asset in assets
        },
    }


def _cells(fine: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """(y, x, factor * factor) view of the pixels in each cell."""
    rows, columns = fine.shape[0] // factor, fine.shape[1] // factor
    return fine.reshape(rows, factor, columns, factor).swapaxes(1, 2).reshape(rows, columns, -1)


def mean_of_valid(fine: Numbers, factor: int) -> Numbers:
    """Mean over the pixels of each cell that are not 0, rounded; 0 where all are."""
    shape = fine.shape[0] // factor, fine.shape[1] // factor
    total, count = np.zeros(shape, dtype=np.uint32), np.zeros(shape, dtype=np.uint32)
    for i, j in product(range(factor), repeat=2):
        part = fine[i::factor, j::factor]
        total += part
        count += part != 0
    return np.rint(total / np.maximum(count, 1)).astype(np.uint16)


def most_frequent_class(fine: Numbers, factor: int) -> Numbers:
    """Most frequent SCL class of each cell, ties to the earlier one in ``CLASS_ORDER``."""
    cells = _cells(fine, factor)
    counts = np.stack([(cells == value).sum(axis=-1) for value in CLASS_ORDER])
    return np.array(CLASS_ORDER, dtype=np.uint16)[counts.argmax(axis=0)]
