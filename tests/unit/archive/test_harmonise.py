"""The radiometric offset: every catalogue's convention, on real items, and declared scales."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_archive import real_data

from canopyflow.archive.harmonise import (
    apply_offset,
    as_dn,
    asset_scaling,
    decide_offset,
    metadata_offset,
    offset_applied,
)
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


@pytest.mark.parametrize("name", ["earthsearch", "sentinel", "s2"])
@pytest.mark.parametrize("value", [True, "true", "True", " TRUE ", 1, 1.0, "1", "yes"])
def test_flag_is_true_in_every_spelling(name: str, value: Any) -> None:
    decision = decide_offset(item("05.09", **{f"{name}:boa_offset_applied": value}), metadata_offset=-1000)
    assert decision.offset == 0
    assert decision.reason.startswith(f"{name}:boa_offset_applied is true")


@pytest.mark.parametrize("value", [False, "false", "False", 0, 0.0, "0", "no"])
def test_flag_is_false_in_every_spelling(value: Any) -> None:
    decision = decide_offset(item("05.09", **{"sentinel:boa_offset_applied": value}))
    assert decision.offset == -1000
    assert "sentinel:boa_offset_applied is false" in decision.reason
    assert decide_offset(item("02.12", **{"sentinel:boa_offset_applied": value})).offset == 0


@pytest.mark.parametrize("value", ["perhaps", 2, "", [], {}, float("nan")])
def test_flag_that_says_neither_is_named(value: Any) -> None:
    with pytest.raises(ArchiveError, match=r"earthsearch:boa_offset_applied is .*, neither true nor false"):
        decide_offset(item("05.09", **{"earthsearch:boa_offset_applied": value}))


def test_flags_that_contradict_each_other_are_named_and_null_is_silence() -> None:
    both = {"earthsearch:boa_offset_applied": True, "sentinel:boa_offset_applied": "false"}
    with pytest.raises(ArchiveError, match="contradict each other"):
        decide_offset(item("05.09", **both))
    assert offset_applied(item("05.09", **{"sentinel:boa_offset_applied": None})) == (None, "")


def declares(baseline: str | None = "05.09", **fields: Any) -> dict[str, Any]:
    sample = item(baseline)
    sample["assets"] = {name: {"href": f"{name}.tif", **fields} for name in ("B02", "B04", "SCL")}
    return sample


@pytest.mark.parametrize(
    "fields",
    [
        {"raster:bands": [{"scale": 0.0002}]},
        {"raster:bands": [{"scale": "2e-4"}]},
        {"raster:scale": 0.0002},
        {"bands": [{"raster:scale": 0.0002}]},
        {"bands": [{"scale": 0.0002, "data_type": "uint16"}]},
    ],
)
def test_declared_scale_is_used_wherever_it_is_written(fields: dict[str, Any]) -> None:
    scaling = asset_scaling(declares(**fields), "B04", "uint16")
    assert (scaling.scale, scaling.plain) == (0.0002, False)
    dn = as_dn(np.array([0, 1, 100, 65535], np.uint16), scaling)
    assert dn.dtype == np.uint16
    assert dn.tolist() == [0, 2, 200, 65535]
    assert asset_scaling(declares(**fields), "SCL", "uint8").plain


def test_common_case_needs_no_conversion_and_keeps_its_array() -> None:
    for fields in ({}, {"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}, {"raster:scale": 1}):
        scaling = asset_scaling(declares(**fields), "B04", "uint16")
        assert scaling.plain
        numbers = np.array([0, 1, 65535], np.uint16)
        assert as_dn(numbers, scaling) is numbers


def test_floats_and_signed_numbers_need_a_declared_scale() -> None:
    for dtype in ("float32", "float64", "int16", "int32"):
        with pytest.raises(ArchiveError, match=f"x: asset B04 holds {dtype} and declares no scale"):
            asset_scaling(declares(), "B04", dtype)
    with pytest.raises(ArchiveError, match="asset B02 holds float32 and declares no scale"):
        decide_offset(declares(**{"raster:bands": [{"data_type": "float32"}]}))
    with pytest.raises(ArchiveError, match="holds complex64"):
        asset_scaling(declares(**{"raster:scale": 1}), "B04", "complex64")


def test_numbers_of_any_type_become_dn() -> None:
    floats = np.array([0, np.nan, np.inf, -np.inf, 1e20, -9999, -0.01, 0.03, 0.00001, 9], np.float32)
    scaling = asset_scaling(declares(**{"raster:scale": 1}), "B04", "float32")
    assert as_dn(floats, scaling, -9999).tolist() == [0, 0, 0, 0, 0, 0, 1, 300, 1, 65535]
    signed = np.array([-9999, -50, 0, 1, 300], np.int16)
    scaling = asset_scaling(declares(**{"raster:scale": 1e-4}), "B04", "int16")
    assert not scaling.plain
    assert as_dn(signed, scaling, -9999.0).tolist() == [0, 1, 0, 1, 300]
    assert as_dn(signed, scaling, float("nan")).tolist() == [1, 1, 0, 1, 300]
    plain = asset_scaling(declares(), "B04", "uint16")
    assert as_dn(np.array([0, 5, 65535], np.uint16), plain, 65535).tolist() == [0, 5, 0]


@pytest.mark.parametrize("scale", ["much", 0, -1e-4, float("nan"), float("inf"), [1]])
def test_scale_that_is_no_positive_number_is_named(scale: Any) -> None:
    with pytest.raises(ArchiveError, match=r"x: asset B0[24] declares the scale"):
        asset_scaling(declares(**{"raster:scale": scale}), "B04")
    with pytest.raises(ArchiveError, match="declares the scale"):
        decide_offset(declares(**{"raster:scale": scale}))


def test_archive_that_rewrote_the_numbers_declares_their_offset() -> None:
    assert decide_offset(declares(**{"raster:scale": 2e-4})).offset == 0
    assert decide_offset(declares(**{"raster:scale": 2e-4, "raster:offset": -0.1})).offset == -1000
    unknown_baseline = decide_offset(declares(None, **{"raster:scale": 2e-4, "raster:offset": -0.05}))
    assert unknown_baseline.offset == -500
    reflectance = declares(**{"raster:bands": [{"scale": 1, "data_type": "float32"}]})
    assert decide_offset(reflectance).offset == 0
    # Where 1 stands for nothing, the baseline decides as ever.
    assert decide_offset(declares(**{"raster:scale": 1})).offset == -1000
    floats = {"B02": "float32", "B04": "float32"}
    assert decide_offset(declares(**{"raster:scale": 1}), dtypes=floats).offset == 0
    differing = declares(**{"raster:scale": 2e-4})
    differing["assets"]["B04"]["raster:offset"] = -0.1
    with pytest.raises(ArchiveError, match="different offsets"):
        decide_offset(differing)


def test_bands_that_are_stored_differently_are_refused_by_name() -> None:
    """One offset cannot be right for all of them."""
    sample = declares()
    sample["assets"]["B04"]["raster:scale"] = 2e-4
    with pytest.raises(ArchiveError, match="x: another scale than 1e-4 is declared for B04, not"):
        decide_offset(sample)
    with pytest.raises(ArchiveError, match="x: another scale than 1e-4 is declared for B04, not"):
        decide_offset(
            declares(**{"raster:scale": 1}), dtypes={"B02": "uint16", "B04": "float32", "SCL": "uint8"}
        )
    # A band that nobody reads does not matter.
    assert decide_offset(sample, dtypes={"B02": "uint16"}).offset == -1000


@pytest.mark.parametrize("offset", [-0.1, "-0.1", -1000])
def test_declared_offset_agrees_in_reflectance_and_in_dn(offset: Any) -> None:
    sample = declares(**{"raster:scale": 1e-4, "raster:offset": offset})
    assert "disagrees" not in decide_offset(sample).reason
    assert "disagrees" in decide_offset({**sample, "properties": item("02.12")["properties"]}).reason


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
@pytest.mark.parametrize(
    ("name", "offset", "reason"),
    [
        ("items/earth-search-v1_2025.json", 0, "must not be applied again"),
        ("items/sentinel-cogs-v0.json", 0, "processing baseline 02.12"),
        ("items/sinergise_antimeridian.json", -1000, "processing baseline 05.09"),
        ("earth-search_33TWM_20230813/S2B_33TWM_20230813_0_L2A.json", 0, "must not be applied again"),
    ],
)
def test_items_of_other_catalogues(name: str, offset: int, reason: str) -> None:
    decision = decide_offset(json.loads((real_data() / "archive_samples" / name).read_text()))
    assert decision.offset == offset
    assert reason in decision.reason


@pytest.mark.real
def test_every_swiss_item_against_the_recorded_restoration() -> None:
    root = real_data() / "swiss_wheat_2022"
    rows = list(csv.DictReader((root / "dn_restoration.csv").open()))
    for row in rows:
        path: Path = root / "sentinel-2-l2a" / row["item_id"] / f"{row['item_id']}.json"
        decision = decide_offset(json.loads(path.read_text()))
        assert decision.offset == (0 if row["processing_baseline"] == "02.11" else -1000), row["item_id"]
    assert len(rows) == 149
