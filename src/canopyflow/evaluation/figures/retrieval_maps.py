"""Maps of a variable and of how well it is known, for a few clear dates of each tile."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from canopyflow.archive.grid import grid_of_product
from canopyflow.evaluation.figures.style import INK, MEAN_MAP, TALLEST, WIDTH_MAP, message, panels, save
from canopyflow.evaluation.measurands import MEASURANDS, label
from canopyflow.evaluation.shown import DOUBTFUL, centre_and_width, step_for, thinned, truth_of, words
from canopyflow.inference.stored import clear_share, open_product, statistics_of

_SIDE = 500  # pixels of a map side that a report can show; larger tiles are thinned

_COLUMNS = 6
"""Maps side by side, at most."""

_WIDEST = 14.0
"""Inches."""

_FLAGGED = "#FF00AA"

_Extent = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Scene:
    """One acquisition of one product store."""

    store: Path
    index: int
    time: pd.Timestamp
    clear: float


@dataclass(frozen=True)
class _Panel:
    """What is drawn of one scene: (y, x) each; ``extent`` in kilometres from the south-west corner."""

    mean: NDArray[np.float32]
    width: NDArray[np.float32]
    doubtful: NDArray[np.bool_]
    extent: _Extent
    truth: NDArray[np.float32] | None = None


def draw_maps(
    products: list[Path],
    out: Path,
    *,
    model: str,
    variable: str = "lai",
    dates: int = 3,
    tiles: int = 3,
    truth: Path | None = None,
) -> None:
    """Posterior mean above the width of its 90 % interval, and above the truth where there is a reference
    map; columns are dates of tiles.

    Of maps without these, what they have of the kind (:func:`canopyflow.evaluation.shown.shown_statistics`).
    Flagged pixels are marked on the mean.

    Of each of the first ``tiles`` tiles, up to ``dates`` acquisitions spread over the period are shown,
    chosen among those that are nearly as clear as the clearest; fewer where they would not fit side by side.
    One colour scale holds for all panels of a kind. Of a campaign that does not estimate ``variable`` another
    one is shown, and the title says so.
    """
    wanted, variable = variable, _shown_variable(products, variable)
    by_tile = _clear_scenes(products, tiles)
    dates = min(dates, max(1, _COLUMNS // max(1, len(by_tile))))
    chosen = [(tile, scene) for tile, scenes in by_tile.items() for scene in choose(scenes, dates)]
    if not chosen:
        message(out, f"No clear acquisition: no {label(variable)} map to show")
        return
    shown = [_read(scene, variable, truth) for _, scene in chosen]
    with open_product(chosen[0][1].store) as product:
        centre, spread = words(statistics_of(product))
    instead = "" if variable == wanted else f"\n({label(wanted)} is not among the campaign's outputs)"
    marked = " (pink: flagged)" if any(panel.doubtful.any() for panel in shown) else ""
    title = f"{label(variable)}: posterior {centre} and {spread}, {model}{marked}{instead}"
    known = [panel.truth for panel in shown if panel.truth is not None]
    means = [panel.mean for panel in shown]
    layers: list[tuple[str, list[NDArray[np.float32] | None], str]] = [
        (centre, list(means), MEAN_MAP),
        (spread, [panel.width for panel in shown], WIDTH_MAP),
    ]
    if known:
        layers.append(("truth", [panel.truth for panel in shown], MEAN_MAP))
    limits = {MEAN_MAP: (0.0, _high([*means, *known])), WIDTH_MAP: (0.0, _high([p.width for p in shown]))}
    figure, grid = panels(*_size(shown, len(layers)), title, len(layers), len(shown))
    for row, (name, values, colours) in zip(grid, layers, strict=True):
        images = [
            _draw(axes, layer, panel.extent, colours, limits[colours])
            for axes, layer, panel in zip(row, values, shown, strict=True)
            if layer is not None
        ]
        for axes, layer in zip(row, values, strict=True):
            axes.set_axis_off() if layer is None else None
        row[0].set_ylabel(name)
        figure.colorbar(images[0], ax=row, label=f"{name}, {label(variable)}", pad=0.01, extend="max")
    for axes, (tile, scene), panel in zip(grid[0], chosen, shown, strict=True):
        axes.set_title(f"{tile}\n{scene.time:%Y-%m-%d}", fontsize=11)
        _mark(axes, panel)
    for number, row in enumerate(grid):
        for column, axes in enumerate(row):
            axes.tick_params(labelleft=column == 0 or chosen[column][0] != chosen[column - 1][0])
            axes.set_xlabel("km" if number == len(grid) - 1 else "", fontsize=9, labelpad=1)
    save(figure, out)


def _size(shown: list[_Panel], rows: int) -> tuple[float, float]:
    """Width and height of the figure in inches: maps as large as a window and a page allow."""
    aspect = max(panel.extent[3] / panel.extent[1] for panel in shown)
    tall = (TALLEST - 1.3) / rows - 0.35
    wide = min(3.6, tall / aspect, (_WIDEST - 1.9) / len(shown) - 0.25)
    height = rows * (max(0.9, wide * aspect) + 0.35) + 1.1
    return (wide + 0.25) * len(shown) + 1.9, min(height, TALLEST)


def _mark(axes: Axes, panel: _Panel) -> None:
    """Paint flagged pixels in a colour that no scale has."""
    if panel.doubtful.any():
        marks = np.ma.masked_equal(panel.doubtful.astype(float), 0.0)
        flat = ListedColormap([_FLAGGED])
        axes.imshow(marks, extent=panel.extent, cmap=flat, vmin=0, vmax=1, interpolation="nearest")


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


def _read(scene: _Scene, variable: str, truth: Path | None = None) -> _Panel:
    with open_product(scene.store) as product:
        layer, flags = (product[name].isel(time=scene.index) for name in (variable, "flags"))
        step = step_for(layer, _SIDE)
        west, south, east, north = grid_of_product(product.attrs, product.sizes).bounds
        mean, width = centre_and_width(layer, statistics_of(product), step)
        return _Panel(
            mean,
            width,
            (thinned(flags, step).values.astype(int) & DOUBTFUL) > 0,
            (0.0, (east - west) / 1000, 0.0, (north - south) / 1000),
            truth_of(product, scene.index, variable, truth, step),
        )


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
    return axes.imshow(
        layer, extent=extent, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="nearest"
    )
