"""The ground: fields with crooked borders in one metric plane, seen by every tile grid alike.

The fields are a binary space partition: a rectangle cut again and again by slightly turned lines, so that
"which field is this point in?" is answered by walking down the cuts, at any resolution and in any projection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from canopyflow.demo.phenology import CROPS, LEVELS, WATER, Canopies, draw_canopies
from canopyflow.demo.randomness import stream
from canopyflow.demo.tiles import CENTRE, PLANE, Tile, transform_points

FINE = 5.0
"""Metres between the points at which a tile looks at the ground: 4 per 10 m pixel, 16 per 20 m pixel."""
_HALF = (2600.0, 2000.0)
_TURN = math.radians(21)
_FIELD_AREA = (4e4, 9e4)
_POND_AXES = (75.0, 45.0)


@dataclass(frozen=True)
class Cut:
    """An inner node: points with ``nx x + ny y < c`` go to ``below``; leaves are field numbers (int)."""

    nx: float
    ny: float
    c: float
    below: Cut | int
    above: Cut | int


@dataclass(frozen=True)
class Landscape:
    """All fields: the cuts, their outlines (plane metres), the pond, and what grows in them."""

    root: Cut | int
    outlines: list[Polygon]
    origin: tuple[float, float]
    pond: tuple[float, float]
    waves: np.ndarray
    canopies: Canopies

    def fields(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Field number of points of the plane, same shape; the pond is the last number."""
        px, py = np.ravel(x) - self.origin[0], np.ravel(y) - self.origin[1]
        found = np.empty(px.size, dtype=np.int64)
        _descend(self.root, px, py, np.arange(px.size), found)
        a, b = _POND_AXES
        found[((px - self.pond[0]) / a) ** 2 + ((py - self.pond[1]) / b) ** 2 < 1] = len(self.outlines)
        return found.reshape(np.shape(x))

    def vigour(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Vigour level 0 .. LEVELS-1 of points: smooth waves of 80 to 400 m, cut into even classes."""
        px, py = np.asarray(x) - self.origin[0], np.asarray(y) - self.origin[1]
        height: np.ndarray = np.zeros(px.shape)
        for kx, ky, phase in self.waves:
            height += np.sin(kx * px + ky * py + phase)
        # A sum of n sines has variance n/2; the map to (0, 1) makes the levels about equally frequent.
        share = 0.5 * (1 + np.tanh(0.8 * height / math.sqrt(len(self.waves) / 2)))
        return np.minimum((share * LEVELS).astype(np.int64), LEVELS - 1)

    def classes(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Class of points, ``field * LEVELS + level``, same shape."""
        return self.fields(x, y) * LEVELS + self.vigour(x, y)


def _descend(node: Cut | int, x: np.ndarray, y: np.ndarray, index: np.ndarray, found: np.ndarray) -> None:
    if isinstance(node, int):
        found[index] = node
        return
    below = node.nx * x[index] + node.ny * y[index] < node.c
    _descend(node.below, x, y, index[below], found)
    _descend(node.above, x, y, index[~below], found)


def _cut(shape: BaseGeometry, rng: np.random.Generator, outlines: list[Polygon]) -> Cut | int:
    """Cut ``shape`` across its longer side until its parts are field-sized; append these to ``outlines``."""
    corners = np.asarray(shape.minimum_rotated_rectangle.exterior.coords)
    sides = np.diff(corners[:3], axis=0)
    longer = sides[np.argmax(np.hypot(*sides.T))]
    if shape.area < rng.uniform(*_FIELD_AREA):
        outlines.append(Polygon(shape.exterior))
        return len(outlines) - 1
    angle = math.atan2(longer[1], longer[0]) + rng.normal(0, 0.07)
    nx, ny = math.cos(angle), math.sin(angle)
    middle = corners[0] + sides.sum(0) / 2 + longer * rng.uniform(-0.12, 0.12)
    c = float(nx * middle[0] + ny * middle[1])
    far = 2e4
    half = np.array([[-far, -far], [0, -far], [0, far], [-far, far]])
    below = Polygon(half @ np.array([[nx, ny], [-ny, nx]]) + c * np.array([nx, ny]))
    return Cut(nx, ny, c, _cut(shape & below, rng, outlines), _cut(shape - below, rng, outlines))


def _crops(count: int, rng: np.random.Generator) -> np.ndarray:
    """Crop of each field: shares as in CROPS, every crop present where there are enough fields."""
    shares = np.array([crop.share for crop in CROPS])
    wanted = np.repeat(np.arange(len(CROPS)), np.ceil(shares * count).astype(int))
    return np.append(rng.permutation(wanted)[:count], WATER)


def build_landscape(seed: int) -> Landscape:
    """Lay out the landscape of a seed around the centre of the demo."""
    rng = stream(seed, "landscape")
    x, y = transform_points(np.array(CENTRE[0]), np.array(CENTRE[1]), 4326, PLANE)
    w, h = _HALF
    turn = np.array([[math.cos(_TURN), math.sin(_TURN)], [-math.sin(_TURN), math.cos(_TURN)]])
    outlines: list[Polygon] = []
    root = _cut(Polygon(np.asarray(box(-w, -h, w, h).exterior.coords) @ turn), rng, outlines)
    length = rng.uniform(80, 400, 9)
    heading = rng.uniform(0, 2 * math.pi, 9)
    waves = np.stack(
        [
            2 * math.pi / length * np.cos(heading),
            2 * math.pi / length * np.sin(heading),
            rng.uniform(0, 2 * math.pi, 9),
        ],
        axis=1,
    )
    canopies = draw_canopies(_crops(len(outlines), rng), seed)
    pond = (float(rng.uniform(-150, 150)), float(rng.uniform(-300, 300)))
    return Landscape(root, outlines, (float(x), float(y)), pond, waves, canopies)


def tile_classes(landscape: Landscape, tile: Tile) -> np.ndarray:
    """Classes of a tile's ground on the fine raster, (rows, columns) at FINE metres."""
    return landscape.classes(*tile.centres(FINE))


def block_mean(values: np.ndarray, factor: int) -> np.ndarray:
    """Area mean over ``factor`` x ``factor`` blocks of the last two axes."""
    rows, columns = values.shape[-2] // factor, values.shape[-1] // factor
    return values.reshape(*values.shape[:-2], rows, factor, columns, factor).mean(axis=(-3, -1))
