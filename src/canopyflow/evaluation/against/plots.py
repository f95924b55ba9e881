"""Join field plots with the posterior of the pixel and the day that are nearest to them.

One row per measurement, whether it found a pixel or not: a measurement that
silently disappears is a score that cannot be checked.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import xarray as xr
from numpy.typing import NDArray

from canopyflow.archive.grid import grid_of_product
from canopyflow.atomic import atomic_file
from canopyflow.evaluation.field_plots import COLUMNS, plots_of
from canopyflow.evaluation.label_error import LabelError, label_error
from canopyflow.inference.stored import open_product, statistics_of
from canopyflow.vocabulary import MASKED, STATISTICS

log = logging.getLogger("canopyflow")

NEAREST, LINEAR = "nearest", "linear"
"""Which acquisition stands for the day of a measurement: the nearest, or what lies between the two around
it."""

OK = "ok"
OUTSIDE = "outside every scene"
NOT_ESTIMATED = "variable not in the products"

_TEXT = ("tile", "item")
_NUMBERS = ("days", *STATISTICS, "fit", "ess", "flags")


def match_plots(
    plots: Path,
    products: list[Path],
    out: Path,
    *,
    max_days: float,
    model: str,
    error: LabelError | None = None,
    time: str = NEAREST,
) -> pd.DataFrame:
    """Match every measurement with one pixel of one acquisition and write the table (Parquet).

    Parameters
    ----------
    plots: table of measurements, see :func:`canopyflow.evaluation.field_plots.read_plots`, or the Parquet
        file that :func:`canopyflow.evaluation.field_plots.check_plots` made of it.
    products: product stores of one model, any tiles and months.
    out: the Parquet file; columns ``plot_id date lon lat variable measurand value uncertainty site group
        land_cover footprint error model tile item acquired days``, the seven statistics, ``fit ess flags
        status``.
        ``error`` is the standard deviation of the label about the truth: its uncertainty, or what
        :func:`canopyflow.evaluation.label_error.label_error` says in its place.
        Statistics that the maps do not have are empty, as
        ``ess`` is empty for maps that are not refined.
        ``days`` is acquisition minus measurement in calendar days, ``status`` is "ok" or says why
        there is no match.
    max_days: how far an acquisition may be from the measurement, in days, inclusive.
    error: of labels whose table gives no uncertainty.
    time: :data:`NEAREST`, or :data:`LINEAR`: see :func:`between`.

    Among all clear pixels that contain the plot the one nearest in time wins; of
    two equally near the earlier, then tile and item in alphabetical order. Pixels
    are never mixed, and interpolated only if ``time`` says so.
    """
    measured = plots_of(plots)
    every = np.ones(len(measured), bool)
    table = with_pixels(blank(measured, model, error), measured, every, sorted(products), max_days, time)
    return written(table, out, model)


def with_pixels(
    table: pd.DataFrame,
    measured: pd.DataFrame,
    wanted: NDArray[np.bool_],
    products: Sequence[Path],
    max_days: float,
    time: str,
) -> pd.DataFrame:
    """A blank ``table`` with the pixels of the measurements that are ``wanted``, and of all others whether a
    scene shows their place."""
    late = f"no clear acquisition within {max_days:g} days"
    found = []
    for store in products:
        inside, pairs = _candidates(measured, store, max_days)
        table.loc[inside, "status"] = late
        if len(pairs):
            pairs = pairs[wanted[pairs["row"].to_numpy()]]
        if len(pairs):
            found.append(pairs)
    return matched(table, pd.concat(found, ignore_index=True), time, _fill_pixels) if found else table


def written(table: pd.DataFrame, out: Path, model: str) -> pd.DataFrame:
    """Write a finished matchup table, and say how many measurements found something."""
    table["flags"] = table["flags"].astype("UInt8")
    with atomic_file(out) as scratch:
        table.to_parquet(scratch, engine="pyarrow", index=False)
    counts = table["status"].value_counts().sort_index()
    log.info(
        "matchups of %s: %d measurements: %s",
        model,
        len(table),
        ", ".join(f"{count} {status}" for status, count in counts.items()) or "none",
    )
    return table


def matched(
    table: pd.DataFrame,
    candidates: pd.DataFrame,
    time: str,
    fill: Callable[[pd.DataFrame, pd.DataFrame], None],
) -> pd.DataFrame:
    """``table`` with the winners among the ``candidates``, by ``fill``."""
    if not len(candidates):
        return table
    sides = [table.copy() for _ in range(2)] if time == LINEAR else []
    fill(table, nearest(candidates))
    for side, near in zip(sides, (candidates["days"] <= 0, candidates["days"] >= 0), strict=False):
        if near.any():
            fill(side, nearest(candidates[near]))
    return between(table, *sides) if sides else table


def between(table: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """``table``, with every row that was seen both before and after its date interpolated in time.

    Each statistic is linear between the two acquisitions. Of quantiles and standard deviations that is exact
    if the errors of both are one and the same, as those of one model at one place nearly are (the same
    canopy, leaves and soil a few days later): an interval that is rather too wide than too narrow. ``item``
    names both, ``days`` and ``acquired`` are those of the nearer one, flags are joined. A row that was seen
    on the day itself, or on one side alone, stays as it is.
    """
    out = table.copy()
    both = (before["status"] == OK) & (after["status"] == OK) & (table["days"] != 0)
    first, last = before[both], after[both]
    share = (-first["days"] / (last["days"] - first["days"])).to_numpy(float)[:, None]
    columns = [*STATISTICS, "fit", "ess"]
    values = (1 - share) * first[columns].to_numpy(float) + share * last[columns].to_numpy(float)
    out.loc[both, columns] = values
    out.loc[both, "item"] = first["item"] + " + " + last["item"]
    joined = first["flags"].to_numpy(int) | last["flags"].to_numpy(int)
    out.loc[both, "flags"] = joined.astype(float)
    return out


def _fill_pixels(table: pd.DataFrame, chosen: pd.DataFrame) -> None:
    for name, of_store in chosen.groupby("store", sort=True):
        _fill(table, of_store, Path(str(name)))


def blank(measured: pd.DataFrame, model: str, error: LabelError | None = None) -> pd.DataFrame:
    """The matchup table before any match."""
    table = measured[list(COLUMNS)].copy()
    errors = np.full(len(table), np.nan)
    for variable in sorted(set(table["variable"])):
        mine = (table["variable"] == variable).to_numpy()
        value, uncertainty = (table[name].to_numpy(float)[mine] for name in ("value", "uncertainty"))
        errors[mine] = label_error(variable, value, uncertainty, error)
    table["error"] = errors
    table["model"] = model
    for column in _TEXT:
        table[column] = pd.Series(pd.NA, index=table.index, dtype="string")
    table["acquired"] = pd.Series(pd.NaT, index=table.index, dtype="datetime64[ns]")
    for column in _NUMBERS:
        table[column] = np.nan
    table["status"] = OUTSIDE
    return table


def nearest(clear: pd.DataFrame) -> pd.DataFrame:
    """Of pairs of a measurement (``row``) and a clear pixel, one per measurement: the nearest in time; of two
    equally near the earlier, then tile and item in alphabetical order."""
    clear = clear.assign(distance=clear["days"].abs())
    order = ["row", "distance", "days", "tile", "item"]
    return clear.sort_values(order, kind="stable").drop_duplicates("row")


def pairs_near(
    store: xr.Dataset, measured: pd.DataFrame, max_days: float
) -> tuple[NDArray[np.intp], pd.DataFrame]:
    """Of one tile's store: the measurements inside its grid (rows of ``measured``), and each of them with
    each acquisition within ``max_days``: ``row days tile item acquired time y x``, clear or not."""
    row, column = locate(store, measured["lon"].to_numpy(), measured["lat"].to_numpy())
    inside = np.flatnonzero(row >= 0)
    acquired = pd.DatetimeIndex(store["time"].values)
    visits = measured["date"].dt.normalize().to_numpy()[inside]
    days = (acquired.normalize().to_numpy()[None, :] - visits[:, None]) / np.timedelta64(1, "D")
    which, when = np.nonzero(np.abs(days) <= max_days)
    pairs = pd.DataFrame(
        {
            "row": inside[which],
            "days": days[which, when],
            "tile": str(store.attrs["tile"]),
            "item": np.array(store["item"].values.tolist(), dtype=object)[when],
            "acquired": acquired[when],
            "time": when,
            "y": row[inside[which]],
            "x": column[inside[which]],
        }
    )
    return inside, pairs


def pixels_of(pairs: pd.DataFrame) -> dict[str, xr.DataArray]:
    """Where to find the pixel of each pair in its store, for ``isel``; along the dimension "pair"."""
    return {axis: xr.DataArray(pairs[axis].to_numpy(), dims="pair") for axis in ("time", "y", "x")}


def _candidates(
    measured: pd.DataFrame, store: Path, max_days: float
) -> tuple[NDArray[np.intp], pd.DataFrame]:
    """Of one product: the measurements inside its grid, and all pairs with a clear, near acquisition.

    A pair is a row of ``measured`` and an acquisition within ``max_days`` whose pixel
    around the plot is clear: ``row days tile item acquired time y x store fit ess flags``.
    """
    with open_product(store) as product:
        inside, pairs = pairs_near(product, measured, max_days)
        if not len(pairs):
            return inside, pairs
        pixel = pixels_of(pairs)
        flags = product["flags"].isel(pixel).values.astype(int)
        pairs["store"] = str(store)
        pairs["fit"] = product["fit"].isel(pixel).values
        pairs["ess"] = product["ess"].isel(pixel).values if "ess" in product else np.nan
        pairs["flags"] = flags
        return inside, pairs[(flags & MASKED) == 0]


def _fill(table: pd.DataFrame, chosen: pd.DataFrame, store: Path) -> None:
    """Copy the posterior of the chosen pixels of one product into their rows of ``table``."""
    with open_product(store) as product:
        wanted = table["variable"].to_numpy()[chosen["row"]]
        for variable in sorted(set(wanted)):
            pairs = chosen[wanted == variable]
            rows = pairs["row"].to_numpy()
            if variable not in product.data_vars:
                table.loc[rows, "status"] = NOT_ESTIMATED
                continue
            pixel = pixels_of(pairs)
            there = statistics_of(product)
            values = product[variable].isel(pixel)
            table.loc[rows, there] = values.transpose("pair", "statistic").values.astype(float)
            for column in ("tile", "item", "acquired", "days", "fit", "ess", "flags"):
                table.loc[rows, column] = pairs[column].to_numpy()
            table.loc[rows, "status"] = OK


def locate(
    product: xr.Dataset, lon: NDArray[np.floating], lat: NDArray[np.floating]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of the pixel that contains each point (WGS 84 degrees); -1, -1 outside the grid."""
    grid = grid_of_product(product.attrs, product.sizes)
    to_grid = pyproj.Transformer.from_crs(4326, grid.epsg, always_xy=True)
    east, north = to_grid.transform(np.asarray(lon, float), np.asarray(lat, float))
    west, _, _, top = grid.bounds
    row = _pixel((top - np.asarray(north)) / grid.resolution, grid.shape[0])
    column = _pixel((np.asarray(east) - west) / grid.resolution, grid.shape[1])
    outside = (row < 0) | (column < 0)
    return np.where(outside, -1, row), np.where(outside, -1, column)


def _pixel(steps: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Index of the pixel around each position, given in pixels from the axis' first edge, or -1.

    A pixel owns its edge towards the start of the axis, so no position lies in two.
    """
    index = np.floor(np.where(np.isfinite(steps), steps, -1.0))
    return np.where((index >= 0) & (index < count), index, -1).astype(int)
