"""Trajectories of a few pixels through a season: what was retrieved, what was seen, and what is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray
from pyproj import Transformer

from canopyflow.archive.grid import grid_of_product
from canopyflow.archive.names import plain
from canopyflow.evaluation.against.plots import locate
from canopyflow.evaluation.figures.style import INK, PALETTE, legend_below, message, panels, save
from canopyflow.evaluation.measurands import label
from canopyflow.inference.stored import open_product, row_strips, statistics_of
from canopyflow.vocabulary import MASKED

COUNT, COLUMNS = 12, 3
"""Pixels that are drawn, and how many stand side by side."""

BAND = ("q05", "q50", "q95")

VARIABLE = "lai"


@dataclass(frozen=True)
class Place:
    """A pixel of a product store: its row and column, and the plot that lies in it, if there is one."""

    store: Path
    row: int
    column: int
    plot: str = ""


def draw_trajectories(
    products: Sequence[Path],
    out: Path,
    *,
    model: str,
    matchups: Path | None = None,
    truth: Path | None = None,
) -> None:
    """Median and 90 % interval of leaf area of twelve pixels, with their clear and clouded passes.

    Pixels with field plots come first, those with most measurements; the others lie evenly over the maps.
    Where there are reference maps their values stand at every pass, hollow under clouds.

    Args:
        products: product stores of one model of seasons.
        out: the figure.
        model: its name, for the title.
        matchups: matchup table of the model, or None.
        truth: folder of reference maps, or None.
    """
    plots = pd.DataFrame() if matchups is None else pd.read_parquet(matchups)
    plots = plots[plots["variable"] == VARIABLE] if len(plots) else plots
    places = _places(sorted(products), plots)
    if not places:
        message(out, f"{model} maps no season of {label(VARIABLE)} with its quantiles")
        return
    rows = -(-len(places) // COLUMNS)
    title = f"{label(VARIABLE)} through the season, {model}"
    figure, grid = panels(11, 1.9 * rows + 1.2, title, rows, COLUMNS)
    cells = [axes for row in grid for axes in row]
    for axes, place in zip(cells, places, strict=False):
        _panel(axes, place, plots, truth)
    for axes in cells[len(places) :]:
        axes.set_axis_off()
    legend_below(figure, 6)
    save(figure, out)


def _places(products: Sequence[Path], plots: pd.DataFrame) -> list[Place]:
    """Up to :data:`COUNT` pixels: half of them with plots, as far as there are some."""
    with_plots: list[Place] = []
    others: list[Place] = []
    for store in products:
        with open_product(store) as product:
            if VARIABLE not in product or not set(BAND) <= set(statistics_of(product)):
                continue
            # A pixel is masked at all dates or at none.
            flags = product["flags"].isel(time=0)
            with_plots += _of_plots(product, store, plots, flags)
            others += [Place(store, row, column) for row, column in _evenly(flags)]
    first = with_plots[: COUNT // 2]
    left = COUNT - len(first)
    step = max(1, len(others) // max(1, left))
    return first + others[::step][:left]


def _evenly(flags: xr.DataArray) -> Iterator[tuple[int, int]]:
    """Row and column of up to :data:`COUNT` pixels with a posterior, at equal distances in their order row by
    row. The pixels are counted first, and then looked for in the strips that they lie in: the places of all
    pixels of a tile would take 2 GB."""
    strips = list(row_strips(flags))
    counts = [int(np.count_nonzero(_known(flags.isel(y=rows)))) for rows in strips]
    ends = np.cumsum(counts)
    if not ends[-1]:
        return
    ranks = np.unique(np.linspace(0, ends[-1] - 1, COUNT + 2).round().astype(int)[1:-1])
    within = np.searchsorted(ends, ranks, side="right")
    for strip in np.unique(within):
        row, column = np.nonzero(_known(flags.isel(y=strips[strip])))
        for k in ranks[within == strip] - (ends[strip] - counts[strip]):
            yield strips[strip].start + int(row[k]), int(column[k])


def _known(flags: xr.DataArray) -> NDArray[np.bool_]:
    """Where there is a posterior."""
    found: NDArray[np.bool_] = flags.values & MASKED == 0
    return found


def _of_plots(product: xr.Dataset, store: Path, plots: pd.DataFrame, flags: xr.DataArray) -> list[Place]:
    if not len(plots):
        return []
    count = plots.groupby("plot_id").size().sort_values(ascending=False, kind="stable")
    where = plots.groupby("plot_id")[["lon", "lat"]].first().loc[count.index]
    rows, columns = locate(product, where["lon"].to_numpy(), where["lat"].to_numpy())
    return [
        Place(store, int(y), int(x), str(name))
        for name, y, x in zip(where.index, rows, columns, strict=True)
        if y >= 0 and _known(flags.isel(y=y, x=x))
    ]


def _panel(axes: Axes, place: Place, plots: pd.DataFrame, truth: Path | None) -> None:
    with open_product(place.store) as product:
        here = product.isel(y=place.row, x=place.column)
        times = pd.DatetimeIndex(product["time"].values)
        layer = here[VARIABLE].sel(statistic=list(BAND)).transpose("statistic", "time")
        low, middle, high = layer.values
        passes = pd.DatetimeIndex(product["pass_time"].values)
        clear = here["observed"].values == 1
        name = f"{product.attrs['tile']}, row {place.row}, column {place.column}"
        values = None if truth is None else _truth(product, place, truth)
    axes.fill_between(times, low, high, color=PALETTE[0], alpha=0.25, lw=0, label="90 % interval")
    axes.plot(times, middle, color=PALETTE[0], lw=1.5, label="median")
    if values is not None:
        _marks(axes, passes, values, clear)
    axes.plot(passes[clear], np.zeros(clear.sum()), "|", color=INK, ms=9, label="clear pass", clip_on=False)
    if place.plot:
        name = f"plot {place.plot}"
        measured = plots[plots["plot_id"].astype(str) == place.plot]
        axes.errorbar(
            pd.DatetimeIndex(measured["date"]),
            measured["value"],
            yerr=measured["error"],
            fmt="s",
            color=PALETTE[1],
            ms=5,
            label="field plot",
        )
    axes.set_title(name, loc="left", fontsize=9)
    axes.set_ylim(bottom=0)
    # Plots are measured outside of the season too: all panels show the same days.
    days = times.append(passes)
    first, last = mdates.date2num(np.array([days.min(), days.max()], "datetime64[ns]"))
    axes.set_xlim(first - 3, last + 3)
    locator = mdates.AutoDateLocator(minticks=3, maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.get_offset_text().set_fontsize(8)


def _marks(
    axes: Axes, passes: pd.DatetimeIndex, values: NDArray[np.float64], clear: NDArray[np.bool_]
) -> None:
    colour = PALETTE[2]
    axes.plot(passes[clear], values[clear], "o", label="truth", color=colour, ms=4.5)
    axes.plot(
        passes[~clear],
        values[~clear],
        "o",
        fillstyle="none",
        label="truth under clouds",
        color=colour,
        ms=4.5,
    )


def _truth(product: xr.Dataset, place: Place, truth: Path) -> NDArray[np.float64]:
    """The reference maps' mean over the pixel at each pass; NaN where there is none."""
    grid = grid_of_product(product.attrs, product.sizes)
    west, north = grid.bounds[0], grid.bounds[3]
    step = grid.resolution
    left, top = west + place.column * step, north - place.row * step
    found = np.full(product.sizes["pass"], np.nan)
    for number, items in enumerate(product["pass_item"].values.tolist()):
        for item in items.split():
            path = truth / plain(item, place.store) / f"{VARIABLE}.tif"
            if not path.is_file():
                continue
            with rasterio.open(path) as source:
                box = (left, top - step, left + step, top)
                if source.crs.to_epsg() != grid.epsg:
                    to = Transformer.from_crs(grid.epsg, source.crs, always_xy=True)
                    box = to.transform_bounds(*box)
                window = source.window(*box).round_offsets().round_lengths()
                values = source.read(1, window=window, boundless=True, fill_value=np.nan)
            if values.size and np.isfinite(values).any():
                found[number] = np.nanmean(values)
            break
    return found
