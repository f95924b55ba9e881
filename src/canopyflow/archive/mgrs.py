"""Where the tiles of Sentinel-2 lie: squares of the Military Grid Reference System, enlarged to 109.8 km.

A tile starts at the upper left corner of its 100 km square, moved outward to a multiple of 60 m (the coarsest
pixel) as counted from the false easting and the equator. Source: US National Geospatial-Intelligence
Agency, NGA.STND.0037 (lettering of the squares); Sentinel-2 Products Specification Document (tiles).
"""

import math
import re

from canopyflow.archive.grid import Bounds
from canopyflow.errors import ArchiveError

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
    found = re.fullmatch(r"(?:MGRS-)?T?(\d{1,2})([A-Z])([A-Z])([A-Z])", str(text).strip().upper())
    if not found or not 1 <= int(found[1]) <= 60 or found[2] not in BANDS or found[4] not in ROWS:
        raise ValueError(f"{text!r} is no MGRS tile, such as 32TMT")
    if found[3] not in COLUMNS[int(found[1]) % 3]:
        raise ValueError(f"{text!r} is no MGRS tile: zone {found[1]} has no column {found[3]}")
    return f"{int(found[1]):02d}{found[2]}{found[3]}{found[4]}"


def epsg_of(tile: str) -> int:
    """EPSG code of the UTM zone of a tile."""
    return (32600 if tile[2] >= "N" else 32700) + int(tile[:2])


def bounds_of(tile: str) -> Bounds:
    """Outer edges of a tile in metres of its UTM zone.

    Raises:
        ArchiveError: it is no tile.
    """
    try:
        tile = tile_name(tile)
    except ValueError as error:
        raise ArchiveError(str(error)) from None
    zone, band, column, row = int(tile[:2]), tile[2], tile[3], tile[4]
    west = SQUARE * (1 + COLUMNS[zone % 3].index(column))
    south = SQUARE * ((ROWS.index(row) - (5 if zone % 2 == 0 else 0)) % len(ROWS))
    # The period whose square lies in or next to the band of 8 degrees (the last has 12).
    lowest = (-80.0 + 8.0 * BANDS.index(band)) * METRES_PER_DEGREE
    south += PERIOD * math.ceil((lowest - 2 * SQUARE - south) / PERIOD)
    left = math.floor(west / COARSEST) * COARSEST
    top = math.ceil((south + SQUARE) / COARSEST) * COARSEST + (FALSE_NORTHING if band < "N" else 0.0)
    return left, top - SIDE, left + SIDE, top
