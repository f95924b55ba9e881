"""The pixel grid of a tile, and bilinear interpolation from coarse nodes onto it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import Transformer

from canopyflow.errors import DataError

Bounds = tuple[float, float, float, float]
"""West, south, east, north (or xmin, ymin, xmax, ymax in a projection)."""

ALIGNED = 1e-6
"""Share of a pixel by which an edge may miss a multiple of the resolution and still count as on it."""


@dataclass(frozen=True)
class Grid:
    """North-up square pixels in a projected CRS; bounds are pixel edges in metres."""

    epsg: int
    bounds: Bounds
    resolution: float

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        xmin, ymin, xmax, ymax = self.bounds
        return round((ymax - ymin) / self.resolution), round((xmax - xmin) / self.resolution)

    @property
    def x(self) -> npt.NDArray[np.float64]:
        """Easting of the pixel centres, (columns,)."""
        return self.bounds[0] + (np.arange(self.shape[1], dtype=float) + 0.5) * self.resolution

    @property
    def y(self) -> npt.NDArray[np.float64]:
        """Northing of the pixel centres, (rows,), falling."""
        return self.bounds[3] - (np.arange(self.shape[0], dtype=float) + 0.5) * self.resolution

    @property
    def transform(self) -> Affine:
        return Affine(self.resolution, 0.0, self.bounds[0], 0.0, -self.resolution, self.bounds[3])

    def refined(self, factor: int) -> Grid:
        """The same area in pixels ``factor`` times smaller."""
        return Grid(self.epsg, self.bounds, self.resolution / factor)

    def to_dict(self) -> dict[str, Any]:
        return {"epsg": self.epsg, "bounds": list(self.bounds), "resolution": self.resolution}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Grid:
        xmin, ymin, xmax, ymax = (float(v) for v in content["bounds"])
        return cls(int(content["epsg"]), (xmin, ymin, xmax, ymax), float(content["resolution"]))


def grid_of_product(attributes: Mapping[str, Any], sizes: Mapping[Any, int]) -> Grid:
    """The grid of a scene or product store, from its attributes ``epsg`` and ``transform`` and its sizes.

    Pixel centres alone would not tell the pixel size of an axis of one pixel.

    Raises:
        DataError: the store does not say it.
    """
    try:
        epsg, (pixel, _, xmin, _, _, ymax) = int(attributes["epsg"]), map(float, attributes["transform"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"a store does not say where its pixels lie ({error})", "run the stage that writes it again"
        ) from error
    return Grid(epsg, (xmin, ymax - sizes["y"] * pixel, xmin + sizes["x"] * pixel, ymax), pixel)


def snap_outward(bounds: Bounds, resolution: float) -> Bounds:
    """Move every edge outward to a multiple of ``resolution``: neighbouring areas share one lattice."""

    def low(value: float) -> float:
        return math.floor(value / resolution + ALIGNED) * resolution

    def high(value: float) -> float:
        return math.ceil(value / resolution - ALIGNED) * resolution

    xmin, ymin, xmax, ymax = bounds
    return low(xmin), low(ymin), high(xmax), high(ymax)


def intersection(first: Bounds, second: Bounds) -> Bounds | None:
    """Common rectangle, or None where the two only touch or miss each other."""
    xmin, ymin = max(first[0], second[0]), max(first[1], second[1])
    xmax, ymax = min(first[2], second[2]), min(first[3], second[3])
    return (xmin, ymin, xmax, ymax) if xmin < xmax and ymin < ymax else None


def union(boxes: Sequence[Bounds]) -> Bounds:
    """Smallest rectangle around all of ``boxes``."""
    xmins, ymins, xmaxs, ymaxs = zip(*boxes, strict=True)
    return min(xmins), min(ymins), max(xmaxs), max(ymaxs)


def project_area(area: Bounds, epsg: int) -> Bounds:
    """Bounds of a longitude/latitude box in ``epsg``; edges are densified because they bend there."""
    to_grid = Transformer.from_crs(4326, epsg, always_xy=True)
    xmin, ymin, xmax, ymax = to_grid.transform_bounds(*area, densify_pts=21)
    return xmin, ymin, xmax, ymax


def nodes(low: float, high: float, spacing: float) -> npt.NDArray[np.float64]:
    """At least two evenly spaced nodes from ``low`` to ``high``, at most ``spacing`` apart."""
    return np.linspace(low, high, max(1, math.ceil((high - low) / spacing - ALIGNED)) + 1)


def node_weights(at: npt.ArrayLike, positions: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Weights (n, m) of linear interpolation from m monotonic nodes to n positions, constant beyond the ends.

    Bilinear interpolation of ``values`` (my, mx) is then
    ``node_weights(y, y_nodes) @ values @ node_weights(x, x_nodes).T``.
    """
    place = np.asarray(positions, dtype=float)
    target = np.asarray(at, dtype=float)
    order = np.arange(len(place), dtype=float)
    rising = place[-1] > place[0]
    index = np.interp(target, place if rising else place[::-1], order if rising else order[::-1])
    left = np.clip(np.floor(index).astype(int), 0, len(place) - 2)
    share = index - left
    weights = np.zeros((len(target), len(place)))
    rows = np.arange(len(target))
    weights[rows, left] = 1.0 - share
    weights[rows, left + 1] = share
    return weights
