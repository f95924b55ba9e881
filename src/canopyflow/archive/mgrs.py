"""Where the tiles of Sentinel-2 lie: squares of the Military Grid Reference System, enlarged to 109.8 km.

A tile starts at the upper left corner of its 100 km square, moved outward to a multiple of 60 m (the coarsest
pixel) as counted from the false easting and the equator. Source: US National Geospatial-Intelligence
Agency, NGA.STND.0037 (lettering of the squares); Sentinel-2 Products Specification Document (tiles).
"""

import math
import re

from canopyflow.archive.grid import Bounds

SIDE = 109_800.0
SQUARE = 100_000.0
COARSEST = 60.0
FALSE_NORTHING = 10_000_000.0
BANDS = "CDEFGHJKLMNPQRSTUVWX"
COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
"""Letters of the columns from 100 km to 800 km east, by the zone modulo 3."""
ROWS = "ABCDEFGHJKLMNPQRSTUV"
"""Letters of the rows, which come back every 2,000 km; they start at F in zones of an even number."""
PERIOD = SQUARE * len(ROWS)
METRES_PER_DEGREE = 110_600.0
"""Shortest degree of latitude on a meridian, near enough to tell periods of 2,000 km apart."""


def tile_name(text: object) -> str:
    """A tile as ``32TMT``: zone with two digits, from spellings such as ``T32TMT``, ``MGRS-1WCQ``.

    Raises:
        ValueError: it is no tile.
    """
    found = re.fullmatch(r"(?:MGRS-)?T?([0-9]{1,2})([A-Z]{3})", str(text).upper())
    if not found:
        raise ValueError(f"{text!r} is no MGRS tile, such as 32TMT")
    return f"{int(found[1]):02d}{found[2]}"


def epsg_of(tile: str) -> int:
    """EPSG code of the UTM zone of a tile."""
    return (32600 if tile[2] >= "N" else 32700) + int(tile[:2])


def bounds_of(tile: str) -> Bounds:
    """Outer edges of a tile in metres of its UTM zone.

    Raises:
        ValueError: there is no such square.
    """
    zone, band, column, row = int(tile[:2]), tile[2], tile[3], tile[4]
    if not 1 <= zone <= 60 or band not in BANDS or column not in COLUMNS[zone % 3] or row not in ROWS:
        raise ValueError(f"there is no MGRS tile {tile}")
    west = SQUARE * (1 + COLUMNS[zone % 3].index(column))
    south = SQUARE * ((ROWS.index(row) - (5 if zone % 2 == 0 else 0)) % len(ROWS))
    # The period whose square lies in or next to the band of 8 degrees (the last has 12).
    lowest = (-80.0 + 8.0 * BANDS.index(band)) * METRES_PER_DEGREE
    south += PERIOD * math.ceil((lowest - 2 * SQUARE - south) / PERIOD)
    left = math.floor(west / COARSEST) * COARSEST
    top = math.ceil((south + SQUARE) / COARSEST) * COARSEST + (FALSE_NORTHING if band < "N" else 0.0)
    return left, top - SIDE, left + SIDE, top
