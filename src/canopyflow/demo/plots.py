"""Field measurements in the demo landscape: what a crew with a plant canopy analyser would bring home."""

import math
from datetime import date, timedelta

import numpy as np
import pandas as pd
from shapely.geometry import Point

from canopyflow.demo.landscape import FINE, Landscape
from canopyflow.demo.phenology import CROP_NAMES
from canopyflow.demo.randomness import stream
from canopyflow.demo.scenes import ground_truth
from canopyflow.demo.tiles import PLANE, Tile, transform_points

PLOTS = 40
NEAR_BORDER = 5
"""Plots laid within 5-10 m of a field's border, where pixels are mixed; all others keep 30 m away."""
OUTSIDE = 2
"""Plots that no scene sees."""
PLOT_WIDTH = 20.0
"""Metres: a measurement is the mean over a square of this size."""
UNITS = {"LAI": "m2 m-2", "Cab": "ug cm-2", "CCC": "ug cm-2"}
RELATIVE_ERROR = {"LAI": 0.12, "Cab": 0.08, "CCC": 0.15}
FLOOR_ERROR = {"LAI": 0.08, "Cab": 2.0, "CCC": 4.0}
COLUMNS = ("plot_id", "date", "lon", "lat", "variable", "value", "unit", "uncertainty", "crop")
_UNMEASURED = ("forest", "pond")


def _in_every_tile_margin(tiles: list[Tile], x: float, y: float, margin: float = 40.0) -> bool:
    """Whether a point of the plane lies at least ``margin`` metres inside one of the tiles."""
    for tile in tiles:
        tx, ty = transform_points(np.array(x), np.array(y), PLANE, tile.epsg)
        xmin, ymin, xmax, ymax = tile.bounds
        if xmin + margin < tx < xmax - margin and ymin + margin < ty < ymax - margin:
            return True
    return False


def place_plots(landscape: Landscape, tiles: list[Tile], seed: int) -> list[tuple[str, int, float, float]]:
    """Plots as (plot_id, field, x, y), coordinates of the plane; the first few lie near a border."""
    rng = stream(seed, "plots")
    reach = 9.0 * tiles[0].size
    placed: list[tuple[str, int, float, float]] = []
    for _ in range(50 * PLOTS):
        if len(placed) == PLOTS:
            break
        x, y = (np.array(landscape.origin) + rng.uniform(-reach, reach, 2)).tolist()
        field = int(landscape.fields(np.array([x]), np.array([y]))[0])
        if field == len(landscape.outlines) or CROP_NAMES[landscape.canopies.crop[field]] in _UNMEASURED:
            continue
        point = Point(x - landscape.origin[0], y - landscape.origin[1])
        distance = landscape.outlines[field].exterior.distance(point)
        pond = math.dist((point.x, point.y), landscape.pond)
        border = len(placed) < NEAR_BORDER
        fits = 5 < distance < 10 if border else distance > 30
        if fits and pond > 120 and _in_every_tile_margin(tiles, x, y):
            name = "border" if border else "field"
            placed.append((f"{name}-{len(placed) + 1:02d}", field, x, y))
    return placed


def _visits(rng: np.random.Generator, first: date, last: date) -> list[date]:
    """Visits about every two or three weeks from ``first`` to ``last``, on whatever day the crew comes."""
    day, days = first + timedelta(days=int(rng.integers(4, 16))), []
    while day <= last:
        days.append(day)
        day += timedelta(days=int(rng.integers(15, 27)))
    return days


def plot_classes(landscape: Landscape, x: float, y: float) -> np.ndarray:
    """Classes of the ground under a plot, every FINE metres."""
    steps = np.arange(-PLOT_WIDTH / 2 + FINE / 2, PLOT_WIDTH / 2, FINE)
    return landscape.classes(*np.meshgrid(x + steps, y + steps))


def plot_truth(landscape: Landscape, classes: np.ndarray, day: date) -> dict[str, float]:
    """True mean LAI, leaf chlorophyll (leaf-area-weighted) and CCC over a plot's ``classes`` on a day."""
    lai, cab = ground_truth(landscape, day.timetuple().tm_yday)
    mean_lai, mean_ccc = float(lai[classes].mean()), float((lai * cab)[classes].mean())
    return {"LAI": mean_lai, "Cab": mean_ccc / mean_lai, "CCC": mean_ccc}


def make_plots(
    landscape: Landscape, tiles: list[Tile], seed: int, first: date, last: date, *visit: int
) -> pd.DataFrame:
    """The plots table between two dates: one row per plot, visit and variable, sorted; columns as COLUMNS.

    ``visit``: a year, where visits of several are drawn, each of its own.
    """
    rows = []
    plots = place_plots(landscape, tiles, seed)
    x0, y0 = landscape.origin
    away = [(f"outside-{i + 1:02d}", 0, x0 + 9000.0 + 500 * i, y0) for i in range(OUTSIDE)]
    for plot, field, x, y in [*plots, *away]:
        rng = stream(seed, "visits", plot, *visit)
        lon, lat = transform_points(np.array(x), np.array(y), PLANE, 4326)
        inside = not plot.startswith("outside")
        classes = plot_classes(landscape, x, y)
        for day in _visits(rng, first, last):
            truth = plot_truth(landscape, classes, day) if inside else {"LAI": 2.0, "Cab": 45.0, "CCC": 90.0}
            errors = rng.standard_normal(len(UNITS))
            for (variable, unit), error in zip(UNITS.items(), errors, strict=True):
                if variable != "LAI" and truth["LAI"] < 0.3:
                    continue  # too few leaves to sample
                sigma = math.hypot(RELATIVE_ERROR[variable] * truth[variable], FLOOR_ERROR[variable])
                value = max(truth[variable] + sigma * error, 0.0)
                crop = CROP_NAMES[landscape.canopies.crop[field]] if inside else "unknown"
                place = (round(float(lon), 7), round(float(lat), 7))
                rows.append(
                    (plot, day.isoformat(), *place, variable, round(value, 3), unit, round(sigma, 3), crop)
                )
    return pd.DataFrame(rows, columns=list(COLUMNS))
