"""Maps of seasons against reference maps whose answer is known, and the figure of trajectories."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from rasterio.transform import from_origin
from seasons import untrained_seasons
from synthetic_months import month_stores
from untrained import META

from canopyflow.evaluation.against.season_maps import around, evaluate_season_maps, of_seasons
from canopyflow.evaluation.figures.trajectories import draw_trajectories
from canopyflow.evaluation.pages.maps_data import map_layers, survey
from canopyflow.inference.blocks import MapOptions
from canopyflow.inference.seasons import Window, infer
from canopyflow.inference.stored import open_product
from canopyflow.models.bundle import save

ROWS, COLUMNS = 4, 5
DAYS = (4, 14, 24)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three passes in May, every ten days a date; the first row is clouded in the second pass."""
    folder = tmp_path_factory.mktemp("season")
    save(untrained_seasons(), folder / "bundle", META)
    numbers, clear = np.full((10, ROWS, COLUMNS), 1500, np.uint16), np.ones((ROWS, COLUMNS), bool)
    half = clear.copy()
    half[0] = False
    series = [(f"2022-05-{d:02}T10:30", "S2A", numbers, half if d == 14 else clear) for d in DAYS]
    scenes, masks = month_stores(folder, "2022-05", series)
    options = MapOptions(samples=8, outputs=["lai"], device="cpu")
    window = Window.from_text("2022-05-01", "2022-05-31", 10)
    infer(folder / "bundle", [scenes], [masks], folder / "p.zarr", options, window=window)
    # Dates 2022-05-01, -11, -21, -31 with leaf area 1, 2, 3, 4 and intervals of one about it.
    store = zarr.open_group(folder / "p.zarr", mode="r+", use_consolidated=False)
    layer, about = store["lai"], dict(store["lai"].attrs)
    values = np.arange(1.0, 5.0)[:, None, None, None] + np.array([0, 0.3, -0.5, 0, 0.5])[:, None, None]
    layer[:] = np.round(
        (np.broadcast_to(values, layer.shape) - about["add_offset"]) / about["scale_factor"]
    ).astype(np.int16)
    return folder / "p.zarr"


@pytest.fixture(scope="module")
def truth(product: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lies between the dates, and a tenth more in the first row."""
    folder = tmp_path_factory.mktemp("truth")
    with open_product(product) as store:
        items = store["pass_item"].values.tolist()
    for item, day in zip(items, DAYS, strict=True):
        values = np.full((ROWS, COLUMNS), 1 + (day - 1) / 10, np.float32)
        values[0] += 0.1
        (folder / item).mkdir()
        with rasterio.open(
            folder / item / "lai.tif", "w", driver="GTiff", width=COLUMNS, height=ROWS, count=1,
            dtype="float32", crs="EPSG:32632", transform=from_origin(4e5, 5.2e6, 10, 10), nodata=np.nan,
        ) as file:  # fmt: skip
            file.write(values, 1)
    return folder


def test_clear_and_clouded_pixels_are_told_apart(product: Path, truth: Path) -> None:
    assert of_seasons(product)
    found = evaluate_season_maps([product], truth)
    clear, clouded = found["maps"]["lai"], found["clouded"]["lai"]
    assert (clear["n"], clouded["n"]) == (55, 5)
    # Between two dates the map is linear, as this truth is; ten of the clear pixels lie in the first row.
    assert clear["bias"] == pytest.approx(-0.1 * 10 / 55, abs=1e-3)
    assert clouded["bias"] == pytest.approx(-0.1, abs=1e-3) == -clouded["rmse"]
    assert clear["coverage90"] == clouded["coverage90"] == 1


def test_a_pass_lies_between_two_dates(product: Path) -> None:
    with open_product(product) as store:
        assert around(store, 0) == (0, 1, pytest.approx(0.3))
        assert around(store, 2) == (2, 3, pytest.approx(0.3))
        on_the_day = store.assign_coords(pass_time=("pass", store["time"].values[[1, 1, 1]]))
        assert around(on_the_day, 0) == (1, 1, 0.0)
        late = xr.Dataset(
            coords={"time": store["time"].values[:1], "pass_time": ("pass", store["pass_time"].values)}
        )
        assert around(late, 0) is None


def test_the_page_shows_the_dates_of_a_season_and_not_its_timing(product: Path, truth: Path) -> None:
    flags, dates = survey({"season": [product]})
    assert flags["month"].tolist() == ["2022"] and len(dates) == 4
    shown = map_layers(dates, ["season"], truth)
    assert shown is not None and [each["name"] for each in shown["variables"]] == ["lai"]
    assert [len(tile["dates"]) for tile in shown["tiles"]] == [4]


def test_twelve_trajectories_are_drawn_the_same_each_time(product: Path, truth: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_trajectories([product], tmp_path / name, model="season", truth=truth)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    draw_trajectories([], tmp_path / "none.png", model="season")
    assert (tmp_path / "none.png").stat().st_size < (tmp_path / "a.png").stat().st_size
