"""The two tiles of the demo: small rasters on the grids of the real tiles 31TGM and 32TLS.

The place is the plain of the Orbe (6.5° E, 46.7° N), where the Sentinel-2 tiling of UTM zones 31 and 32
overlaps: the same ground exists in both grids, rotated by about five degrees against each other.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pyproj import Transformer

CENTRE = (6.5, 46.72)
"""Longitude and latitude of the middle of the landscape, degrees."""
PLANE = 3035
"""EPSG code of the one metric plane (ETRS89-LAEA) in which the ground is defined."""
SIZE = 192
"""Rows and columns of a tile at 10 m."""
OVERLAP = 1 / 3
"""Share of its width that a tile has in common with the other."""
_GRID = 60
_ZONES = {"31TGM": (32631, -1), "32TLS": (32632, +1)}


@lru_cache
def _transformer(source: int, target: int) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def transform_points(x: np.ndarray, y: np.ndarray, source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Project points between two EPSG codes, x (or longitude) first."""
    x, y = _transformer(source, target).transform(x, y)
    return np.asarray(x), np.asarray(y)


@dataclass(frozen=True)
class Tile:
    """One raster: MGRS name, EPSG code, upper left corner (m) and rows = columns at 10 m."""

    name: str
    epsg: int
    ulx: float
    uly: float
    size: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """xmin, ymin, xmax, ymax in metres."""
        width = 10.0 * self.size
        return self.ulx, self.uly - width, self.ulx + width, self.uly

    def shape(self, resolution: float) -> tuple[int, int]:
        """Rows and columns at ``resolution`` metres."""
        n = round(10 * self.size / resolution)
        return n, n

    def centres(self, resolution: float) -> tuple[np.ndarray, np.ndarray]:
        """Pixel centres in the metric plane: x and y, each (rows, columns), metres."""
        rows, columns = self.shape(resolution)
        east = self.ulx + (np.arange(columns) + 0.5) * resolution
        north = self.uly - (np.arange(rows) + 0.5) * resolution
        x, y = np.meshgrid(east, north)
        return transform_points(x, y, self.epsg, PLANE)

    def ring(self, epsg: int = 4326) -> list[tuple[float, float]]:
        """The closed outline, counter-clockwise, as (x, y) in ``epsg``; seven decimals in degrees."""
        xmin, ymin, xmax, ymax = self.bounds
        x = np.array([xmin, xmax, xmax, xmin, xmin])
        y = np.array([ymin, ymin, ymax, ymax, ymin])
        x, y = transform_points(x, y, self.epsg, epsg)
        return [(round(float(a), 7), round(float(b), 7)) for a, b in zip(x, y, strict=True)]

    def bbox(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees."""
        lon, lat = zip(*self.ring(), strict=True)
        return min(lon), min(lat), max(lon), max(lat)


def tiles(size: int = SIZE) -> dict[str, Tile]:
    """The two tiles with ``size`` rows and columns (a multiple of 6, so that 60 m pixels fit)."""
    if size % 6:
        raise ValueError(f"size {size} is not a multiple of 6: its edges would leave the 60 m grid")
    made = {}
    for name, (epsg, side) in _ZONES.items():
        x, y = transform_points(np.array(CENTRE[0]), np.array(CENTRE[1]), 4326, epsg)
        width = 10 * size
        left = float(x) + side * (1 - OVERLAP) / 2 * width - width / 2
        top = float(y) + width / 2
        made[name] = Tile(name, epsg, round(left / _GRID) * _GRID, round(top / _GRID) * _GRID, size)
    return made


def union_bbox(members: list[Tile]) -> list[float]:
    """West, south, east, north around all tiles, degrees."""
    boxes = np.array([tile.bbox() for tile in members])
    return [*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist()]
