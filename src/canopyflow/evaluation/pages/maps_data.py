"""Maps as small arrays for a page: the dates of each tile, thinned and rounded until all of them fit.

A map is one byte per pixel: 0 where nothing is known, else 1 to 255 evenly between two limits that all dates,
tiles and models of a variable share. Bytes are deflated and written in base64, which a browser undoes by
itself.
"""

import base64
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from canopyflow.archive.grid import grid_of_product
from canopyflow.evaluation.measurands import MEASURANDS
from canopyflow.evaluation.shown import DOUBTFUL, centre_and_width, step_for, thinned, truth_of, words
from canopyflow.inference.stored import open_product, row_strips, statistics_of
from canopyflow.progress import track
from canopyflow.vocabulary import FLAGS, MASKED

Products = Mapping[str, Sequence[Path]]
"""Product stores of each model."""

COLUMNS = ("model", "tile", "month", "clear", "doubtful", *(name for name in FLAGS if name != "masked"))
"""Of the table of flags: pixels of all scenes of a tile-month; ``doubtful`` has any of
:data:`canopyflow.evaluation.shown.WHY_NOT`."""

BYTES = 10_000_000
"""Of all maps of a page before they are deflated: 13.4 million characters of base64 at the most, and
about half of that in practice."""

DATES = (40, 30, 20, 12, 8, 5)
"""Dates of a tile that are shown at most; fewer where pixels would be lost to more of them."""

SIDES = (512, 400, 300, 200, 150, 100, 70, 50, 30, 20)
"""Pixels along a map at most; the first that fits is taken."""

LEAST_SIDE = 200
"""Pixels along a map that dates are given up for."""

MODELS, TILES, VARIABLES = 3, 6, 6
"""Of these, the first are shown."""


@dataclass(frozen=True)
class Acquisition:
    """One scene of a tile, and where each model has its posterior: store and number in it."""

    tile: str
    item: str
    platform: str
    time: pd.Timestamp
    clear: float
    stores: dict[str, tuple[Path, int]] = field(default_factory=dict)


def survey(products: Products) -> tuple[pd.DataFrame, list[Acquisition]]:
    """Read the flags of all products: how many pixels have which, and how clear each scene is.

    Returns the table of flags (:data:`COLUMNS`), and the acquisitions in order of tile and time.
    """
    rows: list[dict[str, Any]] = []
    found: dict[tuple[str, str], Acquisition] = {}
    for model, stores in products.items():
        for store in track(sorted(stores), f"flags of {model}"):
            with open_product(store) as product:
                tile, month = str(product.attrs["tile"]), str(product.attrs["month"])
                counts = np.array([_counts(product["flags"][time]) for time in range(product.sizes["time"])])
                items, platforms = (product[name].values.tolist() for name in ("item", "platform"))
                times = pd.DatetimeIndex(product["time"].values)
            rows.append({"model": model, "tile": tile, "month": month} | _told(counts.sum(0)))
            for time, item in enumerate(items):
                clear = float(counts[time][_clear()].sum() / max(1, counts[time].sum()))
                scene = Acquisition(tile, item, platforms[time], times[time], clear)
                found.setdefault((tile, item), scene).stores[model] = (store, time)
    scenes = sorted(found.values(), key=lambda scene: (scene.tile, scene.time, scene.item))
    return pd.DataFrame(rows, columns=list(COLUMNS)), scenes


def _counts(flags: Any) -> NDArray[np.int64]:
    """How many pixels of a scene have each of the 256 combinations of flags."""
    parts = (flags.isel(y=rows).values.ravel() for rows in row_strips(flags))
    total = np.zeros(256, np.int64)
    for part in parts:
        total += np.bincount(part, minlength=256)
    return total


def _clear() -> NDArray[np.bool_]:
    return (np.arange(256) & MASKED) == 0


def _told(counts: NDArray[np.int64]) -> dict[str, int]:
    """Pixels by flag, of the counts of all combinations."""
    values = np.arange(256)
    bits = {name: FLAGS[name] for name in COLUMNS if name in FLAGS}
    return {
        "clear": int(counts[_clear()].sum()),
        "doubtful": int(counts[_clear() & ((values & DOUBTFUL) > 0)].sum()),
        **{name: int(counts[_clear() & ((values & bit) > 0)].sum()) for name, bit in bits.items()},
    }


def chosen(scenes: Sequence[Acquisition], most: int) -> list[Acquisition]:
    """Up to ``most`` scenes of one tile in order of time: of as many equal parts of the list the clearest;
    none without a clear pixel."""
    some = [scene for scene in scenes if scene.clear > 0]
    if len(some) <= most:
        return some
    parts = np.array_split(np.arange(len(some)), most)
    return [max((some[i] for i in part), key=lambda scene: scene.clear) for part in parts]


