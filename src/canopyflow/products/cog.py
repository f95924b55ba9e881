"""One scene of a product store as Cloud Optimized GeoTIFFs."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

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
