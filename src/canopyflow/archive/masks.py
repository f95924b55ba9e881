"""Which pixels of a scene to believe: scene classification, missing data, nearness to clouds, odd spectra."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from canopyflow.archive.evidence import ANGLES_ASSUMED, DUPLICATE, OFFSET_CORRECTED, OFFSET_DOUBTED, Evidence

NODATA, CLOUD, CLOUD_SHADOW, OTHER_CLASS, NEAR_CLOUD, SUSPICIOUS = 1, 2, 4, 8, 16, 32
DOUBTED_OFFSET, ASSUMED_ANGLES, DUPLICATED = 64, 128, 256
FLAGS = {
    "nodata": NODATA,
    "cloud": CLOUD,
    "cloud_shadow": CLOUD_SHADOW,
    "other_class": OTHER_CLASS,
    "near_cloud": NEAR_CLOUD,
    "suspicious_spectrum": SUSPICIOUS,
    "doubted_offset": DOUBTED_OFFSET,
    "assumed_angles": ASSUMED_ANGLES,
    "duplicate": DUPLICATED,
}
"""Bits of ``quality``, CF flag_meanings."""

EXCLUDING = NODATA | CLOUD | CLOUD_SHADOW | OTHER_CLASS | NEAR_CLOUD | SUSPICIOUS
"""A pixel with one of these is not valid; all other bits inform."""

BIT_OF = {
    OFFSET_CORRECTED: DOUBTED_OFFSET,
    OFFSET_DOUBTED: DOUBTED_OFFSET,
    ANGLES_ASSUMED: ASSUMED_ANGLES,
    DUPLICATE: DUPLICATED,
}
"""Informing bit of a kind of evidence; that an offset cannot be checked sets none."""

CLOUD_CLASSES = (8, 9, 10)
SHADOW_CLASSES = (3,)

# Thresholds of the spectral test, on surface reflectance.
# The haze-optimised test is that of Zhu & Woodcock 2012, doi:10.1016/j.rse.2011.10.028, eq. 3.
HAZE_SLOPE, HAZE_LIMIT = 0.5, 0.08
SNOW_INDEX, SNOW_GREEN = 0.4, 0.1  # NDSI, Dozier 1989, doi:10.1016/0034-4257(89)90101-6
DARK_NIR = 0.05  # darker in the near infrared than leaves or soils in the sun: water or shadow


@dataclass(frozen=True)
class SceneMask:
    """``valid`` (y, x) bool is ``quality`` (y, x) uint16 without excluding bits."""

    valid: npt.NDArray[np.bool_]
    quality: npt.NDArray[np.uint16]


def mask_scene(
    reflectance: npt.NDArray[Any],
    scl: npt.NDArray[Any],
    bands: Sequence[str],
    *,
    valid_scl: Collection[int],
    dilate_pixels: int,
    spectral_test: bool,
    informing: int = 0,
) -> SceneMask:
    """Quality bits of one scene.

    Args:
        reflectance: (band, y, x) in [0, 1], NaN where missing.
        scl: (y, x) scene classification, 0 where missing.
        bands: names along the first axis.
        valid_scl: classes to accept; a cloud class listed here counts as clear.
        dilate_pixels: radius (disk) around cloud and shadow to leave out as well.
        spectral_test: also leave out clear pixels whose spectrum looks like haze, snow, water or shadow.
        informing: bits that all pixels with data carry, see :func:`informing_bits`.
    """
    missing = (scl == 0) | ~np.isfinite(reflectance).all(axis=0)
    accepted = np.isin(scl, sorted(valid_scl))
    cloud = np.isin(scl, CLOUD_CLASSES) & ~accepted
    shadow = np.isin(scl, SHADOW_CLASSES) & ~accepted
    near = dilated(cloud | shadow, dilate_pixels) & ~(cloud | shadow)
    quality = np.where(missing, NODATA, 0)
    quality |= np.where(cloud, CLOUD, 0) | np.where(shadow, CLOUD_SHADOW, 0)
    quality |= np.where(~(accepted | cloud | shadow | (scl == 0)), OTHER_CLASS, 0)
    quality |= np.where(near, NEAR_CLOUD, 0)
    if spectral_test:
        quality |= np.where(suspicious(reflectance, bands) & ~missing, SUSPICIOUS, 0)
    valid = (quality & EXCLUDING) == 0
    quality |= np.where(missing, 0, informing)
    return SceneMask(valid, quality.astype(np.uint16))


def informing_bits(evidence: Iterable[Evidence]) -> int:
    """Bits of ``quality`` that the evidence about a scene sets on all of its pixels."""
    bits = 0
    for found in evidence:
        bits |= BIT_OF.get(found.kind, 0)
    return bits


def dilated(mask: npt.NDArray[np.bool_], radius: int) -> npt.NDArray[np.bool_]:
    """Everything within ``radius`` pixels (Euclidean) of a true pixel."""
    if radius <= 0 or not mask.any():
        return mask
    return np.asarray(ndimage.distance_transform_edt(~mask) <= radius)


def suspicious(reflectance: npt.NDArray[Any], bands: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Spectra that look like haze, snow, water or shadow; each test runs where its bands are there."""
    band = {name: reflectance[i] for i, name in enumerate(bands)}
    odd = np.zeros(reflectance.shape[1:], dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        if {"B02", "B04"} <= band.keys():
            odd |= band["B02"] - HAZE_SLOPE * band["B04"] > HAZE_LIMIT
        if {"B03", "B11"} <= band.keys():
            index = (band["B03"] - band["B11"]) / (band["B03"] + band["B11"])
            odd |= (index > SNOW_INDEX) & (band["B03"] > SNOW_GREEN)
        for infrared in ("B8A", "B08"):
            if infrared in band:
                odd |= band[infrared] < DARK_NIR
                break
    return odd
