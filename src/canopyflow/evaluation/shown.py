"""What is shown of a product: which statistics, and a whole tile thinned until it fits."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from canopyflow.archive.names import plain
from canopyflow.evaluation.against.maps import strips_on_grid
from canopyflow.inference.stored import row_strips
from canopyflow.vocabulary import FLAGS

WHY_NOT = ("out_of_domain", "input_outside_physics", "unrefined", "misfit")
"""Flags of a pixel itself: reasons to doubt its posterior that its scene does not share."""

DOUBTFUL = sum(FLAGS[name] for name in WHY_NOT)
"""Their bits."""

Floats = NDArray[np.float32]


def shown_statistics(there: Sequence[str]) -> tuple[str, tuple[str, str]]:
    """What is shown of a product: the mean or what is nearest to it, and the widest interval as its lower and
    upper end; without an interval the standard deviation (with a lower end ""), or any statistic."""
    centre = next((name for name in ("mean", "q50") if name in there), there[0])
    pairs = [pair for pair in (("q05", "q95"), ("q25", "q75")) if set(pair) <= set(there)]
    return centre, (pairs or [("", "std" if "std" in there else there[-1])])[0]


def words(there: Sequence[str]) -> tuple[str, str]:
    """Centre and width in words."""
    centre, (low, high) = shown_statistics(there)
    centres = {"mean": "mean", "q50": "median"}
    widths = {"q95": "90 % width", "q75": "50 % width", "std": "standard deviation"}
    return centres.get(centre, centre), widths.get(high, high) if low or high == "std" else high


def step_for(layer: xr.DataArray, side: int) -> int:
    """Every which row and column of (..., y, x) is shown, so that no side is longer than ``side`` pixels."""
    return max(1, -(-max(layer.sizes["y"], layer.sizes["x"]) // side))


def thinned(layer: xr.DataArray, step: int) -> xr.DataArray:
    """Every ``step``-th row and column of a layer (..., y, x), in memory.

    Strip by strip: of a whole tile even what is on the disk is too much at once.
    """
    # Without names of scenes and the like: each would be read again with every strip.
    layer = layer.reset_coords(drop=True)
    rows = (layer.isel(y=part)[..., -part.start % step :: step, ::step] for part in row_strips(layer))
    return xr.concat([part.load() for part in rows], "y")


def centre_and_width(layer: xr.DataArray, there: Sequence[str], step: int) -> tuple[Floats, Floats]:
    """Of one variable of one scene (statistic, y, x), thinned: the centre and the width of its interval."""
    centre, (low, high) = shown_statistics(there)
    values = thinned(layer, step)
    width = values.sel(statistic=high)
    if low:
        width = width - values.sel(statistic=low)
    return values.sel(statistic=centre).values, width.values


def truth_of(product: xr.Dataset, time: int, variable: str, truth: Path | None, step: int) -> Floats | None:
    """The reference map of a variable of one scene on the product's grid, thinned; None if there is none."""
    if truth is None:
        return None
    path = truth / plain(product["item"].values.tolist()[time], truth) / f"{variable}.tif"
    if not path.is_file():
        return None
    flags = product["flags"].isel(time=time)
    parts = [
        values[-rows.start % step :: step, ::step] for rows, values in strips_on_grid(path, product, flags)
    ]
    return np.concatenate(parts)
