"""The synthetic archive: same bytes for a seed, two editions, one ground under two grids, honest plots."""

from __future__ import annotations

import json
import os
import shutil
import xml.etree.ElementTree as ET
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import pystac_client
import pytest
import rasterio
import torch
from pyproj import Transformer

from canopyflow.atomic import content_digest
from canopyflow.demo import archive as demo_archive
from canopyflow.demo.acquisitions import planned, relative_azimuth, sun_position
from canopyflow.demo.archive import add_scene, write_archive
from canopyflow.demo.landscape import build_landscape, tile_classes
from canopyflow.demo.phenology import _BOUNDS
from canopyflow.demo.plots import COLUMNS
from canopyflow.demo.scenes import SIGMA_AD, SIGMA_AI, SIGMA_MD, SIGMA_MI, _noise, digital_numbers
from canopyflow.demo.spectra import BANDS, canopy_reflectance, responses
from canopyflow.demo.tiles import PLANE, tiles, transform_points
from canopyflow.errors import ArchiveError, DataError
from canopyflow.physics.light import Fapar
from canopyflow.physics.sail import campbell
from canopyflow.vocabulary import NAMES

SMALL = {"size": 48, "dates": ("2021-04-24", "2021-06-08")}
EDITIONS_DAY, CLEAR_DAY = SMALL["dates"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "archive"
    write_archive(folder, **SMALL)
    return folder


def features(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "items.json").read_text())["features"])


def read(folder: Path, item: dict[str, Any], asset: str) -> np.ndarray:
    with rasterio.open(folder / item["assets"][asset]["href"]) as source:
        return source.read(1)


def reflectance(folder: Path, item: dict[str, Any], band: str) -> np.ndarray:
    offset = 1000 if item["properties"]["s2:processing_baseline"] >= "04.00" else 0
    return (read(folder, item, band).astype(float) - offset) / 1e4


@pytest.mark.slow
def test_same_seed_same_bytes_other_seed_other_bytes(archive: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "again", **SMALL)
    write_archive(tmp_path / "other", seed=1, **SMALL)
    assert content_digest(tmp_path / "again") == content_digest(archive)
    assert content_digest(tmp_path / "other") != content_digest(archive)


def test_complete_archive_is_left_alone_and_strangers_are_not_overwritten(
    archive: Path, tmp_path: Path
) -> None:
    before = (archive / "demo.json").stat().st_mtime_ns
    write_archive(archive, **SMALL)
    assert (archive / "demo.json").stat().st_mtime_ns == before
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(DataError, match="no demo archive"):
        write_archive(tmp_path, **SMALL)
    assert (tmp_path / "precious.txt").exists()


def test_what_a_workflow_engine_leaves_of_an_archive_is_written_anew(archive: Path, tmp_path: Path) -> None:
    """It removes the outputs it knows of before it starts a job again; all else is still there."""
    copy = tmp_path / "archive"
    shutil.copytree(archive, copy)
    for name in ("items.json", "plots.csv", "demo.json"):
        (copy / name).unlink()
    write_archive(copy, **SMALL)
    assert content_digest(copy) == content_digest(archive)


