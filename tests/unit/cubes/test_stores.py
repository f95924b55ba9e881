"""Scene, mask and patch stores: contents, broken scenes, interruption, and the same bytes every time."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
import zarr
from pyproj import Transformer
from scipy.spatial import KDTree
from support_archive import BANDS, save_item, write_item

from canopyflow.archive.directions import Direction, interpolate, relative_azimuth
from canopyflow.archive.grid import Grid, node_weights
from canopyflow.archive.http import Client, Patience
from canopyflow.archive.masks import EXCLUDING, NEAR_CLOUD
from canopyflow.archive.search import Query, search
from canopyflow.atomic import content_digest
from canopyflow.cubes.blocks import allowed_pixels
from canopyflow.cubes.layout import grid_coordinates, grid_of_store
from canopyflow.cubes.masks import mask_clouds
from canopyflow.cubes.patches import SplitRule, cut_patches
from canopyflow.cubes.scenes import fetch_scenes
from canopyflow.cubes.stores import PixelAngles, open_masks, open_patches, open_scenes
from canopyflow.errors import ArchiveError, ArchiveUnreachable, DataError
from canopyflow.observations.sources.patches import Patches
from canopyflow.vocabulary import PLATFORMS

EVERYWHERE = {"": (10.7, 46.8, 10.9, 47.0)}
TILE, MONTH = "32TPT", "2022-05"


def pinned(root: Path, resolution: float = 10.0) -> dict[str, Any]:
    return search(
        str(root),
        Query(
            collection="sentinel-2-l2a",
            areas=EVERYWHERE,
            start=date(2022, 1, 1),
            end=date(2022, 12, 31),
            bands=BANDS,
            resolution=resolution,
            max_cloud_cover=100,
        ),
    )


def fetch(root: Path, out: Path, tile: str = TILE, **changes: Any) -> Path:
    arguments: dict[str, Any] = {
        "bands": BANDS,
        "reader": "stackstac",
        "asset_base": root,
        "view_zenith_if_unknown": 5.0,
    }
    store = out / f"{tile}.zarr"
    fetch_scenes(pinned(root), tile, MONTH, store, **(arguments | changes))
    return store


def mask(scenes: Path, **changes: Any) -> Path:
    store = scenes.with_name(f"mask-{scenes.name}")
    rules: dict[str, Any] = {"valid_scl": [4, 5], "dilate_pixels": 2, "spectral_test": True}
    mask_clouds(scenes, store, store.with_suffix(".csv"), **(rules | changes))
    return store


def cut(scenes: list[Path], masks: list[Path], split: str, out: Path, **changes: Any) -> Path:
    options: dict[str, Any] = {
        "size": 16,
        "block_metres": 300.0,
        "fractions": (0.5, 0.2, 0.3),
        "max_patches": 1000,
        "min_valid": 0.1,
        "seed": 3,
    }
    cut_patches(scenes, masks, out, SplitRule(split, **(options | changes)))
    return out


def test_scene_store_holds_harmonised_reflectance_of_both_baselines(tmp_path: Path) -> None:
    old = write_item(tmp_path, "2022-05-01", baseline="03.01", seed=1)
    new = write_item(tmp_path, "2022-05-04", baseline="04.00", platform="B", seed=1)
    ds = open_scenes(fetch(tmp_path, tmp_path / "out"))
    assert ds.reflectance.dims == ("time", "band", "y", "x")
    assert ds.reflectance.dtype == np.float32
    assert list(ds.item.values) == [old["id"], new["id"]]
    assert list(ds.platform.values) == ["S2A", "S2B"]
    assert str(ds.time.values[1]) == "2022-05-04T10:16:01.000000000"
    assert [s["offset"] for s in ds.attrs["scenes"]] == [0, -1000]
    # The same seed makes the same ground: the offset is all that differs on disk.
    np.testing.assert_allclose(ds.reflectance[0], ds.reflectance[1], atol=1e-6)
    with rasterio.open(tmp_path / "sentinel-2-l2a" / old["id"] / "B04.tif") as file:
        np.testing.assert_allclose(ds.reflectance[0, 2, :125], file.read(1)[:125] * 1e-4, atol=1e-6)
    assert np.isnan(ds.reflectance[0, 2, 125:]).all()
    assert (ds.scl[0, 4:10, 4:10] == 9).all()
    record = ds.attrs["scenes"][0]
    assert record["hrefs"]["B04"] == f"sentinel-2-l2a/{old['id']}/B04.tif"
    assert record["checksums"]["B04"].startswith("sha256:")
    assert record["problem"] is None
    assert record["item_href"] is None
    on_disk = zarr.open_group(tmp_path / "out" / "32TPT.zarr", mode="r")["reflectance"]
    assert (on_disk.dtype, on_disk.chunks) == (np.dtype("uint16"), (1, len(BANDS), 128, 128))
    assert dict(on_disk.attrs)["scale_factor"] == 1e-4


def test_stores_name_no_place_and_both_readers_give_the_same_bytes(tmp_path: Path) -> None:
    write_item(tmp_path / "archive", "2022-05-01")
    first = fetch(tmp_path / "archive", tmp_path / "one")
    shutil.copytree(tmp_path / "archive", tmp_path / "moved")
    second = fetch(tmp_path / "moved", tmp_path / "two", reader="odc")
    assert content_digest(first) == content_digest(second)
    assert str(tmp_path) not in (first / "zarr.json").read_text()
    assert content_digest(mask(first)) == content_digest(mask(second))
    cubes = [cut([s], [mask(s)], "train", tmp_path / f"{s.parent.name}.zarr") for s in (first, second)]
    assert content_digest(cubes[0]) == content_digest(cubes[1])


def test_corrupt_file_leaves_an_empty_slot_with_its_problem_named(tmp_path: Path) -> None:
    write_item(tmp_path, "2022-05-01")
    broken = write_item(tmp_path, "2022-05-03")
    write_item(tmp_path, "2022-05-06")
    path = tmp_path / "sentinel-2-l2a" / broken["id"] / "B05.tif"
    path.write_bytes(path.read_bytes()[:2000])
    store = fetch(tmp_path, tmp_path / "out")
    ds = open_scenes(store)
    assert np.isnan(ds.reflectance[1]).all()
    assert not ds.scl[1].any()
    assert ds.attrs["scenes"][1]["problem"].startswith("B05: B05.tif of")
    assert np.isfinite(ds.reflectance[[0, 2]]).mean() > 0.9
    lines = list(csv.DictReader(mask(store).with_suffix(".csv").open()))
    assert [float(line["valid_share"]) > 0 for line in lines] == [True, False, True]
    assert "B05" in lines[1]["problem"]


def test_archive_that_does_not_answer_writes_nothing(tmp_path: Path) -> None:
    write_item(tmp_path)
    items = pinned(tmp_path)
    for asset in items["features"][0]["assets"].values():
        asset["href"] = f"http://127.0.0.1:9/{asset['href']}"
    arguments = {"bands": BANDS, "reader": "odc", "asset_base": None, "view_zenith_if_unknown": 5.0}
    client = Client(patience=Patience(pause=0.001))
    with pytest.raises(ArchiveUnreachable, match="does not answer"):
        fetch_scenes(items, TILE, MONTH, tmp_path / "out" / "x.zarr", client=client, **arguments)
    assert not (tmp_path / "out" / "x.zarr").exists()
    with pytest.raises(ArchiveError, match="no item of 32TPT in 2019-01"):
        fetch_scenes(items, TILE, "2019-01", tmp_path / "x.zarr", **arguments)


def test_broken_granule_metadata_sets_the_scene_aside(tmp_path: Path) -> None:
    """What it would have said of the angles must not be assumed instead."""
    item = write_item(tmp_path, **{"s2:mean_solar_zenith": 40.0, "s2:mean_solar_azimuth": 150.0})
    (tmp_path / "sentinel-2-l2a" / item["id"] / "MTD_TL.xml").write_text("<broken")
    item["assets"]["granule-metadata"] = {"href": "./MTD_TL.xml", "type": "application/xml"}
    save_item(tmp_path, item)
    ds = open_scenes(fetch(tmp_path, tmp_path / "out"))
    (record,) = ds.attrs["scenes"]
    assert "cannot be read" in record["problem"]
    assert np.isnan(ds.reflectance).all()


def test_angles_of_the_item_and_those_that_nobody_gives(tmp_path: Path) -> None:
    write_item(tmp_path, **{"s2:mean_solar_zenith": 40.0, "s2:mean_solar_azimuth": 150.0})
    ds = open_scenes(fetch(tmp_path, tmp_path / "out"))
    (record,) = ds.attrs["scenes"]
    assert record["angles_source"].startswith("sun: item properties; view: assumed 5")
    assert [each["kind"] for each in record["evidence"]] == ["angles_assumed"]
    assert str(ds.angles_source.values[0]) == record["angles_source"]
    angles = PixelAngles(ds).at(0, slice(0, 4), slice(3, 10))
    assert angles.shape == (3, 4, 7)
    assert angles.dtype == np.float32
    np.testing.assert_allclose(angles[:, 0, 0], [40.0, 5.0, 90.0], atol=1e-4)


def test_angles_of_a_block_are_those_of_the_whole_in_double_precision() -> None:
    """Where the sun stands in the north, the view turns from one side to the other, and nodes have a gap."""
    rng = np.random.default_rng(0)
    y, x = 4_900_000.0 - 10 * np.arange(900), 300_000.0 + 10 * np.arange(1100)
    nodes = {"y_angle": y[0] + 700 - 5000.0 * np.arange(4), "x_angle": x[0] - 300 + 5000.0 * np.arange(4)}
    values = {
        "sun_zenith": rng.uniform(20, 70, (1, 4, 4)),
        "sun_azimuth": rng.uniform(340, 380, (1, 4, 4)) % 360,
        "view_zenith": rng.uniform(0, 12, (1, 4, 4)),
        "view_azimuth": rng.uniform(90, 210, (1, 4, 4)),
    }
    coarse = {name: (("time", *nodes), each.astype(np.float32)) for name, each in values.items()}
    ds = xr.Dataset(coarse, coords={"y": y, "x": x, **nodes})
    rows, columns = node_weights(y, nodes["y_angle"]), node_weights(x, nodes["x_angle"])
    sun, view = (
        interpolate(Direction(values[f"{body}_zenith"][0], values[f"{body}_azimuth"][0]), rows, columns)
        for body in ("sun", "view")
    )
    expected = np.stack([sun.zenith, view.zenith, relative_azimuth(sun.azimuth, view.azimuth)])
    angles = PixelAngles(ds)
    np.testing.assert_allclose(angles.at(0), expected, atol=1e-3)
    block = (slice(300, 700), slice(512, 1024))
    np.testing.assert_allclose(angles.at(0, *block), expected[:, *block], atol=1e-3)


def test_mask_store_and_its_line_agree(tmp_path: Path) -> None:
    item = write_item(tmp_path)
    with rasterio.open(tmp_path / "sentinel-2-l2a" / item["id"] / "SCL.tif", "r+") as file:
        classes = file.read(1)
        classes[:, 32:] = 0  # half of the tile is beside the swath
        file.write(classes, 1)
    store = mask(fetch(tmp_path, tmp_path / "out"))
    ds = open_masks(store)
    np.testing.assert_array_equal(ds.valid.values, ds.quality.values & EXCLUDING == 0)
    assert ds.valid.dtype == bool
    assert ds.quality.attrs["flag_meanings"].split()[0] == "nodata"
    (line,) = csv.DictReader(store.with_suffix(".csv").open())
    assert float(line["valid_share"]) == pytest.approx(float(ds.valid.mean()), abs=1e-6)
    assert float(line["cloud_share"]) == pytest.approx(36 / 128**2, abs=1e-6)
    assert (line["tile"], line["date"], line["offset"]) == ("32TPT", "2022-05-01", "-1000")


def test_strips_do_not_change_a_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cloud ends two pixels above the border of two strips: its surroundings lie in both."""
    item = write_item(tmp_path, size=6400)
    with rasterio.open(tmp_path / "sentinel-2-l2a" / item["id"] / "SCL.tif", "r+") as file:
        classes = file.read(1)
        classes[250:255, 100:110] = 9
        file.write(classes, 1)
    store = fetch(tmp_path, tmp_path / "out")
    whole = open_masks(mask(store, dilate_pixels=7)).quality.values
    monkeypatch.setattr("canopyflow.cubes.layout.STRIP", 512)
    np.testing.assert_array_equal(open_masks(mask(store, dilate_pixels=7)).quality.values, whole)
    assert (whole[0, 512:516, 200:220] & EXCLUDING == NEAR_CLOUD).all()


