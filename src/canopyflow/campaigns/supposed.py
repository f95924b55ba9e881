"""What a search would find, supposed from area and period alone: for a plan when the catalogue is silent."""

import dataclasses
from pathlib import Path
from typing import Any

from canopyflow.archive import mgrs
from canopyflow.archive.areas import areas_of
from canopyflow.archive.footprint import around
from canopyflow.archive.grid import Grid
from canopyflow.archive.tiling import acquisitions, tiles_of
from canopyflow.atomic import write_json
from canopyflow.config import Campaign

FILES = 13
"""Of each scene: ten bands, the classification, and the metadata of granule and product."""

PAGE = 100
"""Items in an answer to a search."""

BLOCK = 1024
"""Pixels along a side of the blocks of a file, assumed: blocks are read as a whole."""

FINE = 4
"""Bands of 10 m; the others have 20 m."""

BYTES = 1.2
"""Bytes of a stored pixel, 16 bits compressed, assumed."""


@dataclasses.dataclass(frozen=True)
class Traffic:
    """What an archive is asked for and sends, roughly.

    ``gigabytes``: without and with what lies beside the area in the blocks that are read.
    """

    scenes: int
    requests: int
    gigabytes: tuple[float, float]


def suppose(campaign: Campaign, folder: Path) -> Path:
    """Write the index of a search that nobody has made, and empty files of its tile-months.

    All acquisitions count, cloudy ones too. ``folder`` is an empty one. Returns the path of the index.
    """
    query = campaign.query
    areas = areas_of(query["area"])
    assert campaign.period is not None  # as a campaign with a query has
    period = campaign.period.start, campaign.period.end
    grids: dict[str, Grid] = {}
    latitudes: dict[str, float] = {}
    if areas.tiles:
        for tile in areas.tiles:
            grids[tile] = Grid(mgrs.epsg_of(tile), mgrs.bounds_of(tile), query["resolution"])
            latitudes[tile] = around(grids[tile].bounds, grids[tile].epsg).centroid.y
    else:
        for site, polygon in areas.polygons.items():
            for tile, grid in tiles_of(polygon, query["resolution"]).items():
                label = f"{tile}-{site}" if site else tile
                grids[label], latitudes[label] = grid, polygon.centroid.y
    tiles: dict[str, Any] = {
        label: {
            month: {"scenes": count, "digest": "supposed"}
            for month, count in acquisitions(latitudes[label], *period).items()
        }
        for label in grids
    }
    for label, months in tiles.items():
        for month in months:
            write_json(folder / label / f"{month}.json", {})
    index = folder / "index.json"
    lock = {"tiles": {label: grid.to_dict() for label, grid in grids.items()}, "rejected": [], "messages": []}
    write_json(index, {"tiles": tiles, "lock": lock})
    return index


def traffic(
    campaign: Campaign, index: dict[str, Any], months: set[tuple[str, str]], searches: bool
) -> Traffic:
    """Requests and bytes of a search, if there is one, and of fetching the scenes of these tile-months."""
    scenes = requests = 0
    low = high = 0.0
    for label, windows in index["tiles"].items():
        grid = Grid.from_dict(index["lock"]["tiles"][label])
        sides = [side * grid.resolution / 10 for side in grid.shape]
        exact, blocks = _megabytes(sides, 0), _megabytes(sides, BLOCK)
        for month, entry in windows.items():
            if searches:
                requests += entry["scenes"] * (FILES if campaign.query["lock"] == "assets" else 0)
                requests += -(-entry["scenes"] // PAGE)
            if (label, month) in months:
                scenes += entry["scenes"]
                # Of each file its head, and its blocks in two parts.
                requests += entry["scenes"] * FILES * 3
                low, high = low + entry["scenes"] * exact, high + entry["scenes"] * blocks
    return Traffic(scenes, requests, (low / 1e3, high / 1e3))


def _megabytes(sides: list[float], margin: int) -> float:
    """MB of a scene of so many pixels of 10 m along its sides, with a margin of pixels of each file."""
    fine = (sides[0] + margin) * (sides[1] + margin)
    coarse = (sides[0] / 2 + margin) * (sides[1] / 2 + margin)
    return (FINE * fine + (FILES - 2 - FINE) * coarse) * BYTES / 1e6
