"""The catalogue of a campaign: STAC that validates, links that lead somewhere, libraries that load it."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import odc.stac
import pystac
import pytest
import stackstac
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from canopyflow.atomic import content_digest


@pytest.fixture(scope="module")
def catalogue(campaign) -> pystac.Catalog:
    return pystac.Catalog.from_file(str(campaign.published / "catalog.json"))


def collection_of(folder: Path, model: str) -> dict:
    return json.loads((folder / model / "collection.json").read_text())


def test_everything_validates_and_every_link_and_asset_is_there(campaign, catalogue):
    validator = JsonSchemaSTACValidator()
    assert validator.validate_core(catalogue.to_dict(), pystac.STACObjectType.CATALOG, "1.1.0")
    collections = list(catalogue.get_collections())
    assert [each.id for each in collections] == ["demo-nsf", "demo-lut"]
    for each in collections:
        kind = pystac.STACObjectType.COLLECTION
        assert validator.validate_core(each.to_dict(), kind, "1.1.0")
        items = list(each.get_items())
        assert len(items) == 4, "one clear scene in each tile-month"
        assert Path(each.assets["model"].get_absolute_href()).is_file()
        for item in items:
            assert (
                item.get_collection() is each and item.get_root() is catalogue and item.get_parent() is each
            )
            assert validator.validate_core(item.to_dict(), pystac.STACObjectType.ITEM, "1.1.0")
            assert all(Path(asset.get_absolute_href()).is_file() for asset in item.assets.values())
    for path in campaign.published.rglob("*.json"):
        for link in json.loads(path.read_text()).get("links", []):
            assert link["rel"] == "license" or (path.parent / link["href"]).is_file(), (path, link)


def test_a_collection_sums_up_its_items(campaign):
    content = collection_of(campaign.published, "nsf")
    assert content["extent"]["temporal"]["interval"] == [["2022-05-01T10:30:31Z", "2023-06-03T10:30:31Z"]]
    around, *tiles = content["extent"]["spatial"]["bbox"]
    assert len(tiles) == 2
    assert around == [
        min(b[0] for b in tiles),
        min(b[1] for b in tiles),
        max(b[2] for b in tiles),
        max(b[3] for b in tiles),
    ]
    assert content["summaries"]["platform"] == ["sentinel-2a"]
    assert content["summaries"]["eo:cloud_cover"] == {"minimum": 25.0, "maximum": 25.0}
    assert {"lai_mean", "lai_q05", "fit", "flags"} < set(content["item_assets"])
    assert not [
        key for asset in content["item_assets"].values() for key in asset if key in ("href", "file:checksum")
    ]
    assert content["renders"]["lai_mean"]["assets"] == ["lai_mean"]
    (licence,) = [link for link in content["links"] if link["rel"] == "license"]
    assert licence["href"].startswith("https://sentinel.esa.int/")
    assert "Contains modified Copernicus Sentinel data 2022-2023." in content["description"]
    assert [role for provider in content["providers"] for role in provider["roles"]] == [
        "producer",
        "licensor",
        "processor",
    ]


def test_extensions_are_declared_where_they_are_used_and_nowhere_else(campaign):
    prefixes = {"projection": "proj:", "render": "renders", "classification": "classification:"}
    for path in campaign.published.rglob("*.json"):
        content = json.loads(path.read_text())
        if content.get("type") != "Feature":
            continue
        used = {*content["properties"], *(key for asset in content["assets"].values() for key in asset)}
        for address in content["stac_extensions"]:
            name = address.removeprefix("https://stac-extensions.github.io/").split("/")[0]
            prefix = prefixes.get(name, f"{name}:")
            assert any(key.startswith(prefix) for key in used), (name, path)
        declared = {address.split("/")[3] for address in content["stac_extensions"]}
        short = {"proj": "projection"}
        for key in used:
            prefix = key.split(":")[0]
            assert ":" not in key or prefix == "canopyflow" or short.get(prefix, prefix) in declared, key


def test_odc_stac_loads_a_statistic_by_its_name(campaign, catalogue):
    items = list(catalogue.get_child("demo-nsf").get_items())
    one_tile = [item for item in items if item.properties["canopyflow:tile"] == "32TMT"]
    loaded = odc.stac.load(one_tile, bands=["lai_mean", "flags"])
    assert loaded["lai_mean"].shape == (2, 40, 60) and loaded["lai_mean"].dtype == np.int16
    assert (loaded["lai_mean"].nodata, loaded.odc.crs.epsg) == (32767, 32632)
    band = one_tile[0].assets["lai_mean"].extra_fields["raster:bands"][0]
    values = loaded["lai_mean"] * band["scale"] + band["offset"]
    assert float(values[0, 10, 20]) == pytest.approx(1 + 10 / 100 + 20 / 1000, abs=1e-3)
    # Without names, all maps: neither the picture nor the provenance is one.
    assert set(odc.stac.load(one_tile[:1])) == set(one_tile[0].assets) - {
        "thumbnail",
        "provenance",
    }


def test_stackstac_stacks_a_statistic_by_its_name_in_values(campaign, catalogue):
    items = [item.make_asset_hrefs_absolute() for item in catalogue.get_child("demo-nsf").get_items()]
    items = [item for item in items if item.properties["canopyflow:tile"] == "32TMT"]
    # pystac reads every projection as `proj:code`; stackstac wants the number.
    for item in items:
        item.properties["proj:epsg"] = item.ext.proj.epsg
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stacked = stackstac.stack(items, assets=["lai_mean"]).compute()
    assert stacked.shape == (2, 1, 40, 60) and list(stacked.band.values) == ["lai_mean"]
    assert float(stacked[0, 0, 10, 20]) == pytest.approx(1 + 10 / 100 + 20 / 1000, abs=1e-3)
    assert float(stacked.x[0]) == 500_000.0


def test_stackstac_takes_the_files_as_they_are(campaign):
    """As a tile server or R would: JSON, without pystac between."""
    path = next(campaign.published.glob("nsf/32TMT/2022-05/*/*.json"))
    item = json.loads(path.read_text())
    for asset in item["assets"].values():
        asset["href"] = str((path.parent / asset["href"]).resolve())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert stackstac.stack([item], assets=["lai_q05"]).shape == (1, 1, 40, 60)


def test_the_same_campaign_is_catalogued_in_the_same_bytes_anywhere(campaign, tmp_path):
    shutil.copytree(campaign.published, tmp_path / "published")
    for path in ("catalog.json", "nsf/collection.json", "lut/collection.json", "nsf/model/model.json"):
        (tmp_path / "published" / path).unlink()
    months = {
        model: [tmp_path / "published" / path.relative_to(campaign.published) for path in reversed(paths)]
        for model, paths in campaign.months.items()
    }
    replace(campaign, published=tmp_path / "published", months=months).write()
    assert content_digest(tmp_path / "published") == content_digest(campaign.published)


def test_what_is_not_listed_is_not_in_the_catalogue(campaign, tmp_path):
    shutil.copytree(campaign.published, tmp_path / "published")
    path = tmp_path / "published" / campaign.months["nsf"][0].relative_to(campaign.published)
    replace(campaign, published=tmp_path / "published", months={"nsf": [path]}).write()
    content = collection_of(tmp_path / "published", "nsf")
    assert len([link for link in content["links"] if link["rel"] == "item"]) == 1
    assert len(content["extent"]["spatial"]["bbox"]) == 1
    children = json.loads((tmp_path / "published/catalog.json").read_text())["links"]
    assert [link["href"] for link in children if link["rel"] == "child"] == ["./nsf/collection.json"]


def test_a_model_without_anything_published_has_an_empty_collection(campaign, tmp_path):
    series = replace(campaign.series, simulated=True)
    replace(campaign, published=tmp_path, months={"nsf": []}, series=series).write()
    content = collection_of(tmp_path, "nsf")
    assert JsonSchemaSTACValidator().validate_core(content, pystac.STACObjectType.COLLECTION, "1.1.0")
    assert content["extent"]["temporal"]["interval"] == [["2022-05-01T00:00:00Z", "2023-06-30T23:59:59Z"]]
    assert "no Copernicus" in content["description"]
    assert not [link for link in content["links"] if link["rel"] in ("item", "license")]


def test_a_campaign_across_the_180th_meridian_has_a_box_across_it(campaign, tmp_path):
    shutil.copytree(campaign.published, tmp_path / "published")
    paths = [tmp_path / "published" / p.relative_to(campaign.published) for p in campaign.months["nsf"]]
    for path, (west, east) in zip(
        paths, [(179.5, 179.9), (179.8, -179.9), (-179.9, -179.6), (179.5, 179.9)], strict=True
    ):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"bbox": [west, -17.6, east, -17.4]}))
    replace(campaign, published=tmp_path / "published", months={"nsf": paths}).write()
    around = collection_of(tmp_path / "published", "nsf")["extent"]["spatial"]["bbox"][0]
    assert around == pytest.approx([179.5, -17.6, -179.6, -17.4])
