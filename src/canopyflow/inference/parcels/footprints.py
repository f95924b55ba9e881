"""Which pixels of a grid an area covers, and how much of each: exact shares, not a rule of centres."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from canopyflow.archive.footprint import around, touch
from canopyflow.archive.grid import Grid

_AT_ONCE = 200_000
"""Pixels whose share is computed at once: some 100 MB of squares."""

_STRAIGHT = 0.01
"""Longest edge in degrees that is projected as a straight line: it is then off by less than a decimetre."""

INNER = 4
"""Clear pixels wholly within an area with which its mean is theirs alone."""

WHOLE = 1.0 - 1e-6
"""Share from which on a pixel counts as wholly within."""

_LEAST = 1e-9
"""Share of a pixel below which it does not belong to an area: rounding."""


@dataclass(frozen=True)
class Footprint:
    """Pixels of an area, in the order of rows and columns: ``rows``, ``columns`` and ``weights`` (n,), the
    share of each pixel that lies within; ``area``: of the whole, in pixels, outside of the grid too."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    weights: NDArray[np.float64]
    area: float

    def __len__(self) -> int:
        return len(self.rows)

    def used(self, clear: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which pixels the mean is of, (n,): the ``clear`` ones that lie wholly within, or if there are fewer
        than :data:`INNER`, all clear ones.

        A pixel on the outline shows the neighbour too. Its share weighs it, but nothing takes the neighbour's
        canopy out of its posterior: the mean of a bare field beside a dense one would be too high by far more
        than its interval says (docs/parcels.md).
        """
        inner = clear & (self.weights >= WHOLE)
        return inner if inner.sum() >= INNER else clear


def footprint_of(geometry: BaseGeometry, grid: Grid) -> Footprint:
    """The pixels of polygons in the coordinates of ``grid``, metres."""
    west, _, _, top = grid.bounds
    shapely.prepare(geometry)
    found = [
        _shares(geometry, rows, columns, west, top, grid.resolution)
        for rows, columns in _windows(geometry, grid)
    ]
    rows, columns, weights = (
        np.concatenate([part[k] for part in found]) if found else np.zeros(0, kind)
        for k, kind in enumerate((np.intp, np.intp, np.float64))
    )
    return Footprint(rows, columns, weights, geometry.area / grid.resolution**2)


def _windows(geometry: BaseGeometry, grid: Grid) -> Iterator[tuple[range, range]]:
    """Ranges of rows and columns around a geometry within the grid, few rows at a time."""
    west, _, _, top = grid.bounds
    xmin, ymin, xmax, ymax = geometry.bounds
    first, last = (int(np.floor((x - west) / grid.resolution)) for x in (xmin, xmax))
    columns = range(max(0, first), min(grid.shape[1], last + 1))
    upper, lower = (int(np.floor((top - y) / grid.resolution)) for y in (ymax, ymin))
    rows = range(max(0, upper), min(grid.shape[0], lower + 1))
    if not len(columns):
        return
    step = max(1, _AT_ONCE // len(columns))
    for start in range(rows.start, rows.stop, step):
        yield range(start, min(start + step, rows.stop)), columns


def _shares(
    geometry: BaseGeometry, rows: range, columns: range, west: float, top: float, side: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Rows, columns and shares of those pixels of a window that a geometry covers in part or as a whole."""
    row, column = (each.ravel() for each in np.meshgrid(np.array(rows), np.array(columns), indexing="ij"))
    x, y = west + column * side, top - row * side
    squares = shapely.box(x, y - side, x + side, y)
    share = shapely.covers(geometry, squares).astype(float)
    edge = np.flatnonzero((share == 0) & shapely.intersects(geometry, squares))
    share[edge] = shapely.area(shapely.intersection(geometry, squares[edge])) / side**2
    within = share > _LEAST
    return row[within].astype(np.intp), column[within].astype(np.intp), share[within]


def near_grid(geometries: NDArray[np.object_], grid: Grid) -> NDArray[np.intp]:
    """Which of ``geometries`` (degrees) can have a part within the grid, by their bounds."""
    tile = around(grid.bounds, grid.epsg)
    west, south, east, north = tile.bounds
    bounds = shapely.bounds(geometries)
    by_lat = (bounds[:, 1] <= north) & (bounds[:, 3] >= south)
    by_lon = np.zeros(len(bounds), bool)
    for turn in (-360.0, 0.0, 360.0):
        by_lon |= (bounds[:, 0] + turn <= east) & (bounds[:, 2] + turn >= west)
    return np.array([i for i in np.flatnonzero(by_lat & by_lon) if touch(tile, geometries[i])], dtype=np.intp)


def projected(geometry: BaseGeometry, grid: Grid) -> BaseGeometry:
    """Polygons in degrees in the coordinates of a grid."""
    to_grid = Transformer.from_crs(4326, grid.epsg, always_xy=True)
    dense = shapely.segmentize(geometry, _STRAIGHT)
    return shapely.transform(dense, lambda points: np.stack(to_grid.transform(*points.T), axis=1))


def circle(lon: float, lat: float, radius: float, grid: Grid) -> BaseGeometry:
    """The disc of ``radius`` metres around a point (degrees), in the coordinates of a grid; as a polygon of
    128 corners it has 0.04 % less area."""
    to_grid = Transformer.from_crs(4326, grid.epsg, always_xy=True)
    disc = shapely.Point(0.0, 0.0).buffer(radius, quad_segs=32)
    return affinity.translate(disc, *to_grid.transform(lon, lat))
