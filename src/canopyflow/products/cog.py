"""One scene of a product store as Cloud Optimized GeoTIFFs, written piece by piece."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import DTypeLike, NDArray
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
    "tiled": True,
    "blockxsize": _BLOCK,
    "blockysize": _BLOCK,
    "interleave": "pixel",
    # Blocks without data take no space.
    "sparse_ok": True,
    "bigtiff": "YES",
}

_CACHE_MB = 256
"""What GDAL may keep in memory; left alone it takes a share of the machine's."""


@dataclass(frozen=True)
class Numbers:
    """How values are stored: ``value = number * scale + offset``, except where the number is ``nodata``.

    Without ``nodata`` every pixel has a number, and the numbers are bit flags, which cannot be averaged.
    """

    dtype: DTypeLike
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0


def write_cog(
    path: Path,
    strips: Iterable[NDArray[Any]],
    grid: Grid,
    *,
    numbers: Numbers,
    names: Sequence[str],
    units: str | None = None,
    tags: dict[str, str] | None = None,
) -> None:
    """Write ``strips`` (bands, rows, x), which cover ``grid`` from the top to the bottom, as bands ``names``.

    Overviews are means of the pixels that have a value; of flags they are one of the pixels.

    One strip is in memory at a time: they go into a plain GeoTIFF beside ``path``, and the COG is its copy.
    """
    values, (height, width) = numbers.nodata is not None, grid.shape
    scratch = path.with_name(f".{path.name}.scratch")
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):
        with rasterio.open(
            scratch,
            "w",
            count=len(names),
            height=height,
            width=width,
            dtype=np.dtype(numbers.dtype).name,
            crs=f"EPSG:{grid.epsg}",
            transform=grid.transform,
            nodata=numbers.nodata,
            **_SCRATCH,
        ) as target:
            first = 0
            for strip in strips:
                target.write(strip, window=Window(0, first, width, strip.shape[1]))
                first += strip.shape[1]
            assert first == height, "strips cover the whole grid"
            for band, name in enumerate(names, start=1):
                target.set_band_description(band, name)
            if (numbers.scale, numbers.offset) != (1.0, 0.0):
                target.scales, target.offsets = (numbers.scale,) * len(names), (numbers.offset,) * len(names)
            if units:
                target.units = (units,) * len(names)
            target.update_tags(**(tags or {}))
        copy(scratch, path, overview_resampling="AVERAGE" if values else "NEAREST", **_OPTIONS)
    scratch.unlink()
