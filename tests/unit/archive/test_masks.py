"""Masks: each reason sets its bit, and valid means that there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from canopyflow.archive.evidence import KINDS, Evidence
from canopyflow.archive.masks import (
    ASSUMED_ANGLES,
    CLOUD,
    CLOUD_SHADOW,
    DOUBTED_OFFSET,
    DUPLICATED,
    EXCLUDING,
    FLAGS,
    NEAR_CLOUD,
    NODATA,
    OTHER_CLASS,
    SUSPICIOUS,
    SceneMask,
    dilated,
    informing_bits,
    mask_scene,
)

BANDS = ["B02", "B03", "B04", "B8A", "B11"]
LEAVES = np.array([0.03, 0.06, 0.04, 0.35, 0.18])


def scene(scl: Any, **changes: Any) -> SceneMask:
    classes = np.asarray(scl)
    reflectance = np.broadcast_to(LEAVES[:, None, None], (5, *classes.shape)).copy()
    for place, spectrum in changes.pop("at", {}).items():
        reflectance[:, *place] = spectrum
    rules = {"valid_scl": [4, 5], "dilate_pixels": 0, "spectral_test": True} | changes
    return mask_scene(reflectance, classes, BANDS, **rules)


def test_each_class_has_its_reason() -> None:
    mask = scene([[4, 5, 0, 9, 10, 3, 6, 11]])
    assert mask.quality.tolist() == [[0, 0, NODATA, CLOUD, CLOUD, CLOUD_SHADOW, OTHER_CLASS, OTHER_CLASS]]
    assert mask.valid.tolist() == [[True, True] + [False] * 6]
    assert scene([[10]], valid_scl=[4, 10]).valid.all()


def test_one_missing_band_makes_a_pixel_nodata() -> None:
    mask = scene([[4, 4]], at={(0, 1): [0.03, np.nan, 0.04, 0.35, 0.18]})
    assert mask.quality.tolist() == [[0, NODATA]]


def test_evidence_informs_and_masks_nothing() -> None:
    bits = {kind: informing_bits([Evidence(kind, "")]) for kind in KINDS}
    assert bits == {
        "offset_corrected": DOUBTED_OFFSET,
        "offset_doubted": DOUBTED_OFFSET,
        "offset_unknowable": 0,
        "angles_assumed": ASSUMED_ANGLES,
        "duplicate": DUPLICATED,
    }
    every = informing_bits([Evidence(kind, "") for kind in KINDS])
    assert every == sum(FLAGS.values()) - EXCLUDING
    mask = scene([[4, 9, 0]], informing=every)
    assert mask.valid.tolist() == [[True, False, False]]
    assert mask.quality.dtype == np.uint16
    assert mask.quality.tolist() == [[every, CLOUD | every, NODATA]]


def test_dilation_is_a_disk() -> None:
    scl = np.full((7, 7), 4)
    scl[3, 3] = 8
    near = scene(scl, dilate_pixels=2).quality
    assert near[3, 3] == CLOUD
    assert near[3, 5] == near[1, 3] == near[2, 2] == NEAR_CLOUD
    assert near[1, 1] == near[3, 6] == 0


def test_odd_spectra_are_suspicious_and_fields_are_not() -> None:
    soil = [0.10, 0.14, 0.19, 0.28, 0.33]
    odd = {
        "haze": [0.16, 0.17, 0.15, 0.35, 0.25],
        "snow": [0.7, 0.7, 0.7, 0.65, 0.1],
        "water": [0.05, 0.05, 0.03, 0.02, 0.01],
    }
    at = {(0, i): spectrum for i, spectrum in enumerate([soil, *odd.values()])}
    assert scene([[4, 4, 4, 4, 4]], at=at).quality.tolist() == [[0, SUSPICIOUS, SUSPICIOUS, SUSPICIOUS, 0]]
    assert scene([[4, 4, 4, 4, 4]], at=at, spectral_test=False).valid.all()


@given(st.integers(0, 2**32 - 1), st.integers(0, 4))
def test_valid_is_the_absence_of_any_reason(seed: int, radius: int) -> None:
    rng = np.random.default_rng(seed)
    mask = scene(rng.integers(0, 12, (12, 12)), dilate_pixels=radius)
    np.testing.assert_array_equal(mask.valid, mask.quality == 0)
    assert (mask.quality < 2 * max(FLAGS.values())).all()
    wider = scene(rng.integers(0, 12, (12, 12)), dilate_pixels=radius)
    assert wider.valid.shape == mask.valid.shape


def test_dilating_nothing_gives_nothing() -> None:
    assert not dilated(np.zeros((3, 3), dtype=bool), 5).any()
