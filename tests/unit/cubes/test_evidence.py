"""Evidence in a scene's record reaches the masks and their table, and drops no pixel."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from support_archive import BANDS, write_item

from canopyflow.archive.evidence import ANGLES_ASSUMED, DUPLICATE, OFFSET_DOUBTED, OFFSET_UNKNOWABLE, Evidence
from canopyflow.archive.masks import ASSUMED_ANGLES, DOUBTED_OFFSET, DUPLICATED, EXCLUDING, FLAGS, NODATA
from canopyflow.archive.search import Query, search
from canopyflow.cubes.masks import mask_clouds
from canopyflow.cubes.scenes import fetch_scenes
from canopyflow.cubes.stores import open_masks

EVERYWHERE = {"": (10.7, 46.8, 10.9, 47.0)}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    for day in ("2022-05-01", "2022-05-11"):
        write_item(root, day)
    days = {"start": date(2022, 5, 1), "end": date(2022, 5, 31)}
    query = Query("sentinel-2-l2a", EVERYWHERE, **days, bands=BANDS, resolution=20, max_cloud_cover=100)
    options = {"reader": "stackstac", "asset_base": root, "view_zenith_if_unknown": 5.0}
    fetch_scenes(search(str(root), query), "32TPT", "2022-05", root / "scenes.zarr", bands=BANDS, **options)
    return root / "scenes.zarr"


def masks_with(scenes: Path, *evidence: list[Evidence]) -> tuple[xr.Dataset, list[dict[str, str]]]:
    store = zarr.open_group(scenes, mode="r+")
    records = [
        {**record, "evidence": [found.to_dict() for found in told]}
        for record, told in zip(store.attrs["scenes"], evidence, strict=True)
    ]
    store.attrs["scenes"] = records
    out = scenes.with_name("masks.zarr")
    rules = {"valid_scl": (4, 5), "dilate_pixels": 1, "spectral_test": True}
    mask_clouds(scenes, out, out.with_suffix(".csv"), **rules)
    return open_masks(out).load(), list(csv.DictReader(out.with_suffix(".csv").open()))


def test_evidence_of_a_scene_is_in_the_quality_of_its_pixels(scenes: Path) -> None:
    plain, lines = masks_with(scenes, [], [])
    assert [line["evidence"] for line in lines] == ["", ""]
    told = [Evidence(OFFSET_DOUBTED, "dark"), Evidence(ANGLES_ASSUMED, "5"), Evidence(DUPLICATE, "b")]
    doubted, lines = masks_with(scenes, told, [Evidence(OFFSET_UNKNOWABLE, "a desert")])
    assert [line["evidence"] for line in lines] == [
        "offset_doubted angles_assumed duplicate",
        "offset_unknowable",
    ]
    assert doubted.quality.dtype == np.uint16
    meanings, bits_of = (doubted.quality.attrs[name] for name in ("flag_meanings", "flag_masks"))
    assert dict(zip(meanings.split(), bits_of, strict=True)) == FLAGS
    bits = DOUBTED_OFFSET | ASSUMED_ANGLES | DUPLICATED
    quality = doubted.quality.values
    before = plain.quality.values[0]
    np.testing.assert_array_equal(quality[0], np.where(before & NODATA, before, before | bits))
    assert (quality[0] != before).any()
    np.testing.assert_array_equal(quality[1], plain.quality.values[1])
    np.testing.assert_array_equal(doubted.valid.values, plain.valid.values)
    np.testing.assert_array_equal(doubted.valid.values, (quality & EXCLUDING) == 0)
    assert doubted.valid.values.any()
