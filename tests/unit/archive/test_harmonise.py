"""The radiometric offset: every catalogue's convention, on real items, and the doubt from pixels."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from support_archive import real_data

from canopyflow.archive.harmonise import apply_offset, check_residual_offset, decide_offset, metadata_offset
from canopyflow.errors import ArchiveError


def item(baseline: str | None, **properties: Any) -> dict[str, Any]:
    known = {} if baseline is None else {"s2:processing_baseline": baseline}
    return {"id": "x", "collection": "sentinel-2-l2a", "properties": {**known, **properties}, "assets": {}}


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [("02.11", 0), ("03.01", 0), ("04.00", -1000), ("05.11", -1000), ("99.99", -1000), ("5.9", -1000)],
)
def test_baseline_decides_and_not_the_date(baseline: str, offset: int) -> None:
    assert decide_offset(item(baseline, datetime="2018-01-01T00:00:00Z")).offset == offset


def test_flag_of_earth_search_comes_before_all_else() -> None:
    decision = decide_offset(item("05.09", **{"earthsearch:boa_offset_applied": True}), metadata_offset=-1000)
    assert decision.offset == 0
    decision = decide_offset(item("05.09", **{"earthsearch:boa_offset_applied": False}))
    assert decision.offset == -1000
    assert "boa_offset_applied is false" in decision.reason


def test_declared_band_offset_is_reported_and_not_believed() -> None:
    sample = item("05.09")
    sample["assets"]["B04"] = {"href": "B04.tif", "raster:bands": [{"scale": 0.0001, "offset": 0}]}
    decision = decide_offset(sample)
    assert decision.offset == -1000
    assert "disagrees" in decision.reason


def test_product_metadata_decides_where_the_baseline_is_unknown() -> None:
    assert decide_offset(item(None), metadata_offset=-1000).offset == -1000
    with pytest.raises(ArchiveError, match="no processing baseline"):
        decide_offset(item(None))


def test_offset_leaves_nodata_and_keeps_dark_pixels() -> None:
    dn = np.array([0, 1, 999, 1000, 1001, 3000, 65535], dtype=np.uint16)
    assert apply_offset(dn, -1000).tolist() == [0, 1, 1, 1, 1, 2000, 64535]
    assert apply_offset(dn, 0).tolist() == dn.tolist()


def test_metadata_that_is_hostile_or_inconsistent_is_an_archive_error() -> None:
    for xml in (b"not xml", b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'):
        with pytest.raises(ArchiveError):
            metadata_offset(xml)
    with pytest.raises(ArchiveError, match="differs"):
        metadata_offset(b"<x><BOA_ADD_OFFSET>0</BOA_ADD_OFFSET><BOA_ADD_OFFSET>-1000</BOA_ADD_OFFSET></x>")


def test_doubt_from_pixels() -> None:
    rng = np.random.default_rng(0)
    scl = np.full((20, 20), 4)
    leaves = rng.uniform(0.01, 0.08, (3, 20, 20))
    bands = ["B02", "B03", "B04"]
    assert check_residual_offset(leaves, scl, bands) is None
    assert "may still be in" in str(check_residual_offset(leaves + 0.1, scl, bands))
    assert "removed twice" in str(check_residual_offset(np.maximum(leaves - 0.1, 1e-4), scl, bands))
    assert check_residual_offset(leaves + 0.1, np.full((20, 20), 9), bands) is None


@pytest.mark.real
@pytest.mark.parametrize(("name", "offset"), [("0212", 0), ("0511", -1000)])
def test_planetary_computer_items(name: str, offset: int) -> None:
    path = real_data() / "archive_samples" / "items" / f"planetary-computer_baseline-{name}.json"
    assert decide_offset(json.loads(path.read_text())).offset == offset


@pytest.mark.real
@pytest.mark.parametrize(("pattern", "offset"), [("*N0400*", -1000), ("*N0212*", 0)])
def test_safe_metadata(pattern: str, offset: int) -> None:
    (folder,) = (real_data() / "archive_samples" / "safe_metadata").glob(pattern)
    assert metadata_offset((folder / "MTD_MSIL2A.xml").read_bytes()) == offset
    assert metadata_offset((folder / "MTD_TL.xml").read_bytes()) is None
    converted = json.loads((folder / "expected_output.json").read_text())
    assert decide_offset(converted).offset == offset


@pytest.mark.real
def test_earth_search_flag_against_its_own_pixels() -> None:
    folder = real_data() / "archive_samples" / "earth-search_33TWM_20230813"
    sample = json.loads((folder / "S2B_33TWM_20230813_0_L2A.json").read_text())
    decision = decide_offset(sample)
    assert decision.offset == 0
    assert "must not be applied again" in decision.reason
    bands = ["B02", "B03", "B04"]
    dn = np.stack([rasterio.open(folder / f"{band}.tif").read(1) for band in bands])
    scl = rasterio.open(folder / "SCL.tif").read(1)

    def reflectance(offset: int) -> np.ndarray:
        stored = apply_offset(dn, offset)
        return np.where(stored == 0, np.nan, stored * 1e-4)

    right = reflectance(decision.offset)
    assert np.nanmedian(right[2][scl == 4]) == pytest.approx(0.025, abs=0.003)
    assert check_residual_offset(right, scl, bands) is None
    assert "removed twice" in str(check_residual_offset(reflectance(-1000), scl, bands))


@pytest.mark.real
def test_every_swiss_item_against_the_recorded_restoration() -> None:
    root = real_data() / "swiss_wheat_2022"
    rows = list(csv.DictReader((root / "dn_restoration.csv").open()))
    for row in rows:
        path: Path = root / "sentinel-2-l2a" / row["item_id"] / f"{row['item_id']}.json"
        decision = decide_offset(json.loads(path.read_text()))
        assert decision.offset == (0 if row["processing_baseline"] == "02.11" else -1000), row["item_id"]
    assert len(rows) == 149


@pytest.mark.real
def test_doubt_on_every_swiss_scene() -> None:
    """With the right decision only the one hazy scene that the data's own notes name is doubted."""
    root = real_data() / "swiss_wheat_2022" / "sentinel-2-l2a"
    bands = ["B02", "B03", "B04"]
    doubted: dict[str, list[str]] = {"right": [], "nothing removed": []}
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        dn = np.stack([rasterio.open(folder / f"{band}.tif").read(1) for band in bands])
        scl = rasterio.open(folder / "SCL.tif").read(1)
        decided = decide_offset(json.loads((folder / f"{folder.name}.json").read_text())).offset
        for name, offset in {"right": decided, "nothing removed": 0}.items():
            stored = apply_offset(dn, offset)
            if check_residual_offset(np.where(stored == 0, np.nan, stored * 1e-4), scl, bands):
                doubted[name].append(folder.name)
    assert [name for name in doubted["right"] if "20220728" not in name] == []
    assert len(doubted["right"]) == 1
    assert len(doubted["nothing removed"]) > 100