def test_fully_cloudy_month_gives_empty_patches_that_can_be_read(tmp_path: Path) -> None:
    write_item(tmp_path)
    store = fetch(tmp_path, tmp_path / "out")
    masks = mask(store, valid_scl=[7])
    assert not open_masks(masks).valid.any()
    cube = cut([store], [masks], "train", tmp_path / "train.zarr")
    assert open_patches(cube).sizes["patch"] == 0
    seen = Patches().load(cube, BANDS, PLATFORMS, 100, 0).seen
    assert seen.reflectance.shape == (0, len(BANDS))
    assert seen.geometry.shape == (0, 3)


def test_patches_are_the_scene_s_pixels(tmp_path: Path) -> None:
    write_item(tmp_path, "2022-05-01", seed=1)
    write_item(tmp_path, "2022-05-04", platform="B", seed=2)
    store = fetch(tmp_path, tmp_path / "out")
    cube = cut([store], [mask(store)], "train", tmp_path / "train.zarr")
    patches, ds = open_patches(cube), open_scenes(store)
    assert patches.sizes["patch"] > 20
    items = list(ds.item.values)
    masks = open_masks(store.with_name("mask-32TPT.zarr"))
    allowed = allowed_pixels(
        grid_of_store(ds), "train", block_metres=300.0, fractions=(0.5, 0.2, 0.3), seed=3
    )
    assert not allowed.all()
    assert set(patches.split.values) == {"train"}
    for i in range(patches.sizes["patch"]):
        p = patches.isel(patch=i)
        rows, columns = (slice(int(v), int(v) + 16) for v in (p.row, p.column))
        t = items.index(str(p.item.values))
        there = np.where(allowed[rows, columns], ds.reflectance[t, :, rows, columns], np.nan)
        np.testing.assert_array_equal(p.reflectance, there)
        assert (p.valid.values <= masks.valid[t, rows, columns].values).all()
        assert str(p.platform.values) == str(ds.platform.values[t])
    arrays = zarr.open_group(cube, mode="r")
    assert arrays["reflectance"].chunks == (64, len(BANDS), 16, 16)
    assert arrays["reflectance"].shards == (1024, len(BANDS), 16, 16)
    pixels = Patches().load(cube, BANDS, PLATFORMS)
    patch, y, x = np.nonzero(patches.valid.values)
    np.testing.assert_array_equal(pixels.seen.reflectance, patches.reflectance.values[patch, :, y, x])
    np.testing.assert_array_equal(pixels.seen.geometry, patches.angles.values[patch])
    names = [PLATFORMS[index] for index in pixels.seen.platform.tolist()]
    assert names == patches.platform.values[patch].tolist() and set(names) == {"S2A", "S2B"}
    assert pixels.seen.complete and not pixels.noise_free.any() and pixels.truth is None
    chosen, again = (Patches().load(cube, BANDS, PLATFORMS, 100, 5).seen.reflectance for _ in range(2))
    assert chosen.shape == (100, len(BANDS)) and torch.equal(chosen, again)
    every = {tuple(row) for row in pixels.seen.reflectance.tolist()}
    assert all(tuple(row) in every for row in chosen.tolist())


