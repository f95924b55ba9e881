"""Reading product stores of any size: strip by strip, so that a whole tile never is in memory."""

from collections.abc import Iterator

import xarray as xr

from canopyflow.vocabulary import MASKED


def row_strips(layers: xr.DataArray) -> Iterator[slice]:
    """Consecutive row ranges of layers (..., y, x) as they are stored: each shard is read once."""
    stored = layers.encoding
    height = int((stored.get("shards") or stored["chunks"])[-2])
    for first in range(0, layers.sizes["y"], height):
        yield slice(first, min(layers.sizes["y"], first + height))


def clear_share(product: xr.Dataset, time: int) -> float:
    """Share of the pixels of the scene number ``time`` where there is a posterior."""
    flags = product["flags"].isel(time=time)
    clear = sum(int((flags.isel(y=rows).values & MASKED == 0).sum()) for rows in row_strips(flags))
    return clear / max(1, flags.size)
