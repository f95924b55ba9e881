"""The archive over several years; and that the plain one is what it was before there were any."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from typer.testing import CliRunner

from canopyflow.atomic import content_digest
from canopyflow.cli import app
from canopyflow.demo.archive import add_scene, write_archive
from canopyflow.demo.landscape import tile_classes
from canopyflow.demo.phenology import WATER
from canopyflow.demo.season_truth import season_maps, truth_days
from canopyflow.demo.tiles import tiles
from canopyflow.demo.years import build_world
from canopyflow.errors import DataError
from canopyflow.models.weather.drivers import read_daily

DAYS = ("2018-05-13", "2020-07-01")


def write_small(folder: Path) -> None:
    write_archive(folder, size=24, dates=DAYS, years=(2020, 2018))


def true_lai(year: int, day: int, side: int) -> np.ndarray:
    """Leaf area on the west tile of 24 rows, by blocks of ``side`` fine points; none on the pond."""
    world = build_world(0, [year])
    canopies = world.landscape(year).canopies
    lai = canopies.variables(day)["lai"] * (canopies.crop != WATER)[:, None]
    rows = 48 // side
    fine = lai.ravel()[tile_classes(world.bare, tiles(24)["31TGM"])]
    return np.asarray(fine.reshape(rows, side, rows, side).mean((1, 3)))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "archive"
    write_small(folder)
    return folder


def test_the_plain_archive_is_what_it_was_before_there_were_years(tmp_path: Path) -> None:
    """Sums instead of digests of the scenes: compression differs between builds of GDAL."""
    write_archive(tmp_path / "plain", size=48, dates=("2021-06-08",))
    assert not (tmp_path / "plain" / "weather.csv").exists()
    assert not (tmp_path / "plain" / "truth" / "seasons").exists()
    manifest = json.loads((tmp_path / "plain" / "demo.json").read_text())
    assert list(manifest) == ["version", "seed", "size", "dates", "bbox", "period", "tiles", "items"]
    assert manifest["version"] == 4 and manifest["period"] == ["2021-03-01", "2021-07-31"]
    table = (tmp_path / "plain" / "plots.csv").read_bytes()
    assert hashlib.sha256(table).hexdigest()[:16] == "489a77190e042e76"
    west, _ = json.loads((tmp_path / "plain" / "items.json").read_text())["features"]
    assert west["id"] == "S2A_MSIL2A_20210608T103021_R108_T31TGM_20230221T001837"
    for band, total in (("B04", 3292756), ("B8A", 2931570), ("SCL", 2352)):
        with rasterio.open(tmp_path / "plain" / west["assets"][band]["href"]) as source:
            assert source.read(1).sum(dtype=float) == pytest.approx(total, abs=2), band
    with rasterio.open(tmp_path / "plain" / "truth" / west["id"] / "lai.tif") as source:
        assert source.read(1).sum(dtype=float) == pytest.approx(6350.973, abs=0.01)


def test_years_leave_items_plots_and_weather_of_each(archive: Path) -> None:
    manifest = json.loads((archive / "demo.json").read_text())
    assert manifest["years"] == [2018, 2020] and manifest["period"] == ["2018-03-01", "2020-10-26"]
    features = json.loads((archive / "items.json").read_text())["features"]
    assert sorted({f["properties"]["datetime"][:10] for f in features}) == list(DAYS)
    plots = pd.read_csv(archive / "plots.csv")
    assert set(plots.date.str[:4]) == {"2018", "2020"}
    assert plots.plot_id.is_monotonic_increasing
    assert plots.groupby("plot_id").date.apply(lambda d: d.is_monotonic_increasing).all()
    first = (
        plots[plots.variable == "LAI"].groupby(["plot_id", plots.date.str[:4]]).date.first().str[5:].unstack()
    )
    assert (first["2018"] != first["2020"]).mean() > 0.5, "crews come on other days in another year"
    weather = read_daily(archive / "weather.csv")
    assert weather.first.isoformat() == "2017-10-01" and weather.last.isoformat() == "2020-12-31"


def test_truth_of_the_year_is_there_every_five_days_and_is_that_of_the_scenes(archive: Path) -> None:
    features = json.loads((archive / "items.json").read_text())["features"]
    item = next(f for f in features if f["properties"]["datetime"].startswith("2018"))
    tile = item["properties"]["s2:mgrs_tile"]
    with rasterio.open(archive / "truth" / "seasons" / f"2018_{tile}_lai.tif") as source:
        assert (
            source.count == 73
            and source.res == (20, 20)
            and source.crs.to_epsg() == item["properties"]["proj:epsg"]
        )
        assert list(source.descriptions[:2]) == ["2018-01-01", "2018-01-06"]
        days = [int(text[8:]) + 100 * int(text[5:7]) for text in source.descriptions]
        near = days.index(511)  # 11 May; the scene is of 13 May
        before, after = source.read(near + 1), source.read(near + 2)
    with rasterio.open(archive / "truth" / item["id"] / "lai.tif") as source:
        on = source.read(1).reshape(12, 2, 12, 2).mean((1, 3))
    assert np.abs(on - before).mean() < 0.5 and np.corrcoef(on.ravel(), before.ravel())[0, 1] > 0.9
    assert (on <= np.maximum(before, after) + 0.15).mean() > 0.9


def test_maps_of_a_day_are_the_truth_of_the_growth() -> None:
    world, tile = build_world(0, [2020]), tiles(24)["31TGM"]
    landscape, classes = world.landscape(2020), tile_classes(world.bare, tile)
    days = truth_days(2020)
    assert len(days) == 74 and days[-1].isoformat() == "2020-12-31"
    maps = season_maps(landscape, classes, days[30:31])
    np.testing.assert_allclose(maps["lai"][0], true_lai(2020, 151, 4), atol=6e-4)
    assert maps["ccc"].max() > 20


@pytest.mark.slow
def test_same_words_same_bytes_and_a_plain_archive_is_not_taken_for_one_of_years(
    archive: Path, tmp_path: Path
) -> None:
    write_small(tmp_path / "again")
    assert content_digest(tmp_path / "again") == content_digest(archive)
    before = (tmp_path / "again" / "demo.json").stat().st_mtime_ns
    write_small(tmp_path / "again")
    assert (tmp_path / "again" / "demo.json").stat().st_mtime_ns == before
    write_archive(tmp_path / "again", size=24, dates=DAYS)
    assert not (tmp_path / "again" / "weather.csv").exists(), "without years it is another archive"


def test_a_scene_can_be_added_to_a_year_and_not_to_another(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    write_archive(folder, size=24, dates=["2020-07-01"], years=[2020])
    (new,) = add_scene(folder, "2020-04-12", on=["31TGM"])
    with rasterio.open(folder / "truth" / new / "lai.tif") as source:
        np.testing.assert_allclose(source.read(1), true_lai(2020, 103, 2), atol=6e-4)
    with pytest.raises(DataError, match="none of the years"):
        add_scene(folder, "2021-04-12")


def test_the_command_takes_years(tmp_path: Path) -> None:
    asked = ["demo", str(tmp_path / "a"), "--years", "2020", "--day", "2019-05-01"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code != 0 and not (tmp_path / "a").exists()
    assert "2019-05-01" in str(result.exception or result.output)
