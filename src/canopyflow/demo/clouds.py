"""Weather over the landscape, and the scene classification that mostly notices it."""

import math
from dataclasses import dataclass

import numpy as np

from canopyflow.demo.acquisitions import Acquisition, sun_position
from canopyflow.demo.randomness import stream
from canopyflow.demo.tiles import CENTRE, PLANE, Tile, transform_points

CLOUD_REFLECTANCE = np.array([0.60, 0.60, 0.61, 0.62, 0.63, 0.64, 0.65, 0.65, 0.44, 0.33])
SHADOW_DEPTH = 0.62
"""Share of the light that the shadow of an opaque cloud takes away."""
CLOUD_HEIGHT = 450.0
"""Metres; low, so that most shadows fall inside the small tiles."""
NODATA, DARK, SHADOW, VEGETATION, BARE, WATER, UNCLASSIFIED = 0, 2, 3, 4, 5, 6, 7
CLOUD_MEDIUM, CLOUD_HIGH, CIRRUS, SNOW = 8, 9, 10, 11
_CELL = 20.0
_EXTENT = (4400.0, 3400.0)


@dataclass(frozen=True)
class Sky:
    """Optical depth of the clouds on a raster of the plane, and where the sun casts their shadows."""

    depth: np.ndarray
    origin: tuple[float, float]
    shadow_offset: tuple[float, float]
    bright: np.ndarray

    def _sample(self, field: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        from scipy.ndimage import map_coordinates

        rows, columns = (y - self.origin[1]) / _CELL, (x - self.origin[0]) / _CELL
        return np.asarray(map_coordinates(field, [rows, columns], order=1, mode="nearest"))

    def opacity(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Share of the light from clouds at points of the plane, 0 .. 1."""
        return 1 - np.exp(-self._sample(self.depth, x, y))

    def shade(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Depth of the cloud shadow at points of the plane, 0 (none) .. 1."""
        return self.opacity(x - self.shadow_offset[0], y - self.shadow_offset[1])

    def cloud_reflectance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Reflectance of the cloud tops, (bands, ...)."""
        return np.multiply.outer(CLOUD_REFLECTANCE, self._sample(self.bright, x, y))


def _smooth(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """A smooth random field with mean 0 and standard deviation 1; sigma in cells."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return np.asarray((field - field.mean()) / field.std())


def make_sky(acquisition: Acquisition, seed: int) -> Sky:
    """The clouds of one datatake, the same for all its tiles; they cover at most the planned share."""
    rng = stream(seed, "sky", acquisition.day)
    w, h = _EXTENT
    shape = (int(h / _CELL), int(w / _CELL))
    x0, y0 = transform_points(np.array(CENTRE[0]), np.array(CENTRE[1]), 4326, PLANE)
    field = _smooth(rng, shape, 13) + 0.35 * _smooth(rng, shape, 4)
    field = field + acquisition.cloud_east * np.linspace(-1, 1, shape[1])[None, :]
    sharpness = 2.2 if acquisition.cirrus else 6.0
    if acquisition.cloud >= 1:
        depth = 3.5 + np.abs(field)
    else:
        # The share counts over the middle of the plane, where the tiles are.
        middle = field[shape[0] // 4 : -shape[0] // 4, shape[1] // 8 : -shape[1] // 8]
        depth = sharpness * np.clip(field - np.quantile(middle, 1 - acquisition.cloud), 0, None)
        if acquisition.cloud == 0:
            depth = np.zeros(shape)
    zenith, azimuth = sun_position(acquisition.overhead, *(np.array(c) for c in CENTRE))
    length = CLOUD_HEIGHT * math.tan(math.radians(float(zenith)))
    away = math.radians(float(azimuth) + 180)
    bright = 1 + 0.07 * _smooth(rng, shape, 3)
    offset = (length * math.sin(away), length * math.cos(away))
    return Sky(depth, (float(x0) - w / 2, float(y0) - h / 2), offset, bright)


def swath_nodata(acquisition: Acquisition, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Points of the plane beyond the edge of the swath (bool): the track runs 14 degrees west of south."""
    edge = acquisition.orbit.swath_edge
    if edge is None:
        return np.zeros(np.shape(x), dtype=bool)
    x0, y0 = transform_points(np.array(CENTRE[0]), np.array(CENTRE[1]), 4326, PLANE)
    across = (x - float(x0)) * math.cos(math.radians(14)) - (y - float(y0)) * math.sin(math.radians(14))
    return np.asarray(across > edge)


def classify(
    acquisition: Acquisition,
    tile: Tile,
    seed: int,
    reflectance: np.ndarray,
    opacity: np.ndarray,
    shade: np.ndarray,
) -> np.ndarray:
    """A scene classification at 20 m, (rows, columns) uint8: right most of the time.

    ``reflectance`` is that of the ground, (bands, rows, columns), ``opacity`` and ``shade`` (rows, columns).
    Wrong on purpose: thin cloud edges and pale shadows are missed, patches inside clouds are called something
    else, and some bright fields are called cloud.
    """
    rng = stream(seed, "classification", acquisition.day, tile.name)
    shape = opacity.shape
    red, nir = reflectance[2], reflectance[7]
    ndvi = (nir - red) / (nir + red)
    scl = np.where(ndvi > 0.40, VEGETATION, BARE)
    scl[(nir < 0.06) & (ndvi < 0.2)] = WATER
    scl[rng.random(shape) < 0.004] = UNCLASSIFIED
    doubt, patches = _smooth(rng, shape, 1.2), _smooth(rng, shape, 2.0)
    scl[(red > 0.16) & (patches > 1.8)] = CLOUD_MEDIUM
    darkness = shade + 0.12 * doubt
    scl[darkness > 0.35] = SHADOW
    scl[(darkness > 0.35) & (patches > 1.4)] = DARK
    likely = np.where(opacity > 0.02, opacity + 0.08 * doubt, 0.0)
    scl[likely > 0.12] = CIRRUS if acquisition.cirrus else UNCLASSIFIED
    scl[likely > (0.45 if acquisition.cirrus else 0.20)] = CLOUD_MEDIUM
    scl[likely > 0.72] = CLOUD_HIGH
    scl[(likely > 0.2) & (patches > 2.4)] = BARE
    scl[(likely > 0.9) & (patches < -2.6)] = SNOW
    return scl.astype(np.uint8)
