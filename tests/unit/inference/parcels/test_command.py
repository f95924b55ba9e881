"""`canopyflow extract` finds what it needs beside the maps, and says what is missing."""

import shutil

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from synthetic_scenes import scene_store
from typer.testing import CliRunner
from untrained import untrained_bundle

from canopyflow.cli import app
from canopyflow.errors import DataError
from canopyflow.inference.maps import MapOptions, infer
from canopyflow.inference.parcels import command
from canopyflow.inference.parcels.command import Asked, Sources, extract_month, extract_products
from canopyflow.inference.parcels.extract import ExtractOptions, Month
from canopyflow.inference.parcels.files import check_parcels
from canopyflow.inference.parcels.law import Design
from canopyflow.inference.parcels.tables import gather

SMALL = Asked(options=ExtractOptions(samples=40))


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(command, "Design", lambda seed=0: Design(20, 3, 30, seed))


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """results/{campaign} with one tile and month."""
    top = tmp_path_factory.mktemp("results") / "c"
    for kind in ("scenes", "masks"):
        (top / kind / "32TMT").mkdir(parents=True)
    stores = scene_store(top / "made")
    for kind, store in zip(("scenes", "masks"), stores, strict=True):
        shutil.move(store, top / kind / "32TMT/2022-05.zarr")
    scenes, masks = (top / kind / "32TMT/2022-05.zarr" for kind in ("scenes", "masks"))
    options = MapOptions(outputs=("lai",), samples=30, summaries="drawn")
    infer(
        untrained_bundle(top / "models/nsf/seed0"),
        scenes,
        masks,
        top / "products/nsf/32TMT/2022-05.zarr",
        options,
    )
    shape = gpd.GeoSeries([shapely.box(399_995, 5_199_925, 400_055, 5_200_000)], crs=32632)
    gpd.GeoDataFrame({"id": ["one"]}, geometry=shape).to_file(top / "p.gpkg", driver="GPKG")
    return top


@pytest.mark.parametrize(
    "products", ["products/nsf", "products/nsf/32TMT", "products/nsf/32TMT/2022-05.zarr"]
)
def test_a_model_a_tile_or_a_store(campaign, products, tmp_path):
    extract_products(campaign / products, campaign / "p.gpkg", [tmp_path / "t.csv"], SMALL)
    table = pd.read_csv(tmp_path / "t.csv")
    assert table["parcel"].tolist() == ["one", "one"] and table["variable"].tolist() == ["lai", "lai"]


def test_the_command_line_writes_both_tables(campaign, tmp_path):
    out = [str(tmp_path / name) for name in ("t.csv", "t.parquet")]
    arguments = ["extract", str(campaign / "products/nsf"), str(campaign / "p.gpkg"), "--samples", "40"]
    result = CliRunner().invoke(app, [*arguments, "--out", out[0], "--out", out[1]])
    assert result.exit_code == 0, result.output
    assert len(gpd.read_parquet(out[1])) == len(pd.read_csv(out[0])) == 2


def test_what_is_not_there_is_named_with_the_option(campaign, tmp_path):
    maps, parcels, out = campaign / "products/nsf", campaign / "p.gpkg", [tmp_path / "t.csv"]
    with pytest.raises(DataError, match="holds no product store"):
        extract_products(tmp_path, parcels, out, SMALL)
    moved = tmp_path / "moved/products/nsf/32TMT"
    shutil.copytree(maps / "32TMT", moved)
    with pytest.raises(DataError, match=r"scenes/32TMT/2022-05\.zarr is not there.*--scenes"):
        extract_products(moved, parcels, out, SMALL)
    sources = Sources(scenes=campaign / "scenes", masks=campaign / "masks")
    with pytest.raises(DataError, match=r"holds no model that made .*--model"):
        extract_products(moved, parcels, out, SMALL, sources)
    other = untrained_bundle(tmp_path / "other", encoder_options={"width": 8, "blocks": 1})
    with pytest.raises(DataError, match="was not made by the model"):
        extract_products(maps, parcels, out, SMALL, Sources(bundle=other))


def test_the_jobs_of_a_campaign_give_the_same_rows(campaign, tmp_path):
    bundle, place = campaign / "models/nsf/seed0", "32TMT/2022-05.zarr"
    month = Month(*(campaign / kind / place for kind in ("products/nsf", "scenes", "masks")))
    command.correlate(bundle, tmp_path / "c.json", ["lai", "unknown"], "none", SMALL)
    check_parcels(campaign / "p.gpkg", tmp_path / "p.parquet")
    extract_month(
        bundle, month, tmp_path / "p.parquet", tmp_path / "c.json", tmp_path / "part.parquet", SMALL
    )
    gather([tmp_path / "part.parquet"], tmp_path / "p.parquet", [tmp_path / "a.csv"])
    extract_products(campaign / "products/nsf", campaign / "p.gpkg", [tmp_path / "b.csv"], SMALL)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