def test_ground_of_another_split_is_in_no_cube(tmp_path: Path) -> None:
    """Not even as reflectance beside the valid pixels: the cubes of two splits share no place."""
    write_item(tmp_path)
    store = fetch(tmp_path, tmp_path / "out")
    masks = mask(store)
    places = {}
    for split in ("train", "test"):
        patches = open_patches(cut([store], [masks], split, tmp_path / f"{split}.zarr"))
        patch, y, x = np.nonzero(np.isfinite(patches.reflectance.values).any(axis=1))
        places[split] = set(zip(patches.row.values[patch] + y, patches.column.values[patch] + x, strict=True))
        assert len(places[split]) > 500
    assert not places["train"] & places["test"]


def test_geotransform_keeps_every_digit() -> None:
    grid = Grid(32632, (500012.5, 5199975.0, 500037.5, 5200012.5), 12.5)
    text = grid_coordinates(grid)["spatial_ref"][2]["GeoTransform"]
    assert [float(v) for v in text.split()] == [500012.5, 12.5, 0.0, 5200012.5, 0.0, -12.5]


def test_more_patches_than_wanted_are_thinned_by_the_seed(tmp_path: Path) -> None:
    write_item(tmp_path)
    store = fetch(tmp_path, tmp_path / "out")
    masks = mask(store)
    few = cut([store], [masks], "train", tmp_path / "a.zarr", max_patches=5)
    assert open_patches(few).sizes["patch"] == 5
    again = cut([store], [masks], "train", tmp_path / "b.zarr", max_patches=5)
    assert content_digest(few) == content_digest(again)


