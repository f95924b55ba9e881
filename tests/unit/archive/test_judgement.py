"""The pixel check of the offset: right over vegetation, silent where it cannot know, on real scenes too."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from support_archive import real_data

from canopyflow.archive.evidence import OFFSET_CORRECTED, OFFSET_DOUBTED, OFFSET_UNKNOWABLE
from canopyflow.archive.harmonise import OFFSET, OffsetDecision, apply_offset, decide_offset
from canopyflow.archive.judgement import (
    CONTRADICTED,
    DOUBTED,
    SUPPORTED,
    UNKNOWABLE,
    Judgement,
    corrected,
    judge,
)

BANDS = ("B02", "B03", "B04", "B8A", "B11", "B12")
SPECTRA = {
    "wheat": [0.020, 0.036, 0.022, 0.415, 0.129, 0.066],
    "forest": [0.008, 0.018, 0.009, 0.22, 0.09, 0.035],
    "sparse": [0.055, 0.08, 0.075, 0.28, 0.24, 0.16],
    "desert": [0.16, 0.21, 0.28, 0.38, 0.45, 0.42],
    "soil": [0.05, 0.06, 0.08, 0.12, 0.2, 0.18],
    "water": [0.04, 0.04, 0.025, 0.014, 0.008, 0.006],
    "snow": [0.9, 0.88, 0.86, 0.8, 0.1, 0.08],
}
CLASS = {"wheat": 4, "forest": 4, "sparse": 4, "desert": 5, "soil": 5, "water": 6, "snow": 11}
NONE, IN = OffsetDecision(0, "none"), OffsetDecision(OFFSET, "baseline")


def scene(name: str, carried: int, side: int = 40, veil: float = 0.0) -> NDArray[np.uint16]:
    """DN of an archive whose pixels still need the offset ``carried``."""
    g = np.random.default_rng(0)
    shape = (len(BANDS), side, side)
    ground = np.reshape(SPECTRA[name], (-1, 1, 1)) * g.normal(1, 0.05, (1, side, side))
    haze = veil * np.reshape([1.0, 0.8, 0.6, 0.4, 0.1, 0.05], (-1, 1, 1))
    return np.rint((ground + haze + g.normal(0, 0.002, shape)) * 1e4 - carried).clip(1).astype(np.uint16)


def verdict(name: str, carried: int, decision: OffsetDecision, **made: float) -> Judgement:
    dn = scene(name, carried, **made)  # type: ignore[arg-type]
    return judge(dn, np.full(dn.shape[1:], CLASS[name]), BANDS, decision)


@pytest.mark.parametrize("name", ["wheat", "forest", "sparse"])
def test_vegetation_supports_what_is_right_and_contradicts_what_is_wrong(name: str) -> None:
    for carried, right, wrong in ((0, NONE, IN), (OFFSET, IN, NONE)):
        assert verdict(name, carried, right).verdict == SUPPORTED
        found = verdict(name, carried, wrong)
        assert (found.verdict, found.offset) == (CONTRADICTED, carried)
        assert found.evidence().kind == OFFSET_CORRECTED  # type: ignore[union-attr]
        assert verdict(name, carried, corrected(wrong, found)).verdict == SUPPORTED


@pytest.mark.parametrize("name", ["desert", "snow"])
@pytest.mark.parametrize("decision", [NONE, IN])
@pytest.mark.parametrize("carried", [0, OFFSET])
def test_bright_ground_says_that_it_cannot_know(name: str, decision: OffsetDecision, carried: int) -> None:
    found = verdict(name, carried, decision)
    assert (found.verdict, found.offset) == (UNKNOWABLE, decision.offset)
    assert found.evidence().kind == OFFSET_UNKNOWABLE  # type: ignore[union-attr]


def test_desert_that_is_classified_as_vegetation_is_no_vegetation() -> None:
    for carried in (0, OFFSET):
        dn = scene("desert", carried)
        for decision in (NONE, IN):
            assert judge(dn, np.full((40, 40), 4), BANDS, decision).verdict == UNKNOWABLE


def test_reflectance_cannot_be_negative_on_any_ground() -> None:
    for name in ("soil", "water"):
        assert verdict(name, 0, IN).verdict == CONTRADICTED
        assert verdict(name, 0, NONE).verdict == SUPPORTED
        assert verdict(name, OFFSET, IN).verdict == UNKNOWABLE


def test_bright_water_is_doubted_for_it_may_be_sun_glint() -> None:
    assert verdict("water", OFFSET, NONE).verdict == DOUBTED


def test_haze_is_doubted_and_not_corrected() -> None:
    found = verdict("wheat", 0, NONE, veil=0.15)
    assert found.verdict == DOUBTED
    assert "haze" in found.detail
    assert found.evidence().kind == OFFSET_DOUBTED  # type: ignore[union-attr]
    dn = scene("wheat", 0, veil=0.15)
    without_swir = judge(dn[:4], np.full((40, 40), 4), BANDS[:4], NONE)
    assert (without_swir.verdict, "more blue than red" in without_swir.detail) == (DOUBTED, True)
    dn[:4] += 300
    dn[0] = dn[2]
    grey = judge(dn, np.full((40, 40), 4), BANDS, NONE)
    assert (grey.verdict, "short-wave infrared" in grey.detail) == (DOUBTED, True)
    assert verdict("wheat", 0, NONE, veil=0.03).verdict == SUPPORTED
    assert verdict("wheat", OFFSET, NONE, veil=0.03).verdict == CONTRADICTED


def test_few_pixels_and_many_clouds_do_not_decide() -> None:
    dn, scl = scene("wheat", OFFSET), np.full((40, 40), 9)
    scl[0, :29] = 4
    few = judge(dn, scl, BANDS, NONE)
    assert (few.verdict, few.detail) == (UNKNOWABLE, "offset cannot be checked: 29 pixels of vegetation")
    scl[0, :30] = 4
    clouded = judge(dn, scl, BANDS, NONE)
    assert clouded.verdict == DOUBTED
    assert "clouds on 98%" in clouded.detail


def test_missing_data_and_missing_bands() -> None:
    dn, scl = scene("wheat", OFFSET), np.full((40, 40), 4)
    dn[2, :20] = 0
    assert judge(dn, scl, BANDS, NONE).verdict == CONTRADICTED
    assert judge(np.zeros_like(dn), scl, BANDS, NONE).verdict == UNKNOWABLE
    assert judge(dn[3:], scl, BANDS[3:], NONE).verdict == UNKNOWABLE
    assert judge(dn[:3], scl, BANDS[:3], NONE).verdict == CONTRADICTED
    assert judge(dn, scl, BANDS, OffsetDecision(-500, "declared")).verdict == UNKNOWABLE


def test_a_corrected_decision_says_what_was_overruled() -> None:
    decision = corrected(IN, verdict("wheat", 0, IN))
    assert decision.offset == 0
    assert "already removed" in decision.reason
    assert "overruled: -1000, baseline" in decision.reason


def other(carried: int) -> int:
    return OFFSET if carried == 0 else 0


def tally(dn: NDArray[np.uint16], scl: NDArray[np.uint8], bands: list[str], carried: int) -> Iterator[str]:
    """Verdicts on the right and the wrong declaration, of the pixels as they are and moved the other way."""
    for truth in (carried, other(carried)):
        numbers = apply_offset(dn, carried - truth)
        for decided in (truth, other(truth)):
            found = judge(numbers, scl, bands, OffsetDecision(decided, "")).verdict
            yield f"{'right' if decided == truth else 'wrong'} {found}"


@pytest.mark.real
def test_alpine_scene_against_its_flag() -> None:
    folder = real_data() / "archive_samples" / "earth-search_33TWM_20230813"
    bands = ["B02", "B03", "B04", "B08"]
    dn = np.stack([rasterio.open(folder / f"{band}.tif").read(1) for band in bands])
    scl = rasterio.open(folder / "SCL.tif").read(1)
    item = json.loads((folder / "S2B_33TWM_20230813_0_L2A.json").read_text())
    assert judge(dn, scl, bands, decide_offset(item)).verdict == SUPPORTED
    again = judge(dn, scl, bands, IN)
    assert (again.verdict, again.offset) == (CONTRADICTED, 0)
    left_in = judge(apply_offset(dn, 1000), scl, bands, NONE)
    assert (left_in.verdict, left_in.offset) == (CONTRADICTED, OFFSET)
    counts: Counter[str] = Counter()
    for row, column in np.ndindex(14, 14):
        cut = np.s_[61 * row : 61 * row + 61, 61 * column : 61 * column + 61]
        counts.update(tally(dn[(..., *cut)], scl[cut], bands, 0))
    assert counts == {"right supported": 392, "wrong contradicted": 392}


@pytest.mark.real
def test_swiss_scenes_are_never_contradicted_and_nearly_always_sure() -> None:
    root = real_data() / "swiss_wheat_2022" / "sentinel-2-l2a"
    counts: Counter[str] = Counter()
    for path in sorted(root.glob("*/*.json")):
        bands = [band for band in BANDS if (path.parent / f"{band}.tif").exists()]
        dn = np.stack([rasterio.open(path.parent / f"{band}.tif").read(1) for band in bands])
        scl = rasterio.open(path.parent / "SCL.tif").read(1)
        counts.update(tally(dn, scl, bands, decide_offset(json.loads(path.read_text())).offset))
    assert counts["right contradicted"] == counts["right doubted"] == counts["wrong supported"] == 0
    assert counts["wrong contradicted"] >= 0.94 * 298