def map_layers(
    scenes: Sequence[Acquisition],
    models: Sequence[str],
    truth: Path | None = None,
    budget: int = BYTES,
) -> dict[str, Any] | None:
    """What the page's map needs, as plain values; None if there is no clear scene.

    Args:
        scenes: of :func:`survey`.
        models: those that are shown, the first of them first.
        truth: folder of reference maps, if there are any.
        budget: bytes of all maps, before they are deflated.
    """
    models = [name for name in models if any(name in scene.stores for scene in scenes)][:MODELS]
    by_tile: dict[str, list[Acquisition]] = {}
    for scene in scenes:
        if scene.clear > 0 and models[0] in scene.stores if models else False:
            by_tile.setdefault(scene.tile, []).append(scene)
    tiles = dict(list(by_tile.items())[:TILES])
    if not tiles:
        return None
    variables = _variables(next(iter(tiles.values()))[0], models[0])
    layers = len(models) * (2 * len(variables) + 1) + (len(variables) if truth else 0)
    shown, side = _plan(tiles, layers, budget)
    # Scenes of a month share its stores.
    opened = lru_cache(maxsize=2 * MODELS)(open_product)
    read = {
        tile: [_read(opened, scene, models, variables, truth, side) for scene in shown[tile]]
        for tile in shown
    }
    limits = {name: _limits(name, read) for name in variables}
    return {
        "models": models,
        "variables": [_described(name, limits[name]) for name in variables],
        "words": list(words(_statistics(next(iter(shown.values()))[0], models[0]))),
        "flags": {name: bit for name, bit in FLAGS.items() if name != "masked"},
        "doubtful": DOUBTFUL,
        "truth": any("truth" in one for of in read.values() for one in of),
        "colours": {name: _colours(name) for name in ("viridis", "magma")},
        "tiles": [_tile(tile, shown[tile], read[tile], limits, side) for tile in shown],
        "left_out": _left_out(by_tile, shown, [name for s in scenes for name in s.stores], models, side),
    }


def _plan(
    tiles: Mapping[str, list[Acquisition]], layers: int, budget: int
) -> tuple[dict[str, list[Acquisition]], int]:
    """Which scenes are shown, and how long a map may be."""
    sizes = {tile: _size(scenes[0]) for tile, scenes in tiles.items()}
    longest = max(max(size) for size in sizes.values())
    for most in DATES:
        shown = {tile: chosen(scenes, most) for tile, scenes in tiles.items()}
        for side in SIDES:
            pixels = [len(shown[tile]) * _pixels(sizes[tile], side) for tile in shown]
            if layers * sum(pixels) <= budget:
                break
        if side >= min(longest, LEAST_SIDE):
            break
    return shown, side


def _size(scene: Acquisition) -> tuple[int, int]:
    store, _ = next(iter(scene.stores.values()))
    with open_product(store) as product:
        return product.sizes["y"], product.sizes["x"]


