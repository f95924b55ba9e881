"""One acquisition of one tile: what the sensor delivers, and the truth below it."""

from dataclasses import dataclass

import numpy as np

from canopyflow.demo.acquisitions import Acquisition
from canopyflow.demo.clouds import NODATA, SHADOW_DEPTH, Sky, classify, make_sky, swath_nodata
from canopyflow.demo.landscape import FINE, Landscape, block_mean
from canopyflow.demo.phenology import LEVELS, WATER
from canopyflow.demo.randomness import stream
from canopyflow.demo.spectra import BANDS, WATER_REFLECTANCE, canopy_reflectance, scene_angles
from canopyflow.demo.tiles import Tile

# Observation noise of the S2 toolbox ATBD (Weiss & Baret): R* = R (1 + MI + MD) + AI + AD. MI and AI are
# common to all bands of a pixel, MD and AD belong to the band; all are drawn per 20 m pixel, because the
# library works at 20 m and a draw per 10 m pixel would be averaged away in four bands and not in the others.
SIGMA_MI, SIGMA_MD = 0.02, 0.02
SIGMA_AI, SIGMA_AD = 0.01, 0.01

TEN_METRE = ("B02", "B03", "B04", "B08")
OFFSET = 1000
"""Added to the digital numbers from processing baseline 04.00 on."""


@dataclass(frozen=True)
class Ground:
    """The ground on a date: reflectance (classes, bands); LAI, leaf chlorophyll, FAPAR, each (classes,)."""

    reflectance: np.ndarray
    lai: np.ndarray
    cab: np.ndarray
    fapar: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A tile's acquisition: noisy reflectance per band (NaN = nodata), classification, truth at 10 m."""

    reflectance: dict[str, np.ndarray]
    scl: np.ndarray
    truth: dict[str, np.ndarray]


def resolution(band: str) -> int:
    """Pixel size of a band in metres."""
    return 10 if band in TEN_METRE else 20


def ground_truth(landscape: Landscape, day_of_year: float) -> tuple[np.ndarray, np.ndarray]:
    """LAI and leaf chlorophyll of every class on a day, (classes,) each; the pond has neither."""
    variables = landscape.canopies.variables(day_of_year)
    dry = (landscape.canopies.crop != WATER)[:, None]
    return (variables["lai"] * dry).ravel(), (variables["cab"] * dry).ravel()


def make_ground(landscape: Landscape, acquisition: Acquisition, present: np.ndarray) -> Ground:
    """The classes ``present`` (NaN for the others) under the geometry of the datatake."""
    variables = landscape.canopies.variables(acquisition.day_of_year)
    lai, cab = ground_truth(landscape, acquisition.day_of_year)
    wet = landscape.canopies.crop[present // LEVELS] == WATER
    grown = present[~wet]
    table, fapar = np.full((lai.size, len(BANDS)), np.nan), np.full(lai.size, np.nan)
    chosen = {name: value.ravel()[grown] for name, value in variables.items()}
    angles = scene_angles(acquisition)
    table[grown], fapar[grown] = canopy_reflectance(chosen, angles, acquisition.platform)
    table[present[wet]], fapar[present[wet]] = WATER_REFLECTANCE, 0.0
    return Ground(table, lai, cab, fapar)


def true_maps(classes: np.ndarray, ground: Ground) -> dict[str, np.ndarray]:
    """Truth of 10 m pixels: area means of LAI, CCC, FAPAR; leaf-area-weighted chlorophyll (NaN: no leaves).

    No leaf is dead: the green area is the leaf area.
    """

    def mean(values: np.ndarray) -> np.ndarray:
        return block_mean(values[classes], round(10 / FINE))

    lai, ccc = mean(ground.lai), mean(ground.lai * ground.cab)
    with np.errstate(invalid="ignore", divide="ignore"):
        cab = np.where(lai > 0, ccc / lai, np.nan)
    return {"lai": lai, "gai": lai, "cab": cab, "ccc": ccc, "fapar": mean(ground.fapar)}


def _noise(seed: int, acquisition: Acquisition, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    """Relative and absolute errors of one acquisition, (bands, rows, columns) at 20 m each."""
    rng = stream(seed, "noise", acquisition.day, tile.name)
    shape = tile.shape(20)
    relative = SIGMA_MI * rng.standard_normal(shape) + SIGMA_MD * rng.standard_normal((len(BANDS), *shape))
    absolute = SIGMA_AI * rng.standard_normal(shape) + SIGMA_AD * rng.standard_normal((len(BANDS), *shape))
    return relative, absolute


def _through_sky(ground: np.ndarray, sky: Sky, tile: Tile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ground (bands, rows, columns) at 10 m as seen from above; cloud opacity; shade (rows, columns)."""
    x, y = tile.centres(10)
    opacity, shade = sky.opacity(x, y), sky.shade(x, y)
    lit = ground * (1 - SHADOW_DEPTH * shade)
    return (1 - opacity) * lit + opacity * sky.cloud_reflectance(x, y), opacity, shade


def make_scene(ground: Ground, acquisition: Acquisition, tile: Tile, classes: np.ndarray, seed: int) -> Scene:
    """Render one tile of an acquisition from its fine ``classes`` (rows, columns at FINE metres)."""
    at_10 = block_mean(np.moveaxis(ground.reflectance[classes], -1, 0), round(10 / FINE))
    seen, opacity, shade = _through_sky(at_10, make_sky(acquisition, seed), tile)
    coarse = (block_mean(at_10, 2), block_mean(opacity, 2), block_mean(shade, 2))
    scl = classify(acquisition, tile, seed, *coarse)
    outside = swath_nodata(acquisition, *tile.centres(20))
    relative, absolute = _noise(seed, acquisition, tile)
    relative[:, outside] = np.nan
    bands = {}
    for i, band in enumerate(BANDS):
        clean, gain, bias = seen[i], relative[i], absolute[i]
        if band in TEN_METRE:
            gain, bias = (np.repeat(np.repeat(field, 2, 0), 2, 1) for field in (gain, bias))
        else:
            clean = block_mean(clean, 2)
        bands[band] = clean * (1 + gain) + bias
    scl[outside] = NODATA
    return Scene(bands, scl, true_maps(classes, ground))


def digital_numbers(reflectance: np.ndarray, baseline: str) -> np.ndarray:
    """Stored numbers of a processing edition, uint16: 0 is nodata, hence observed pixels are at least 1."""
    offset = OFFSET if baseline >= "04.00" else 0
    numbers = np.clip(np.round(reflectance * 1e4) + offset, 1, 65535)
    return np.where(np.isnan(reflectance), 0, numbers).astype(np.uint16)
