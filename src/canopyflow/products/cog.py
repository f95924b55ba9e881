"""One scene of a product store as Cloud Optimized GeoTIFFs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.transform import Affine, from_origin

_BLOCK = 256  # a quarter of the driver's default area: even a small site gets overviews
_OPTIONS: dict[str, Any] = {
    "driver": "COG",
    "compress": "DEFLATE",
    "level": 9,
    "predictor": "YES",
    "blocksize": _BLOCK,
    "overviews": "AUTO",
    "num_threads": 1,
}


def grid_transform(product: xr.Dataset) -> Affine:
    """Affine transform of the product's grid, from its pixel centres: north up, metres."""
    x, y = product["x"].values.astype(float), product["y"].values.astype(float)
    dx = abs(x[1] - x[0]) if len(x) > 1 else abs(y[0] - y[1]) if len(y) > 1 else 10.0
    dy = abs(y[0] - y[1]) if len(y) > 1 else dx
    return from_origin(x[0] - dx / 2, y[0] + dy / 2, dx, dy)


def write_cog(
    path: Path,
    layers: NDArray[Any],
    *,
    transform: Affine,
    epsg: int,
    names: list[str],
    units: str | None = None,
    tags: dict[str, str] | None = None,
) -> None:
    """Write ``layers`` (bands, y, x) with a description per band.

    Floats have NaN as nodata and averaged overviews; integers are bit flags,
    which cannot be averaged and have no nodata value: every pixel has a flag.
    """
    floats = np.issubdtype(layers.dtype, np.floating)
    count, height, width = layers.shape
    with rasterio.open(
        path,
        "w",
        count=count,
        height=height,
        width=width,
        dtype=layers.dtype.name,
        crs=f"EPSG:{epsg}",
        transform=transform,
        nodata=np.nan if floats else None,
        overview_resampling="AVERAGE" if floats else "NEAREST",
        **_OPTIONS,
    ) as target:
        target.write(layers)
        for band, name in enumerate(names, start=1):
            target.set_band_description(band, name)
        if units:
            target.units = (units,) * count
        target.update_tags(**(tags or {}))
