"""Maps of a variable and of how well it is known, for a few clear dates of each tile."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from canopyflow.archive.grid import grid_of_product
from canopyflow.evaluation.figures.style import INK, MEAN_MAP, WIDTH_MAP, message, panels, save
from canopyflow.evaluation.measurands import MEASURANDS, label
from canopyflow.inference.stored import clear_share, open_product, row_strips, statistics_of

_SIDE = 500  # pixels of a map side that a report can show; larger tiles are thinned

_Extent = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Scene:
    """One acquisition of one product store."""

    store: Path
    index: int
    time: pd.Timestamp
    clear: float


def draw_maps(
    products: list[Path], out: Path, *, model: str, variable: str = "lai", dates: int = 3, tiles: int = 3
) -> None:
    """Posterior mean above the width of its 90 % interval, columns are dates, pairs of rows are tiles.

    Of maps without these, what they have of the kind (:func:`_shown_statistics`).

    Of each of the first ``tiles`` tiles, up to ``dates`` acquisitions spread over the period are shown,
    chosen among those that are nearly as clear as the clearest. One colour scale holds for all panels of a
    kind. Of a campaign that does not estimate ``variable`` another one is shown, and the title says so.
    """
    wanted, variable = variable, _shown_variable(products, variable)
    by_tile = _clear_scenes(products, tiles)
    chosen = {tile: choose(scenes, dates) for tile, scenes in by_tile.items()}
    chosen = {tile: scenes for tile, scenes in chosen.items() if scenes}
    if not chosen:
        message(out, f"No clear acquisition: no {label(variable)} map to show")
        return
    layers = {tile: [_read(scene, variable) for scene in scenes] for tile, scenes in chosen.items()}
    mean_limits = (0.0, _high([mean for shown in layers.values() for mean, _, _ in shown]))
    width_limits = (0.0, _high([width for shown in layers.values() for _, width, _ in shown]))
    columns = max(len(scenes) for scenes in chosen.values())
    heights = [_aspect(layers[tile]) for tile in layers for _ in range(2)]
    side = 3.1
    instead = "" if variable == wanted else f"\n({label(wanted)} is not among the campaign's outputs)"
    with open_product(next(iter(chosen.values()))[0].store) as product:
        centre, spread = _words(statistics_of(product))
    title = f"{label(variable)}: posterior {centre} and {spread}, {model}{instead}"
    height = sum(max(1.6, side * h) + 0.45 for h in heights) + 0.7
    figure, grid = panels(side * columns + 1.9, height, title, 2 * len(layers), columns)
    for row, (tile, shown) in enumerate(layers.items()):
        above, below = grid[2 * row], grid[2 * row + 1]
        for column in range(columns):
            if column >= len(shown):
                above[column].set_axis_off()
                below[column].set_axis_off()
                continue
            mean, width, extent = shown[column]
            first = _draw(above[column], mean, extent, MEAN_MAP, mean_limits)
            second = _draw(below[column], width, extent, WIDTH_MAP, width_limits)
            above[column].set_title(f"{chosen[tile][column].time:%Y-%m-%d}")
        above[0].set_ylabel(f"{tile}\n{centre}")
        below[0].set_ylabel(f"{tile}\n{spread}")
        figure.colorbar(first, ax=above, label=label(variable), pad=0.01, extend="max")
        figure.colorbar(second, ax=below, label=f"{spread} of {label(variable)}", pad=0.01, extend="max")
    save(figure, out)


def choose(scenes: list[_Scene], dates: int) -> list[_Scene]:
    """Up to ``dates`` scenes in order of time, nearest to evenly spread moments among the clear ones."""
    days: dict[pd.Timestamp, _Scene] = {}
    for scene in sorted(scenes, key=lambda s: (s.time.normalize(), -s.clear, s.time)):
        days.setdefault(scene.time.normalize(), scene)
    best = max((scene.clear for scene in days.values()), default=0.0)
    clear = [scene for scene in days.values() if scene.clear > 0 and scene.clear >= 0.75 * best]
    if len(clear) <= dates:
        return clear
    seconds = np.array([scene.time.timestamp() for scene in clear])
    picked: list[int] = []
    for moment in np.linspace(seconds[0], seconds[-1], dates):
        free = [i for i in range(len(clear)) if i not in picked]
        picked.append(min(free, key=lambda i: (abs(seconds[i] - moment), i)))
    return [clear[i] for i in sorted(picked)]


def _shown_variable(products: list[Path], wanted: str) -> str:
    """``wanted`` where the products have it, else the first of their variables in our usual order."""
    if not products:
        return wanted
    with open_product(min(products)) as product:
        names = [str(name) for name, layer in product.data_vars.items() if "statistic" in layer.dims]
    order = [wanted, *MEASURANDS, *sorted(names)]
    return min(names, key=order.index)


def _clear_scenes(products: list[Path], tiles: int) -> dict[str, list[_Scene]]:
    """All acquisitions of the first ``tiles`` tiles, with their clear share."""
    found: dict[str, list[Path]] = {}
    for store in sorted(products):
        found.setdefault(store.parent.name, []).append(store)
    out: dict[str, list[_Scene]] = {}
    for tile in sorted(found)[:tiles]:
        out[tile] = []
        for store in found[tile]:
            with open_product(store) as product:
                for index, time in enumerate(pd.DatetimeIndex(product["time"].values)):
                    out[tile].append(_Scene(store, index, time, clear_share(product, index)))
    return out


def _read(scene: _Scene, variable: str) -> tuple[NDArray[np.float32], NDArray[np.float32], _Extent]:
    """Centre, width, and extent in kilometres from the south-west corner."""
    with open_product(scene.store) as product:
        layer = product[variable].isel(time=scene.index)
        step = max(1, -(-max(layer.sizes["y"], layer.sizes["x"]) // _SIDE))
        # Strip by strip: of a whole tile even what is on the disk is too much at once.
        rows = (layer.isel(y=part)[:, -part.start % step :: step, ::step] for part in row_strips(layer))
        thinned = xr.concat([part.load() for part in rows], "y")
        west, south, east, north = grid_of_product(product.attrs, product.sizes).bounds
        extent = (0.0, (east - west) / 1000, 0.0, (north - south) / 1000)
        centre, (low, high) = _shown_statistics(statistics_of(product))
        width = thinned.sel(statistic=high)
        if low:
            width = width - thinned.sel(statistic=low)
        return thinned.sel(statistic=centre).values, width.values, extent


def _shown_statistics(there: Sequence[str]) -> tuple[str, tuple[str, str]]:
    """What is drawn of a product: the mean or what is nearest to it, and the widest interval as its lower and
    upper end; without an interval the standard deviation (with a lower end ""), or any statistic."""
    centre = next((name for name in ("mean", "q50") if name in there), there[0])
    pairs = [pair for pair in (("q05", "q95"), ("q25", "q75")) if set(pair) <= set(there)]
    return centre, (pairs or [("", "std" if "std" in there else there[-1])])[0]


def _words(there: Sequence[str]) -> tuple[str, str]:
    """Centre and width in words."""
    centre, (low, high) = _shown_statistics(there)
    centres = {"mean": "mean", "q50": "median"}
    widths = {"q95": "90 % width", "q75": "50 % width", "std": "standard deviation"}
    return centres.get(centre, centre), widths.get(high, high) if low or high == "std" else high


def _aspect(shown: list[tuple[NDArray[np.float32], NDArray[np.float32], _Extent]]) -> float:
    return max(extent[3] / extent[1] for _, _, extent in shown)


def _high(layers: list[NDArray[np.float32]]) -> float:
    """Upper end of a colour scale: nearly the largest value, so that one odd pixel does not set it."""
    values = np.concatenate([layer[np.isfinite(layer)] for layer in layers])
    return float(np.quantile(values, 0.99)) or 1.0 if values.size else 1.0


def _draw(
    axes: Axes, layer: NDArray[np.float32], extent: _Extent, colours: str, limits: tuple[float, float]
) -> AxesImage:
    axes.set_facecolor("#DDDDDD")
    axes.grid(False)
    axes.tick_params(labelsize=9, colors=INK)
    axes.set_xlabel("km", fontsize=9, labelpad=1)
    return axes.imshow(
        layer, extent=extent, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="nearest"
    )