def test_patches_do_not_depend_on_the_strips_they_are_cut_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where patches reach beyond the lower and the right edge."""
    write_item(tmp_path)
    store = fetch(tmp_path, tmp_path / "out")
    masks = mask(store)
    whole = cut([store], [masks], "train", tmp_path / "a.zarr", size=12)
    monkeypatch.setattr("canopyflow.cubes.layout.CHUNK", 30)
    pieces = cut([store], [masks], "train", tmp_path / "b.zarr", size=12)
    assert content_digest(whole) == content_digest(pieces)
    assert {132 - 12, 0} <= set(open_patches(whole).row.values.tolist())


def test_stores_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write_item(tmp_path)
    write_item(tmp_path, zone=33)
    west, east = fetch(tmp_path, tmp_path / "out"), fetch(tmp_path, tmp_path / "out", "33TPT")
    with pytest.raises(DataError, match="is the mask of"):
        cut([west], [mask(east)], "train", tmp_path / "x.zarr")
    with pytest.raises(DataError, match="no split called trian"):
        cut([west], [mask(west)], "trian", tmp_path / "x.zarr")
    with pytest.raises(DataError, match="cannot be opened"):
        open_scenes(tmp_path / "nowhere.zarr")


def test_no_ground_is_in_two_splits_although_two_zones_show_it(tmp_path: Path) -> None:
    """Real stores of two tiles in two UTM zones: pixel squares of different splits never touch."""
    write_item(tmp_path, zone=32)
    write_item(tmp_path, zone=33)
    scenes = [fetch(tmp_path, tmp_path / "out", tile) for tile in ("32TPT", "33TPT")]
    masks = [mask(s) for s in scenes]
    squares = {}
    for split in ("train", "test"):
        patches = open_patches(cut(scenes, masks, split, tmp_path / f"{split}.zarr", min_valid=0.01))
        found = []
        for ds in map(open_scenes, scenes):
            chosen = patches.isel(patch=np.flatnonzero(patches.tile.values == ds.attrs["tile"]))
            assert chosen.sizes["patch"] > 0
            patch, y, x = np.nonzero(chosen.valid.values)
            rows, columns = chosen.row.values[patch] + y, chosen.column.values[patch] + x
            to_32 = Transformer.from_crs(ds.attrs["epsg"], 32632, always_xy=True)
            found.append(to_32.transform(ds.x.values[columns], ds.y.values[rows]))
        squares[split] = np.concatenate([np.stack(f, axis=1) for f in found])
    # Squares turned against each other share no ground when their centres are a diagonal (14.2 m) apart.
    assert len(squares["train"]) > 1000
    assert KDTree(squares["test"]).query(squares["train"])[0].min() > 14.2


def test_attributes_are_plain_json(tmp_path: Path) -> None:
    write_item(tmp_path)
    metadata = json.loads((fetch(tmp_path, tmp_path / "out") / "zarr.json").read_text())
    assert metadata["zarr_format"] == 3
    assert "consolidated_metadata" not in metadata
    assert len(metadata["attributes"]["content_sha256"]) == 64
