"""A published season: an item for each date that is mapped, and one for the season as a whole."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import zarr
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from seasons import untrained_seasons
from synthetic_months import month_stores
from untrained import META

from canopyflow.inference.blocks import MapOptions
from canopyflow.inference.seasons import Window, infer
from canopyflow.inference.stored import open_product
from canopyflow.models.bundle import save
from canopyflow.products.publish import publish

SCENES = ["S2A_2022-04-04_0", "S2A_2022-05-04_0"]
DOUBT = {"kind": "offset_doubted", "detail": "darkest vegetation at 0.088"}


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
    for store, name in zip(scenes, SCENES, strict=True):
        record = {
            "id": name,
            "offset": -1000,
            "item_href": f"https://example.org/{name}",
            "evidence": [DOUBT],
        }
        zarr.open_group(store, mode="r+", use_consolidated=False).attrs["scenes"] = [record]
    return folder / "p.zarr", scenes


def items(product: Path, scenes: list[Path], out: Path) -> dict[str, dict[str, Any]]:
    """The items that are published, by their last part: a day, or the year."""
    options: dict[str, Any] = {"campaign": "c", "model": "s", "variables": ["lai"], "provenance": {}}
    made = publish(product, out, scenes=scenes, **options)
    return {name.rpartition("_")[2]: json.loads((out / name / f"{name}.json").read_text()) for name in made}


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


def test_items_tell_all_passes_that_the_season_was_made_of(
    season: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    found = items(*season, tmp_path / "out")
    assert set(found) == {"2022-04-11", "2022-05-01", "2022"}
    for content in found.values():
        assert JsonSchemaSTACValidator().validate_core(content, pystac.STACObjectType.ITEM, "1.1.0")
        sources = [(k["title"], k["href"]) for k in content["links"] if k["rel"] == "derived_from"]
        assert sources == [(name, f"https://example.org/{name}") for name in SCENES]
        known = content["properties"]
        assert known["canopyflow:scenes"] == SCENES
        assert known["canopyflow:evidence"] == [{**DOUBT, "scene": name} for name in SCENES]
        # A season has no one scene and no one offset.
        assert not {"canopyflow:scene", "canopyflow:boa_offset"} & set(known)
        assert [name for name, value in known.items() if value is None and name != "datetime"] == []


def test_a_scene_that_was_set_aside_is_no_source(season: tuple[Path, list[Path]], tmp_path: Path) -> None:
    product, scenes = season
    aside = tmp_path / "aside.zarr"
    shutil.copytree(scenes[1], aside)
    group = zarr.open_group(aside, mode="r+", use_consolidated=False)
    group.attrs["scenes"] = [{"id": SCENES[1], "problem": "B05.tif is truncated", "offset": 0}]
    content = items(product, [scenes[0], aside], tmp_path / "out")["2022"]
    assert content["properties"]["canopyflow:scenes"] == SCENES[:1]
    assert len([k for k in content["links"] if k["rel"] == "derived_from"]) == 1


def test_the_season_carries_the_flags_of_all_dates(season: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """Each date has those of its nearest pass; the season was made of all of them."""
    product = tmp_path / "flagged.zarr"
    shutil.copytree(season[0], product)
    flags = zarr.open_array(product / "flags", mode="r+")
    flags[:, 0], flags[:, 1:] = 1, 0
    flags[0, 1:, 4] = 128
    flags[1, 1:, 3:] |= np.uint8(2)
    found = items(product, season[1], tmp_path / "out")
    shares = {day: content["properties"]["canopyflow:flagged_shares"] for day, content in found.items()}
    assert shares == {
        "2022-04-11": {"misfit": 0.2},
        "2022-05-01": {"out_of_domain": 0.4},
        "2022": {"out_of_domain": 0.4, "misfit": 0.2},
    }
    with rasterio.open(tmp_path / "out" / found["2022"]["id"] / "flags.tif") as file:
        whole = file.read(1)
    np.testing.assert_array_equal(whole[:, 2:], [[1, 1, 1], *[[0, 2, 130]] * 3])
