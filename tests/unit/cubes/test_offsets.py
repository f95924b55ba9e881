"""What an archive says about scale and offset, and what its pixels say, from the item to the scene store."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from support_archive import BANDS, save_item, write_item

from canopyflow.archive.masks import ASSUMED_ANGLES, DOUBTED_OFFSET
from canopyflow.archive.search import Query, search
from canopyflow.cubes.masks import mask_clouds
from canopyflow.cubes.scenes import fetch_scenes
from canopyflow.cubes.stores import open_masks, open_scenes

EVERYWHERE = {"": (10.7, 46.8, 10.9, 47.0)}


class Fetched:
    """The one scene of an archive: its record, reflectance (band, y, x), quality bits of clear pixels."""

    def __init__(self, root: Path, **options: Any) -> None:
        days = {"start": date(2022, 5, 1), "end": date(2022, 5, 31)}
        query = Query("sentinel-2-l2a", EVERYWHERE, **days, bands=BANDS, resolution=20, max_cloud_cover=100)
        settings = {"reader": "stackstac", "asset_base": root, "view_zenith_if_unknown": 5.0} | options
        out = root / "out"
        fetch_scenes(search(str(root), query), "32TPT", "2022-05", out / "s.zarr", bands=BANDS, **settings)
        rules = {"valid_scl": (4, 5), "dilate_pixels": 0, "spectral_test": False}
        mask_clouds(out / "s.zarr", out / "m.zarr", out / "m.csv", **rules)
        scenes, masks = open_scenes(out / "s.zarr"), open_masks(out / "m.zarr")
        (self.record,) = scenes.attrs["scenes"]
        self.kinds = [found["kind"] for found in self.record["evidence"]]
        self.reflectance = scenes.reflectance.values[0]
        self.bits = set(np.unique(masks.quality.values[masks.valid.values]).tolist())


def rewrite(root: Path, item: dict[str, Any], change: Any, dtype: str, nodata: float | None = 0) -> None:
    """Replace the numbers of every band by ``change`` of them, in files of ``dtype``."""
    for band in BANDS:
        path = root / "sentinel-2-l2a" / item["id"] / f"{band}.tif"
        with rasterio.open(path) as file:
            profile, numbers = file.profile, file.read(1)
        path.unlink()
        with rasterio.open(path, "w", **{**profile, "dtype": dtype, "nodata": nodata}) as file:
            file.write(change(numbers).astype(dtype), 1)


@pytest.fixture
def truth(tmp_path: Path) -> Fetched:
    """The scene as its baseline says: offset in."""
    write_item(tmp_path / "plain")
    return Fetched(tmp_path / "plain")


def test_wrong_flag_is_overruled_by_the_pixels(truth: Fetched, tmp_path: Path) -> None:
    write_item(tmp_path, **{"earthsearch:boa_offset_applied": "True"})
    found = Fetched(tmp_path)
    np.testing.assert_array_equal(found.reflectance, truth.reflectance)
    assert truth.kinds == ["angles_assumed"]
    assert truth.bits == {ASSUMED_ANGLES}
    assert found.kinds == ["offset_corrected", "angles_assumed"]
    assert found.bits == {DOUBTED_OFFSET | ASSUMED_ANGLES}
    assert found.record["offset"] == -1000
    assert "earthsearch:boa_offset_applied is true" in found.record["offset_reason"]
    aside = Fetched(tmp_path, offset_contradicted="set_aside")
    assert "the offset is still in" in aside.record["problem"]
    assert np.isnan(aside.reflectance).all()


def test_offset_that_was_taken_off_twice_is_put_back(truth: Fetched, tmp_path: Path) -> None:
    item = write_item(tmp_path, **{"sentinel:boa_offset_applied": 0})
    rewrite(tmp_path, item, lambda dn: np.where(dn == 0, 0, dn.astype(int) - 1000), "uint16")
    found = Fetched(tmp_path)
    np.testing.assert_array_equal(found.reflectance, truth.reflectance)
    assert (found.record["offset"], found.kinds[0]) == (0, "offset_corrected")


@pytest.mark.parametrize(
    ("change", "dtype", "declared", "offset"),
    [
        (lambda dn: np.where(dn == 0, np.nan, dn / 1e4 - 0.1), "float32", {"scale": 1}, 0),
        (lambda dn: np.where(dn == 0, np.nan, dn / 1e4), "float32", {"scale": 1, "offset": -0.1}, -1000),
        (lambda dn: np.where(dn == 0, -9999, dn), "int16", {"scale": "0.0001", "offset": -0.1}, -1000),
        (lambda dn: dn / 2, "float64", {"scale": 2e-4, "offset": -0.1}, -1000),
    ],
)
def test_declared_scale_gives_the_same_reflectance(
    change: Any, dtype: str, declared: dict[str, Any], offset: int, truth: Fetched, tmp_path: Path
) -> None:
    item = write_item(tmp_path)
    rewrite(tmp_path, item, change, dtype, {"int16": -9999, "float64": 0}.get(dtype, float("nan")))
    for band in BANDS:
        item["assets"][band]["raster:bands"] = [declared]
    save_item(tmp_path, item)
    found = Fetched(tmp_path)
    np.testing.assert_array_equal(np.isnan(found.reflectance), np.isnan(truth.reflectance))
    np.testing.assert_allclose(found.reflectance, truth.reflectance, atol=1.01e-4)
    assert (found.record["offset"], found.kinds) == (offset, ["angles_assumed"])


def test_undeclared_floats_are_set_aside_by_name(tmp_path: Path) -> None:
    item = write_item(tmp_path)
    rewrite(tmp_path, item, lambda dn: dn / 1e4, "float32")
    assert "asset B02 holds float32 and declares no scale" in Fetched(tmp_path).record["problem"]
