"""One layer of a product store as Cloud Optimized GeoTIFFs, a file per plane, written piece by piece."""

import hashlib
import math
import warnings
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import DTypeLike, NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.shutil import copy
from rasterio.windows import Window

from canopyflow.archive.grid import Grid

_BLOCK = 256  # a quarter of the driver's default area: even a small site gets overviews
_OPTIONS: dict[str, Any] = {
    "driver": "COG",
    "compress": "DEFLATE",
    "level": 1,  # 6 saves nothing: what rounding leaves of a number is noise
    "predictor": "YES",
    "blocksize": _BLOCK,
    "overviews": "AUTO",
    "num_threads": 1,
}

_SCRATCH: dict[str, Any] = {
    "driver": "GTiff",
    "count": 1,
    "tiled": True,
    "blockxsize": _BLOCK,
    "blockysize": _BLOCK,
    # Blocks without data take no space.
    "sparse_ok": True,
    "bigtiff": "YES",
}

_CACHE_MB = 256
"""What GDAL may keep in memory; left alone it takes a share of the machine's."""

_PIECE = 2**20

SHA2_256 = "1220"
"""What a multihash of SHA-256 starts with: the function's code, and 32, the length."""


@dataclass(frozen=True)
class Numbers:
    """How values are stored: ``value = number * scale + offset``, except where the number is ``nodata``.

    Without ``nodata`` every pixel has a number, and the numbers are bit flags, which cannot be averaged.
    """

    dtype: DTypeLike
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Sheet:
    """One file to write: ``name`` describes its band, ``title`` says what it shows."""

    path: Path
    name: str
    title: str
    unit: str | None = None


@dataclass
class Tally:
    """What is known of the numbers of a file once all strips have gone by.

    Attributes:
        numbers: how they are stored.
        pixels: all of them.
        count: those with a value.
        least, most: of the numbers with a value.
        histogram: of flags, how many pixels have each number.
    """

    numbers: Numbers
    pixels: int = 0
    count: int = 0
    total: float = 0
    squares: float = 0
    least: float = math.inf
    most: float = -math.inf
    histogram: dict[int, int] = field(default_factory=dict)

    def add(self, strip: NDArray[Any]) -> None:
        """Count the numbers of one strip."""
        self.pixels += strip.size
        if self.numbers.nodata is None:
            for number, count in zip(*np.unique(strip, return_counts=True), strict=True):
                self.histogram[int(number)] = self.histogram.get(int(number), 0) + int(count)
            self.count += strip.size
            return
        there = strip[np.isfinite(strip) if math.isnan(self.numbers.nodata) else strip != self.numbers.nodata]
        if not there.size:
            return
        self.count += there.size
        self.least, self.most = min(self.least, there.min().item()), max(self.most, there.max().item())
        # Sums of integers are exact, so that they do not depend on the strips.
        wide = there.astype(np.int64 if there.dtype.kind in "iu" else np.float64)
        self.total += wide.sum().item()
        self.squares += (wide * wide).sum().item()

    def tags(self) -> dict[str, str]:
        """Statistics as GDAL keeps them, of the stored numbers; none of flags, whose mean says nothing."""
        if self.numbers.nodata is None or not self.count:
            return {}
        mean = self.total / self.count
        variance = max(0.0, (self.count * self.squares - self.total**2) / self.count**2)
        found = {"MINIMUM": self.least, "MAXIMUM": self.most, "MEAN": mean, "STDDEV": math.sqrt(variance)}
        return {
            **{f"STATISTICS_{name}": f"{value:.9g}" for name, value in found.items()},
            "STATISTICS_VALID_PERCENT": f"{100 * self.count / self.pixels:.4g}",
        }


def write_cogs(
    sheets: Sequence[Sheet],
    strips: Iterable[NDArray[Any]],
    grid: Grid,
    *,
    numbers: Numbers,
    tags: dict[str, str] | None = None,
) -> list[Tally]:
    """Write ``strips`` (planes, rows, x), which cover ``grid`` from top to bottom, plane i as sheet i.

    Overviews are means of the pixels that have a value; of flags they are one of the pixels. A plane without
    any value has no file, and its tally a ``count`` of 0.

    One strip is in memory at a time: all planes of it go into plain GeoTIFFs beside the sheets, and the COGs
    are their copies. Each strip is read once.
    """
    height, width = grid.shape
    scratches = [sheet.path.with_name(f".{sheet.path.name}.scratch") for sheet in sheets]
    tallies = [Tally(numbers) for _ in sheets]
    form = {
        "height": height,
        "width": width,
        "dtype": np.dtype(numbers.dtype).name,
        "crs": f"EPSG:{grid.epsg}",
        "transform": grid.transform,
        "nodata": numbers.nodata,
        **_SCRATCH,
    }
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):
        with ExitStack() as stack:
            targets = [stack.enter_context(rasterio.open(path, "w", **form)) for path in scratches]
            first = 0
            for strip in strips:
                window = Window(0, first, width, strip.shape[1])
                for target, tally, plane in zip(targets, tallies, strip, strict=True):
                    tally.add(plane)
                    target.write(plane, 1, window=window)
                first += strip.shape[1]
            assert first == height, "strips cover the whole grid"
            for target, tally, sheet in zip(targets, tallies, sheets, strict=True):
                _describe(target, sheet, tally, tags or {})
        resampling = "AVERAGE" if numbers.nodata is not None else "NEAREST"
        for scratch, tally, sheet in zip(scratches, tallies, sheets, strict=True):
            if tally.count:
                copy(scratch, sheet.path, overview_resampling=resampling, **_OPTIONS)
            scratch.unlink()
    return tallies


def _describe(target: Any, sheet: Sheet, tally: Tally, tags: dict[str, str]) -> None:
    """Everything that the file says about its numbers."""
    numbers = tally.numbers
    target.set_band_description(1, sheet.name)
    if (numbers.scale, numbers.offset) != (1.0, 0.0):
        target.scales, target.offsets = (numbers.scale,), (numbers.offset,)
    if sheet.unit:
        target.units = (sheet.unit,)
    target.update_tags(1, long_name=sheet.title, **tally.tags())
    target.update_tags(TIFFTAG_IMAGEDESCRIPTION=sheet.title, **tags)


def multihash(path: Path) -> str:
    """SHA-256 of a file as STAC's ``file:checksum`` writes it; a piece of the file is in memory at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return SHA2_256 + digest.hexdigest()


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """RGBA ``pixels`` (4, rows, columns) as a PNG, which says nothing of the place."""
    form = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="PNG", dtype="uint8", **form) as file:
            file.write(pixels)
