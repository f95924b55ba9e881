"""Maps against reference maps, where a campaign has them: pixel by pixel, on the product's grid.

A whole tile never is in memory: each strip of rows is scored, and the scores are pooled.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from canopyflow.archive.grid import grid_of_product
from canopyflow.archive.names import plain
from canopyflow.evaluation.scores.metrics import Part, pooled, score_part
from canopyflow.inference.stored import open_product, row_strips, statistics_of
from canopyflow.progress import track
from canopyflow.vocabulary import MASKED, QUANTILES

_SUMMARY = ("mean", *QUANTILES)
_AT_ONCE = 2**18  # pixels that are scored at once: scoring takes 300 bytes of each


def evaluate_maps(products: list[Path], truth: Path) -> dict[str, dict[str, float]]:
    """Scores per variable over all clear pixels of all scenes that have a reference map.

    Parameters
    ----------
    products: product stores of one model.
    truth: folder with ``{item}/{variable}.tif``, one band, in the product's unit, NaN where unknown.
        Finer maps are averaged to the product's grid.

    Returns
    -------
    ``{variable: {metric: value}}``; a variable without any reference map is not in it.
    Scores of statistics that the product does not have are NaN.
    ``rmse_constant`` is the RMSE of predicting the mean of the truth everywhere.

    Raises
    ------
    DataError
        for an item id that would lead out of ``truth``.
    """
    known: dict[str, list[Part]] = {}
    for store in track(sorted(products), "maps against reference maps"):
        with open_product(store) as product:
            for time, item in enumerate(product["item"].values.tolist()):
                for reference in sorted((truth / plain(item, store)).glob("*.tif")):
                    if reference.stem in product.data_vars:
                        known.setdefault(reference.stem, []).extend(_parts(product, time, reference))
    return {variable: pooled(parts) for variable, parts in sorted(known.items())}


def _parts(product: xr.Dataset, time: int, reference: Path) -> Iterator[Part]:
    """Scores of the clear pixels of one scene, strip by strip."""
    scene = product.isel(time=time)
    names = [name for name in _SUMMARY if name in statistics_of(product)]
    layers = scene[reference.stem].sel(statistic=names).transpose("statistic", "y", "x")
    for rows, truth in strips_on_grid(reference, product, scene["flags"]):
        clear = (scene["flags"].isel(y=rows).values & MASKED == 0) & np.isfinite(truth)
        known, found = truth[clear], layers.isel(y=rows).values[:, clear]
        for first in range(0, max(1, known.size), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            yield score_part(known[some], dict(zip(names, found[:, some], strict=True)), reference.stem)


def strips_on_grid(
    path: Path, product: xr.Dataset, like: xr.DataArray
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """A one-band raster on the product's grid, area-averaged; NaN where it has no data.

    Yields row ranges as those in which ``like`` is stored, and their values (rows, x).
    """
    grid = grid_of_product(product.attrs, product.sizes)
    rows, columns = grid.shape
    with rasterio.open(path) as source:
        unnamed = source.nodata is None and np.dtype(source.dtypes[0]).kind == "f"
        with WarpedVRT(
            source,
            src_nodata=np.nan if unnamed else source.nodata,
            crs=f"EPSG:{grid.epsg}",
            transform=grid.transform,
            height=rows,
            width=columns,
            dtype="float32",
            nodata=np.nan,
            resampling=Resampling.average,
        ) as warped:
            for strip in row_strips(like):
                window = Window(0, strip.start, columns, strip.stop - strip.start)
                yield strip, warped.read(1, window=window)
