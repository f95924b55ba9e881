"""The truth of a whole year: maps every five days, whether a satellite passed or not, clouds or not.

``truth/seasons/{year}_{tile}_{lai,ccc}.tif``: 20 m, one band a date (``descriptions`` name them), the first
of 1 January. FAPAR is not among them, since it depends on where the sun stands; the truth of scenes has it.
"""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from canopyflow.demo.landscape import FINE, Landscape, block_mean
from canopyflow.demo.scenes import ground_truth
from canopyflow.demo.tiles import Tile

EVERY = 5
"""Days between the maps."""
METRES = 20
NAMES = ("lai", "ccc")


def truth_days(year: int) -> list[date]:
    """The dates of the maps: 1 January and every fifth day after it, 73 or 74."""
    first, last = date(year, 1, 1), date(year, 12, 31)
    return [first + timedelta(days=i) for i in range(0, (last - first).days + 1, EVERY)]


def season_maps(landscape: Landscape, classes: np.ndarray, days: list[date]) -> dict[str, np.ndarray]:
    """Of each of NAMES the maps (days, rows, columns) at 20 m of a tile with these fine ``classes``, float32.

    Area means over the pixel, three decimals, as the truth of scenes.
    """
    made: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    for day in days:
        lai, cab = ground_truth(landscape, day.timetuple().tm_yday)
        for name, values in (("lai", lai), ("ccc", lai * cab)):
            made[name].append(np.round(block_mean(values[classes], round(METRES / FINE)), 3))
    return {name: np.stack(maps).astype(np.float32) for name, maps in made.items()}


def write_season_truth(
    folder: Path, landscape: Landscape, classes: np.ndarray, tile: Tile, year: int
) -> None:
    """Write the maps of a year and a tile below the archive's ``folder``; the landscape is the year's."""
    days = truth_days(year)
    place = folder / "truth" / "seasons"
    place.mkdir(parents=True, exist_ok=True)
    for name, maps in season_maps(landscape, classes, days).items():
        with rasterio.open(
            place / f"{year}_{tile.name}_{name}.tif",
            "w",
            driver="GTiff",
            width=maps.shape[2],
            height=maps.shape[1],
            count=len(days),
            dtype=maps.dtype,
            crs=f"EPSG:{tile.epsg}",
            transform=from_origin(tile.ulx, tile.uly, METRES, METRES),
            nodata=np.nan,
            compress="DEFLATE",
            zlevel=6,
            predictor=3,
            num_threads=1,
        ) as sink:
            sink.write(maps)
            sink.descriptions = [day.isoformat() for day in days]
