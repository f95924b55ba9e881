"""Maps against reference maps, where a campaign has them: pixel by pixel, on the product's grid."""

from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.warp import Resampling, reproject

from canopyflow.archive.grid import grid_of_product
from canopyflow.archive.names import plain
from canopyflow.evaluation.scores.metrics import score
from canopyflow.progress import track
from canopyflow.vocabulary import MASKED, QUANTILES

_SUMMARY = ("mean", *QUANTILES)


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
    ``rmse_constant`` is the RMSE of predicting the mean of the truth everywhere.

    Raises
    ------
    DataError
        for an item id that would lead out of ``truth``.
    """
    known: dict[str, list[NDArray[np.float64]]] = {}
    for store in track(sorted(products), "maps against reference maps"):
        with xr.open_zarr(store, consolidated=False, chunks=None) as product:
            for time, item in enumerate(product["item"].values.tolist()):
                for reference in sorted((truth / plain(item, store)).glob("*.tif")):
                    if reference.stem in product.data_vars:
                        pairs = _pairs(product, time, reference)
                        known.setdefault(reference.stem, []).append(pairs)
    out = {}
    for variable, parts in sorted(known.items()):
        table = np.concatenate(parts, axis=1)
        out[variable] = score(table[0], dict(zip(_SUMMARY, table[1:], strict=True)), variable)
    return out


def _pairs(product: xr.Dataset, time: int, reference: Path) -> NDArray[np.float64]:
    """Truth and summaries of the clear pixels of one scene, (1 + summaries, n)."""
    scene = product.isel(time=time)
    truth = read_on_grid(reference, product)
    clear = ((scene["flags"].values.astype(int) & MASKED) == 0) & np.isfinite(truth)
    layers = scene[reference.stem].sel(statistic=list(_SUMMARY)).transpose("statistic", "y", "x").values
    return np.stack([truth[clear], *(layer[clear] for layer in layers)]).astype(np.float64)


def read_on_grid(path: Path, product: xr.Dataset) -> NDArray[np.float32]:
    """A one-band raster on the product's grid (y, x), area-averaged; NaN where it has no data."""
    grid = grid_of_product(product.attrs, product.sizes)
    out = np.full(grid.shape, np.nan, dtype=np.float32)
    with rasterio.open(path) as source:
        reproject(
            source=source.read(1).astype(np.float32),
            destination=out,
            src_transform=source.transform,
            src_crs=source.crs,
            src_nodata=np.nan if source.nodata is None else source.nodata,
            dst_transform=grid.transform,
            dst_crs=f"EPSG:{grid.epsg}",
            dst_nodata=np.nan,
            resampling=Resampling.average,
        )
    return out
