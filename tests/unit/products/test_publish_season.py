"""A published season: an item for each date that is mapped, and one for the season as a whole."""

import json
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from seasons import untrained_seasons
from synthetic_months import month_stores
from untrained import META

from canopyflow.inference.blocks import MapOptions
from canopyflow.inference.seasons import Window, infer
from canopyflow.inference.stored import open_product
from canopyflow.models.bundle import save
from canopyflow.products.publish import publish


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A product of two months, and its scene stores."""
    folder = tmp_path_factory.mktemp("season")
    save(untrained_seasons(), folder / "bundle", META)
    numbers = np.full((10, 4, 5), 1500, np.uint16)
    clear = np.ones((4, 5), bool)
    clear[0] = False
    stores = [
        month_stores(folder, month, [(f"{month}-04T10:30", "S2A", numbers, clear)])
        for month in ("2022-04", "2022-05")
    ]
    scenes, masks = ([pair[k] for pair in stores] for k in (0, 1))
    options = MapOptions(samples=8, outputs=["lai"], device="cpu")
    window = Window.from_text("2022-04-01", "2022-05-20", 20)
    infer(folder / "bundle", scenes, masks, folder / "p.zarr", options, window=window)
    return folder / "p.zarr", scenes


def test_every_date_has_an_item_and_so_has_the_season(
    season: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    product, scenes = season
    made = publish(
        product, tmp_path / "out", campaign="c", model="s", variables=["lai"], scenes=scenes, provenance={}
    )
    dates = ["2022-04-11", "2022-05-01"]
    assert made == [*(f"c-s-32TMT-32TMT_{day}" for day in dates), "c-s-32TMT_2022"]
    record = json.loads((tmp_path / "out/provenance.json").read_text())
    assert record["period"] == ["2022-04-01T00:00:00Z", "2022-05-20T23:59:59Z"]
    assert (record["summaries"], record["drawn_share"]) == ("drawn", 1.0)
    assert [item["id"] for item in record["items"]] == made
    of_date, whole = (
        pystac.Item.from_file(str(tmp_path / "out" / name / f"{name}.json")) for name in (made[0], made[-1])
    )
    assert str(of_date.datetime)[:10] == dates[0] and "platform" not in of_date.properties
    assert of_date.properties["processing:lineage"].endswith("2 passes over 32TMT in 2022")
    assert {"lai_mean", "fit", "flags", "unobserved_days"} <= set(of_date.assets)
    assert whole.datetime is None and whole.properties["start_datetime"] == "2022-04-11T00:00:00Z"
    assert {
        f"{name}_q95"
        for name in ("season_start", "season_peak", "season_end", "lai_duration", "season_speed")
    } <= set(whole.assets)
    assert "unobserved_days" not in whole.assets
    with (
        open_product(product) as store,
        rasterio.open(tmp_path / "out" / made[-1] / "lai_duration_mean.tif") as file,
    ):
        values = file.read(1, masked=True) * file.scales[0] + file.offsets[0]
        expected = store["lai_duration"].sel(statistic="mean").values[0]
    np.testing.assert_allclose(values.filled(np.nan), expected, rtol=1e-5)