def _pixels(size: tuple[int, int], side: int) -> int:
    """Pixels of a map of ``size`` that is thinned to ``side``."""
    step = -(-max(size) // side)
    return int(-(-size[0] // step) * -(-size[1] // step))


def _statistics(scene: Acquisition, model: str) -> list[str]:
    with open_product(scene.stores[model][0]) as product:
        return statistics_of(product)


def _variables(scene: Acquisition, model: str) -> list[str]:
    """Variables of a product that have a map at each of its dates, in the order that users ask for them."""
    with open_product(scene.stores[model][0]) as product:
        wanted = {"time", "statistic"}
        names = [str(name) for name, layer in product.data_vars.items() if wanted <= {*layer.dims}]
    order = ["lai", "gai", "ccc", "fapar", *MEASURANDS, *sorted(names)]
    return sorted(names, key=order.index)[:VARIABLES]


_Layers = dict[str, Any]
"""Of one scene: by model ``flags`` (y, x) uint8 and each variable's centre and width (y, x) float32; under
"truth" the reference maps that there are."""


def _read(
    opened: Callable[[Path], xr.Dataset],
    scene: Acquisition,
    models: Sequence[str],
    variables: Sequence[str],
    truth: Path | None,
    side: int,
) -> _Layers:
    out: _Layers = {}
    for model in models:
        if model not in scene.stores:
            continue
        store, time = scene.stores[model]
        product = opened(store)
        there, step = statistics_of(product), step_for(product["flags"], side)
        layers: dict[str, Any] = {"flags": thinned(product["flags"].isel(time=time), step).values}
        for name in variables:
            if name in product:
                layers[name] = centre_and_width(product[name].isel(time=time), there, step)
        if "truth" not in out:
            known = {name: truth_of(product, time, name, truth, step) for name in variables}
            known = {name: values for name, values in known.items() if values is not None}
            out |= {"truth": known} if known else {}
        out[model] = layers
    return out


def _limits(name: str, read: Mapping[str, Sequence[_Layers]]) -> tuple[float, float, float]:
    """Least and largest centre, and largest width, of a variable in all maps that are shown."""
    scenes = [scene for of in read.values() for scene in of]
    pairs = [scene[m][name] for scene in scenes for m in scene if m != "truth" and name in scene[m]]
    centres = [centre for centre, _ in pairs] + [
        s["truth"][name] for s in scenes if name in s.get("truth", ())
    ]
    low = min((float(np.nanmin(v)) for v in centres if np.isfinite(v).any()), default=0.0)
    high = max((float(np.nanmax(v)) for v in centres if np.isfinite(v).any()), default=1.0)
    width = max((float(np.nanmax(v)) for _, v in pairs if np.isfinite(v).any()), default=1.0)
    low = min(low, 0.0) if low < 0.2 * high else low
    return low, high if high > low else low + 1.0, width or 1.0


def _described(name: str, limits: tuple[float, float, float]) -> dict[str, Any]:
    known = MEASURANDS.get(name)
    low, high, width = (float(f"{value:.6g}") for value in limits)
    symbol, unit, long_name = (known.symbol, known.unit, known.long_name) if known else (name, "", name)
    return {
        "name": name, "symbol": symbol, "unit": unit, "long": long_name,
        "low": low, "high": high, "width": width,
    }  # fmt: skip


def _tile(
    tile: str,
    scenes: Sequence[Acquisition],
    read: Sequence[_Layers],
    limits: Mapping[str, tuple[float, float, float]],
    side: int,
) -> dict[str, Any]:
    with open_product(next(iter(scenes[0].stores.values()))[0]) as product:
        grid = grid_of_product(product.attrs, product.sizes)
        step = step_for(product["flags"], side)
    west, _, _, north = grid.bounds
    first = next(layers for layers in read[0].values() if "flags" in layers)["flags"]
    return {
        "tile": tile,
        "epsg": grid.epsg,
        "west": west,
        "north": north,
        "pixel": grid.resolution,
        "step": step,
        "height": int(first.shape[0]),
        "width": int(first.shape[1]),
        "dates": [
            {
                "date": f"{scene.time:%Y-%m-%d}",
                "platform": scene.platform,
                "item": scene.item,
                "clear": round(scene.clear, 4),
                "layers": {model: _packed(layers[model], limits) for model in layers},
            }
            for scene, layers in zip(scenes, read, strict=True)
        ],
    }


def _packed(layers: Mapping[str, Any], limits: Mapping[str, tuple[float, float, float]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, values in layers.items():
        if name == "flags":
            out[name] = packed(values.astype(np.uint8))
        elif isinstance(values, tuple):
            low, high, width = limits[name]
            out[name] = [packed(rounded(values[0], low, high)), packed(rounded(values[1], 0.0, width))]
        else:
            out[name] = packed(rounded(values, *limits[name][:2]))
    return out


def rounded(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    """Values as bytes: 0 for what is not finite, else 1 to 255 from ``low`` to ``high``."""
    share = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0.0, 1.0)
    return np.where(np.isfinite(values), np.rint(1 + 254 * share), 0).astype(np.uint8)


def packed(values: NDArray[np.uint8]) -> str:
    """Bytes as deflated base64."""
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode("ascii")


def _colours(name: str) -> str:
    """256 colours as hexadecimal digits, six for each."""
    table = matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3]
    return bytes(np.asarray(table, np.uint8).ravel()).hex()


def _left_out(
    tiles: Mapping[str, list[Acquisition]],
    shown: Mapping[str, list[Acquisition]],
    there: Sequence[str],
    models: Sequence[str],
    side: int,
) -> list[str]:
    """What the page does not show, in words."""
    said = []
    more = sorted(set(there) - set(models))
    if more:
        said.append(f"{len(models)} of {len(models) + len(more)} models (the best); not {', '.join(more)}")
    if len(shown) < len(tiles):
        said.append(f"the first {len(shown)} of {len(tiles)} tiles")
    most = sum(len(tiles[tile]) for tile in shown)
    count = sum(len(of) for of in shown.values())
    if count < most:
        said.append(f"{count} of {most} dates with a clear pixel, the clearest of each part of the period")
    steps = []
    for scenes in shown.values():
        with open_product(next(iter(scenes[0].stores.values()))[0]) as product:
            steps.append(step_for(product["flags"], side))
    if max(steps) > 1:
        said.append(f"every {max(steps)}th row and column")
    return said
