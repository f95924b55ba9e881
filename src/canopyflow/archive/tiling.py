"""Which tiles an area touches and how often a satellite passes, by geometry alone: no catalogue is asked.

For estimates. Near the border of two UTM zones the mission leaves out some squares, and an acquisition at the
edge of its swath shows a part of a tile only.
"""

import calendar
import math
from collections.abc import Iterator
from datetime import date

from pyproj import Transformer
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from canopyflow.archive import footprint, mgrs
from canopyflow.archive.grid import Bounds, Grid, intersection, project_area, snap_outward, union

ZONE = 6.0
"""Degrees of longitude of a UTM zone."""

NORWAY = ((31, 0, 3), (32, 3, 12))
SVALBARD = ((31, 0, 9), (32, 0, 0), (33, 9, 21), (34, 0, 0), (35, 21, 33), (36, 0, 0), (37, 33, 42))
"""Zones that are wider or narrower there, or missing: number, west, east."""

REPEAT_DAYS = 10
"""Days after which a satellite has the same orbit again."""

SECOND_SATELLITE = date(2017, 7, 1)
"""Since when Sentinel-2B delivers as well (launched on 2017-03-07)."""

SWATH, SPACING = 290.0, 280.0
"""Kilometres: width of the swath, and distance of neighbouring orbits at the equator (40,075 km by 143).
Sentinel-2 Mission Guide, https://sentiwiki.copernicus.eu/web/s2-mission."""


def tiles_of(area: BaseGeometry, resolution: float) -> dict[str, Grid]:
    """The tiles that an area touches, each with the grid that covers the area there.

    Args:
        area: a polygon with continuous longitudes (:mod:`canopyflow.archive.footprint`).
        resolution: pixel size, metres.
    """
    found: dict[str, Grid] = {}
    for part in footprint.parts_of(area):
        for zone, strip in _strips(part):
            for piece in footprint.parts_of(strip):
                for tile, bounds in _squares(piece, zone):
                    whole = union([bounds, found[tile].bounds] if tile in found else [bounds])
                    found[tile] = Grid(mgrs.epsg_of(tile), snap_outward(whole, resolution), resolution)
    return dict(sorted(found.items()))


def _strips(part: BaseGeometry) -> Iterator[tuple[int, BaseGeometry]]:
    """The parts of a polygon in each UTM zone, with the wider zones off Norway and around Svalbard."""
    west, south, east, north = part.bounds
    for low, high, wide in ((-90, 56, ()), (56, 64, NORWAY), (64, 72, ()), (72, 90, SVALBARD)):
        if low > north or high < south:
            continue
        for number in range(math.floor((west + 180) / ZONE) - 1, math.floor((east + 180) / ZONE) + 2):
            zone, turn = number % 60 + 1, 360.0 * (number // 60)
            edges = (number * ZONE - 180, (number + 1) * ZONE - 180)
            for other, left, right in wide:
                edges = (left + turn, right + turn) if other == zone else edges
            if edges[0] < edges[1]:
                yield zone, part.intersection(box(edges[0], low, edges[1], high))


def _squares(piece: BaseGeometry, zone: int) -> Iterator[tuple[str, Bounds]]:
    """Tiles of a zone that a polygon of it touches, and the bounds of what they have in common, metres."""
    _, south, _, north = piece.bounds
    bands = range(_band(south - 1.0), _band(north + 1.0) + 1)
    for band in (mgrs.BANDS[number] for number in bands):
        code = (32600 if band >= "N" else 32700) + zone
        wanted = project_area(piece.bounds, code)
        to_degrees = Transformer.from_crs(code, 4326, always_xy=True)
        for letters in ((column, row) for column in mgrs.COLUMNS[zone % 3] for row in mgrs.ROWS):
            tile = f"{zone:02d}{band}{''.join(letters)}"
            west, low, east, high = mgrs.bounds_of(tile)
            common = intersection((west, low, east, high), wanted)
            if common is None:
                continue
            # The middle of its square says which band names it; a tile reaches beyond to east and south.
            _, latitude = to_degrees.transform(west + mgrs.SQUARE / 2, high - mgrs.SQUARE / 2)
            if mgrs.BANDS[_band(latitude)] == band and footprint.touch(piece, footprint.around(common, code)):
                yield tile, common


def _band(latitude: float) -> int:
    """Number of the band of 8 degrees that holds a latitude."""
    return min(max(math.floor((latitude + 80.0) / 8.0), 0), len(mgrs.BANDS) - 1)


def acquisitions(latitude: float, start: date, end: date) -> dict[str, int]:
    """About how many acquisitions there are of a place by month (``2021-03``), whatever the clouds.

    Towards the poles neighbouring swaths overlap more and more, and a place is seen from several orbits.
    """
    orbits = max(1.0, SWATH / (SPACING * max(math.cos(math.radians(latitude)), 0.1)))
    out: dict[str, int] = {}
    year, month = start.year, start.month
    while (year, month) <= (end.year, end.month):
        first = date(year, month, 1)
        last = date(year, month, calendar.monthrange(year, month)[1])
        days = (min(last, end) - max(first, start)).days + 1
        satellites = 2 if first >= SECOND_SATELLITE else 1
        out[f"{year}-{month:02d}"] = max(1, round(days * satellites * orbits / REPEAT_DAYS))
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return out
