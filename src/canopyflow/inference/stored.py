"""Reading product stores of any size: strip by strip, so that a whole tile never is in memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr

from canopyflow.vocabulary import MASKED


def open_product(path: Path, *, decode: bool = True) -> xr.Dataset:
    """A product store, lazily; numbers decoded to float32, where xarray alone would decode to float64.

    Without ``decode`` they stay integers, with ``scale_factor``, ``add_offset`` and ``_FillValue`` among
    their attributes. Only the chunks around what is asked for are read.
    """
    store = xr.open_zarr(path, consolidated=False, chunks=None, mask_and_scale=False)
    if not decode:
        return store
    for layer in store.data_vars.values():
        # xarray decodes to the type of scale and offset.
        layer.attrs |= {
            k: np.float32(layer.attrs[k]) for k in ("scale_factor", "add_offset") if k in layer.attrs
        }
    return xr.decode_cf(store, decode_times=False)


def statistics_of(product: xr.Dataset) -> list[str]:
    """Names of the statistics that a product has."""
    return [str(name) for name in product["statistic"].values]


def row_strips(layers: xr.DataArray) -> Iterator[slice]:
    """Consecutive row ranges of layers (..., y, x) as they are stored: each chunk is read once."""
    height = int(layers.encoding["chunks"][-2])
    for first in range(0, layers.sizes["y"], height):
        yield slice(first, min(layers.sizes["y"], first + height))


def clear_share(product: xr.Dataset, time: int) -> float:
    """Share of the pixels of the scene number ``time`` where there is a posterior."""
    flags = product["flags"].isel(time=time)
    clear = sum(int((flags.isel(y=rows).values & MASKED == 0).sum()) for rows in row_strips(flags))
    return clear / max(1, flags.size)