def test_an_interrupted_archive_is_written_again_from_the_start(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_archive, "_write_catalogue", killed)
    with pytest.raises(KeyboardInterrupt):
        write_archive(tmp_path / "archive", **SMALL)
    assert not (tmp_path / "archive").exists()
    monkeypatch.undo()
    write_archive(tmp_path / "archive", **SMALL)
    assert content_digest(tmp_path / "archive") == content_digest(archive)
    assert [p.name for p in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize("content", ['{"id": "another catalogue"}', "[]", "no JSON"])
def test_a_catalogue_of_somebody_else_is_not_overwritten(tmp_path: Path, content: str) -> None:
    (tmp_path / "catalog.json").write_text(content)
    with pytest.raises(DataError, match="no demo archive"):
        write_archive(tmp_path, **SMALL)
    assert (tmp_path / "catalog.json").read_text() == content


def test_season_has_what_the_pipeline_must_survive() -> None:
    plan = planned()
    items = [(a, tile, edition) for a in plan for tile in a.tiles for edition in a.editions]
    assert len(plan) == 24 and 40 <= len(items) <= 48
    assert {a.day[:7] for a in plan} == {f"2021-0{month}" for month in range(3, 8)}
    assert {a.platform for a in plan} == {"S2A", "S2B"} and {a.orbit.number for a in plan} == {8, 108}
    days_by_era = {era: sorted(a.day for a, _, e in items if (e >= "04.00") == era) for era in (False, True)}
    assert days_by_era[True][0] < days_by_era[False][-1] and days_by_era[False][0] < days_by_era[True][-1]
    assert any(len(a.editions) == 2 for a in plan) and any(a.cloud == 1 for a in plan)


def test_two_editions_of_a_datatake_differ_by_the_offset_alone(archive: Path) -> None:
    for tile in ("31TGM", "32TLS"):
        first, second = sorted(
            (
                f
                for f in features(archive)
                if f["properties"]["datetime"].startswith(EDITIONS_DAY)
                and f["properties"]["s2:mgrs_tile"] == tile
            ),
            key=lambda f: str(f["properties"]["s2:processing_baseline"]),
        )
        assert first["properties"]["s2:processing_baseline"] < "04.00"
        assert second["properties"]["s2:processing_baseline"] >= "04.00"
        old, new = read(archive, first, "B8A").astype(int), read(archive, second, "B8A").astype(int)
        assert np.array_equal(new[old > 1] - old[old > 1], np.full((old > 1).sum(), 1000))


def test_digital_numbers_keep_zero_for_nodata() -> None:
    values = np.array([np.nan, -0.02, 0.0, 0.25])
    assert digital_numbers(values, "03.01").tolist() == [0, 1, 1, 2500]
    assert digital_numbers(values, "05.00").tolist() == [0, 800, 1000, 3500]


def test_items_are_valid_and_relative_and_the_static_catalogue_opens(archive: Path) -> None:
    catalog = pystac_client.Client.open(str(archive / "catalog.json"))
    found = {item.id: item for item in catalog.get_items(recursive=True)}
    assert sorted(found) == [f["id"] for f in features(archive)]
    for feature in features(archive):
        item = pystac.Item.from_dict(feature)
        assert item.geometry is not None and item.datetime is not None
        assert {*BANDS, "SCL", "granule-metadata"} == set(item.assets)
        for key, asset in feature["assets"].items():
            assert asset["href"].startswith(f"sentinel-2-l2a/{feature['id']}/")
            assert (archive / asset["href"]).exists()
            absolute = found[feature["id"]].assets[key].get_absolute_href()
            assert absolute is not None and Path(absolute) == archive / asset["href"]
            assert "raster:bands" not in asset, "the offset must not be declared"
        with rasterio.open(archive / feature["assets"]["B11"]["href"]) as source:
            assert source.crs.to_epsg() == feature["properties"]["proj:epsg"]
            assert source.nodata == 0 and source.res == (20, 20)
            assert list(source.bounds) == feature["assets"]["B11"]["proj:bbox"]


def test_ndvi_follows_the_true_leaf_area(archive: Path) -> None:
    item = next(f for f in features(archive) if f["properties"]["datetime"].startswith(CLEAR_DAY))
    red, nir = reflectance(archive, item, "B04"), reflectance(archive, item, "B08")
    with rasterio.open(archive / "truth" / item["id"] / "lai.tif") as source:
        lai = source.read(1)
    ndvi = (nir - red) / (nir + red)
    means = [ndvi[(lai >= low) & (lai < high)].mean() for low, high in ((0.1, 1), (1, 2), (2, 3.5), (3.5, 9))]
    assert np.all(np.diff(means) > 0), means


def test_truth_of_canopy_chlorophyll_is_the_product_of_its_means(archive: Path) -> None:
    for item in features(archive):
        lai, cab, ccc = (
            rasterio.open(archive / "truth" / item["id"] / f"{name}.tif").read(1)
            for name in ("lai", "cab", "ccc")
        )
        assert lai.min() >= 0 and lai.max() < 9
        np.testing.assert_allclose((lai * cab)[lai > 0.05], ccc[lai > 0.05], rtol=0.02, atol=0.05)


def test_truth_of_absorbed_light_follows_the_leaf_area(archive: Path) -> None:
    for item in features(archive):
        lai, gai, fapar = (
            rasterio.open(archive / "truth" / item["id"] / f"{name}.tif").read(1)
            for name in ("lai", "gai", "fapar")
        )
        assert np.array_equal(gai, lai)
        assert fapar.min() >= 0 and fapar.max() < 1
        assert np.corrcoef(fapar.ravel(), 1 - np.exp(-0.6 * lai.ravel()))[0, 1] > 0.95


def test_absorbed_light_of_the_demo_is_what_the_library_means_by_it() -> None:
    """But for the sunlight, which is the other implementation's own."""
    variables = build_landscape(0).canopies.variables(150)
    some = {name: variables[name].ravel()[::97] for name in NAMES}
    _, fapar = canopy_reflectance(some, (35.0, 5.0, 90.0), "S2A")
    ours = torch.tensor(np.stack([some[name] for name in NAMES]))
    want = Fapar()(ours, campbell(ours[NAMES.index("lidfa")]), torch.tensor(35.0, dtype=torch.float64))
    assert np.ptp(fapar) > 0.4
    np.testing.assert_allclose(fapar, want.numpy(), atol=5e-3)


def test_both_tiles_see_the_same_ground() -> None:
    landscape, grids = build_landscape(0), tiles(96)
    west, east = grids["31TGM"], grids["32TLS"]
    lai = landscape.canopies.variables(150)["lai"].ravel()
    x, y = west.centres(5)
    back = Transformer.from_crs(PLANE, east.epsg, always_xy=True).transform(x, y)
    column, row = (back[0] - east.ulx) / 5, (east.uly - back[1]) / 5
    inside = (column >= 0) & (column < 192) & (row >= 0) & (row < 192)
    assert 0.2 < inside.mean() < 0.45, "about a third of the width is shared"
    seen_west = lai[tile_classes(landscape, west)][inside]
    seen_east = lai[tile_classes(landscape, east)][row[inside].astype(int), column[inside].astype(int)]
    assert np.mean(np.isclose(seen_west, seen_east)) > 0.8, "only points beside a border may differ"
    assert np.corrcoef(seen_west, seen_east)[0, 1] > 0.95


def test_tiles_lie_on_the_sixty_metre_grid_of_their_real_namesakes() -> None:
    for tile, corner in ((tiles()["31TGM"], (699960, 5200020)), (tiles()["32TLS"], (300000, 5200020))):
        assert (tile.ulx - corner[0]) % 60 == 0 and (corner[1] - tile.uly) % 60 == 0
        assert 0 < tile.ulx - corner[0] < 109800 and 0 < corner[1] - tile.uly < 109800
    with pytest.raises(ValueError, match="multiple of 6"):
        tiles(50)


@pytest.mark.parametrize("day", [62, 100, 140, 170, 188, 210])
def test_canopies_stay_inside_the_bounds_of_the_sampling_laws(day: int) -> None:
    variables = build_landscape(0).canopies.variables(day)
    assert variables["lai"].max() <= 10
    share = variables["lai"] / 10
    for name, ((low0, high0), (low1, high1)) in _BOUNDS.items():
        assert np.all(variables[name] >= low0 + (low1 - low0) * share - 1e-9), name
        assert np.all(variables[name] <= high0 + (high1 - high0) * share + 1e-9), name


def test_noise_is_common_to_the_bands_as_the_atbd_says() -> None:
    acquisition = planned((CLEAR_DAY,))[0]
    relative, absolute = _noise(0, acquisition, tiles()["31TGM"])
    for errors, common, own in ((relative, SIGMA_MI, SIGMA_MD), (absolute, SIGMA_AI, SIGMA_AD)):
        covariance = np.cov(errors.reshape(len(BANDS), -1))
        expected = common**2 + own**2 * np.eye(len(BANDS))
        np.testing.assert_allclose(covariance, expected, atol=0.05 * (common**2 + own**2))


def test_band_responses_belong_to_their_platform() -> None:
    wavelengths = np.arange(400, 2501)
    centroids = {platform: responses(platform) @ wavelengths for platform in ("S2A", "S2B")}
    assert abs(centroids["S2A"][0] - 492.4) < 0.2 and abs(centroids["S2B"][0] - 492.1) < 0.2
    assert abs(centroids["S2A"][-1] - 2202.4) < 0.2 and abs(centroids["S2B"][-1] - 2185.7) < 0.2


def test_brightness_and_dryness_of_the_soil_are_not_swapped() -> None:
    names = ("N", "cab", "car", "cbrown", "cw", "cm", "lai", "lidfa", "hspot", "psoil", "rsoil")
    bare = (1.5, 40, 8, 0, 0.015, 0.006, 0.0, 57, 0.2)
    rows = np.array([[*bare, 0.0, 1.0], [*bare, 1.0, 1.0], [*bare, 0.0, 2.0]])
    (wet, dry, bright), absorbed = canopy_reflectance(
        dict(zip(names, rows.T, strict=True)), (30, 5, 90), "S2A"
    )
    np.testing.assert_allclose(bright, 2 * wet, rtol=1e-6)
    np.testing.assert_allclose(absorbed, 0.0, atol=1e-12)
    assert np.ptp(dry / wet) > 0.1, "drying changes the colour, brightness does not"


def test_sun_moves_as_it_should() -> None:
    when = planned(("2021-06-21",))[0].overhead
    zenith, azimuth = sun_position(when, np.array([6.5, 6.5]), np.array([46.72, 47.72]))
    assert 24 < zenith[0] < 29 and 140 < azimuth[0] < 155
    assert zenith[1] - zenith[0] == pytest.approx(0.9, abs=0.15)
    assert relative_azimuth(150, 286) == pytest.approx(136) and relative_azimuth(350, 10) == pytest.approx(20)


@pytest.mark.real
def test_sun_stands_where_a_real_granule_says() -> None:
    default = Path(__file__).parents[3].parent / "shared" / "real"
    samples = Path(os.environ.get("CANOPYFLOW_REAL_DATA", default)) / "archive_samples" / "safe_metadata"
    found = sorted(samples.glob("S2*/MTD_TL.xml"))
    if not found:
        pytest.skip(f"no real granule metadata below {samples}")
    for path in found:
        root = ET.parse(path).getroot()
        sensed = datetime.strptime((root.findtext(".//SENSING_TIME") or "")[:19], "%Y-%m-%dT%H:%M:%S")
        epsg = int((root.findtext(".//HORIZONTAL_CS_CODE") or "").split(":")[1])
        ulx, uly = (float(root.findtext(f".//Geoposition/{tag}", "nan")) for tag in ("ULX", "ULY"))
        lon, lat = transform_points(np.array(ulx + 55000), np.array(uly - 55000), epsg, 4326)
        expected = [
            float(root.findtext(f".//Mean_Sun_Angle/{a}_ANGLE", "nan")) for a in ("ZENITH", "AZIMUTH")
        ]
        # The sensing time is that of the tile's first line, seconds before the middle.
        np.testing.assert_allclose(np.array(sun_position(sensed, lon, lat)), expected, atol=0.15)


def test_granule_metadata_gives_the_scene_angles_near_its_corner(archive: Path) -> None:
    item = features(archive)[0]
    root = ET.parse(archive / item["assets"]["granule-metadata"]["href"]).getroot()
    assert root.findtext(".//HORIZONTAL_CS_CODE") == f"EPSG:{item['properties']['proj:epsg']}"
    corner = [
        float(root.findtext(f".//Geoposition[@resolution='10']/{tag}", "nan")) for tag in ("ULX", "ULY")
    ]
    assert corner == [item["properties"]["proj:transform"][2], item["properties"]["proj:transform"][5]]

    def grid(path: str) -> np.ndarray:
        rows = root.findall(f"{path}/Values_List/VALUES")
        return np.array([[float(value) for value in (row.text or "").split()] for row in rows])

    sun = grid(".//Sun_Angles_Grid/Zenith")
    assert sun[0, 0] == pytest.approx(item["properties"]["s2:mean_solar_zenith"], abs=0.05)
    views = root.findall(".//Viewing_Incidence_Angles_Grids")
    assert {view.get("bandId") for view in views} == {str(band) for band in range(13)}
    strips = [
        grid(f".//Viewing_Incidence_Angles_Grids[@bandId='8'][@detectorId='{d}']/Zenith") for d in (5, 6)
    ]
    assert np.isfinite(strips[0][:, :2]).all() and np.isnan(strips[1][:, :2]).all()
    assert np.isnan(strips[0][:, 3:]).all() and np.isfinite(strips[1][:, 3:]).all()
    assert np.nanmean(strips[0][0, :2]) == pytest.approx(7.4, abs=0.5)


def test_plots_lie_in_their_fields_and_measure_the_truth(archive: Path) -> None:
    plots = pd.read_csv(archive / "plots.csv")
    assert list(plots.columns[:8]) == list(COLUMNS[:8])
    assert set(plots.variable) == {"LAI", "Cab", "CCC"} and (plots.value >= 0).all()
    assert plots.date.between("2021-03-01", "2021-07-31").all()
    landscape = build_landscape(0)
    x, y = transform_points(plots.lon.to_numpy(), plots.lat.to_numpy(), 4326, PLANE)
    inside = ~plots.plot_id.str.startswith("outside").to_numpy()
    classes = landscape.classes(x, y)
    days = pd.to_datetime(plots.date).dt.dayofyear.to_numpy()
    lai = np.array(
        [landscape.canopies.variables(d)["lai"].ravel()[c] for d, c in zip(days, classes, strict=True)]
    )
    interior = plots.plot_id.str.startswith("field").to_numpy() & (plots.variable == "LAI").to_numpy()
    score = ((plots.value - lai) / np.hypot(plots.uncertainty, 0.15 * lai))[interior]
    assert interior.sum() > 100 and abs(score.mean()) < 0.3 and 0.6 < score.std() < 1.3
    west, south, east, north = json.loads((archive / "demo.json").read_text())["bbox"]
    assert plots.lon.between(west, east).to_numpy()[inside].all()
    assert plots.lat.between(south, north).to_numpy()[inside].all()
    assert not plots.lon.between(west, east).to_numpy()[~inside].any() and (~inside).any()


def test_scene_classification_is_mostly_but_not_always_right(tmp_path: Path) -> None:
    write_archive(tmp_path / "cloudy", size=96, dates=["2021-04-29", "2021-05-19"])
    cover = {}
    for item in features(tmp_path / "cloudy"):
        scl, blue = read(tmp_path / "cloudy", item, "SCL"), reflectance(tmp_path / "cloudy", item, "B02")
        bright = blue.reshape(48, 2, 48, 2).mean((1, 3)) > 0.4
        assert np.isin(scl[bright], (8, 9)).mean() > 0.8
        cover[item["properties"]["datetime"][:10]] = item["properties"]["eo:cloud_cover"]
        assert item["properties"]["eo:cloud_cover"] == pytest.approx(
            100 * np.isin(scl, (8, 9, 10)).mean(), abs=0.01
        )
    assert cover["2021-05-19"] > 95


def test_a_swath_edge_is_nodata_in_every_band_and_the_classification(tmp_path: Path) -> None:
    write_archive(tmp_path / "edge", dates=["2021-07-11"])
    (item,) = features(tmp_path / "edge")
    empty = read(tmp_path / "edge", item, "SCL") == 0
    assert 0.005 < empty.mean() < 0.3
    for band in BANDS:
        numbers = read(tmp_path / "edge", item, band)
        hole = np.repeat(np.repeat(empty, 2, 0), 2, 1) if numbers.shape != empty.shape else empty
        assert np.array_equal(numbers == 0, hole), band


def test_add_scene_extends_the_archive_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    write_archive(folder, size=48, dates=[CLEAR_DAY])
    before = features(folder)
    (new,) = add_scene(folder, "2021-06-13", on=["32TLS"])
    after = features(folder)
    assert [f for f in after if f["id"] != new] == before and [f["id"] for f in after] == sorted(
        f["id"] for f in after
    )
    assert (folder / "truth" / new / "lai.tif").exists()
    write_archive(folder, size=48, dates=[CLEAR_DAY])
    assert features(folder) == after, "an archive with an added scene is still complete"
    with pytest.raises(DataError, match="2021-06-13"):
        add_scene(folder, "2021-06-13")
    with pytest.raises(ArchiveError, match="no demo archive"):
        add_scene(tmp_path / "nowhere", "2021-06-13")
