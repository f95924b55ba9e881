"""What leaves the house: COGs that are COGs, STAC that validates, bytes that do not change."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyproj
import pystac
import pytest
import rasterio
import rasterio.warp
import shapely
import xarray as xr
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from synthetic_product import EPSG, NORTH, PIXEL, STATISTICS, WEST, write_product

from canopyflow.atomic import content_digest
from canopyflow.errors import ConfigError, DataError
from canopyflow.inference.encoding import FILL, scale_of
from canopyflow.products.publish import publish

DAYS = ["2022-05-01T10:30:31", "2022-05-06T10:30:31", "2022-05-11T10:30:31"]
ITEMS = [f"S2A_32TMT_{day[:10]}" for day in DAYS]
SHAPE = (300, 520)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A product whose second scene is fully cloudy, and the scene store that it came from."""
    folder = tmp_path_factory.mktemp("inputs")
    masked = np.zeros((3, *SHAPE), bool)
    masked[1] = True
    masked[0, :10, :10] = True
    product = write_product(folder / "2022-05.zarr", DAYS, masked=masked, shape=SHAPE)
    scenes = folder / "scenes.zarr"
    scenes.mkdir()
    doubt = {"kind": "offset_doubted", "detail": "darkest vegetation at 0.088"}
    sources = [
        {"id": name, "offset": -1000, "hrefs": {"B04": f"{name}/B04.tif"}, "item_href": link}
        for name, link in zip(ITEMS, ["https://example.org/items/1", None, None], strict=True)
    ]
    sources[0]["evidence"] = [doubt]
    sources[1]["problem"] = "B05.tif is truncated"
    sources[2]["evidence"] = []
    (scenes / "zarr.json").write_text(json.dumps({"attributes": {"scenes": sources}}))
    return product, scenes


def run(inputs, out: Path, **options) -> list[str]:
    product, scenes = inputs
    settings = {
        "variables": ["lai"],
        "provenance": {"code": {"physics": "f00"}, "versions": {"canopyflow": "9"}},
    }
    return publish(product, out, campaign="demo", model="nsf", scenes=scenes, **(settings | options))


@pytest.fixture(scope="module")
def published(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("published") / "2022-05"
    return out, run(inputs, out)


def test_only_clear_scenes_have_an_item_and_none_is_forgotten(published):
    out, ids = published
    assert ids == [f"demo-nsf-32TMT-{ITEMS[0]}", f"demo-nsf-32TMT-{ITEMS[2]}"]
    record = json.loads((out / "provenance.json").read_text())
    assert record["left_out"] == [{"id": ITEMS[1], "reason": "B05.tif is truncated"}]
    assert [scene["id"] for scene in record["scenes"]] == ITEMS
    assert record["scenes"][0]["offset"] == -1000
    assert record["bundle_sha256"] == "b" * 64
    assert record["code"] == {"physics": "f00"}
    assert (record["summaries"], record["drawn_share"]) == ("learned", 0.03)


def test_evidence_about_a_scene_is_told_by_its_item_and_the_provenance(published):
    out, ids = published
    first, last = (json.loads((out / name / f"{name}.json").read_text())["properties"] for name in ids)
    told = [{"kind": "offset_doubted", "detail": "darkest vegetation at 0.088"}]
    assert first["canopyflow:evidence"] == told
    assert "canopyflow:evidence" not in last
    assert json.loads((out / "provenance.json").read_text())["scenes"][0]["evidence"] == told


def test_cogs_read_back_at_a_longitude_and_latitude(published):
    out, ids = published
    path = out / ids[1] / "lai.tif"
    with rasterio.open(path) as cog:
        assert cog.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert cog.overviews(1) == [2, 4]
        assert cog.compression.value == "DEFLATE"
        assert cog.descriptions == tuple(STATISTICS)
        assert cog.crs.to_epsg() == EPSG
        assert cog.nodata == FILL and cog.dtypes == ("int16",) * 7
        scale, offset = set(cog.scales), set(cog.offsets)
        assert scale == {scale_of("lai")} and offset == {32768 * scale_of("lai")}
        row, column = 123, 456
        lonlat = pyproj.Transformer.from_crs(EPSG, 4326, always_xy=True).transform(
            WEST + PIXEL * (column + 0.5), NORTH - PIXEL * (row + 0.5)
        )
        position = pyproj.Transformer.from_crs(4326, cog.crs, always_xy=True).transform(*lonlat)
        (values,) = cog.sample([position])
    expected = 1 + 0.2 + row / 100 + column / 1000
    assert values * scale.pop() + offset.pop() == pytest.approx(
        [expected, 0.5, *(expected + np.array([-0.8, -0.3, 0, 0.3, 0.8]))], abs=1e-4
    )


def test_masked_pixels_are_nodata_and_flagged(published):
    out, ids = published
    with rasterio.open(out / ids[0] / "lai.tif") as lai, rasterio.open(out / ids[0] / "flags.tif") as flags:
        assert (lai.read()[:, :10, :10] == FILL).all()
        assert (lai.read(1)[10:, 10:] != FILL).all()
        # Overviews are means of what has a value: four pixels make one, of which two here are masked.
        whole, half = lai.read(1).astype(float), lai.read(1, out_shape=(150, 260))
        assert (half[:5, :5] == FILL).all()
        assert half[2, 5] == pytest.approx(whole[4:6, 10:12].mean(), abs=1)
        assert flags.dtypes == ("uint8",)
        assert flags.nodata is None
        assert (flags.read(1) == 1).sum() == 100
        assert set(np.unique(flags.read(1, out_shape=(75, 130)))) <= {0, 1}


def test_stac_validates_and_links_resolve(published):
    out, ids = published
    collection = pystac.Collection.from_file(str(out / "collection.json"))
    validator = JsonSchemaSTACValidator()
    assert validator.validate_core(collection.to_dict(), pystac.STACObjectType.COLLECTION, "1.1.0")
    items = list(collection.get_items())
    assert sorted(item.id for item in items) == sorted(ids)
    for item in items:
        assert validator.validate_core(item.to_dict(), pystac.STACObjectType.ITEM, "1.1.0")
        assert item.get_collection() is collection
        assert set(item.assets) == {"lai", "fit", "flags"}
        for asset in item.assets.values():
            assert Path(asset.get_absolute_href()).is_file()
        with rasterio.open(item.assets["lai"].get_absolute_href()) as cog:
            assert item.properties["proj:shape"] == list(cog.shape)
            assert item.properties["proj:transform"] == list(cog.transform)[:6]
            west, south, east, north = rasterio.warp.transform_bounds(cog.crs, 4326, *cog.bounds)
            assert item.bbox == pytest.approx([west, south, east, north], abs=1e-4)
        lai = item.assets["lai"].extra_fields
        assert (lai["data_type"], lai["nodata"]) == ("int16", FILL)
        assert lai["raster:offset"] == 32768 * lai["raster:scale"] == 32768 * scale_of("lai")
        assert lai["bands"][1] == {"name": "std", "unit": "m2 m-2"}
        bits = item.assets["flags"].extra_fields["classification:bitfields"]
        assert [(b["name"], b["offset"]) for b in bits] == [
            ("masked", 0),
            ("out_of_domain", 1),
            ("input_outside_physics", 2),
        ]


@pytest.mark.parametrize(("epsg", "lon"), [(32701, 179.999), (32760, 179.999)])
def test_a_product_across_the_180th_meridian_is_cut_there(inputs, tmp_path, epsg, lon):
    """RFC 7946, 3.1.9 and 5.2: a MultiPolygon, and a bbox whose west is larger than its east."""
    product, scenes = inputs
    shutil.copytree(product, tmp_path / "moved.zarr")
    meta = tmp_path / "moved.zarr/zarr.json"
    content = json.loads(meta.read_text())
    x, y = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, -17.5)
    corner = [PIXEL, 0.0, PIXEL * round(x / PIXEL), 0.0, -PIXEL, PIXEL * round(y / PIXEL)]
    content["attributes"] |= {"epsg": epsg, "transform": corner}
    meta.write_text(json.dumps(content))
    ids = run((tmp_path / "moved.zarr", scenes), tmp_path / "out")
    item = json.loads((tmp_path / "out" / ids[0] / f"{ids[0]}.json").read_text())
    collection = json.loads((tmp_path / "out/collection.json").read_text())
    width = SHAPE[1] * PIXEL / 106_000
    west, south, east, north = item["bbox"]
    assert west == pytest.approx(lon, abs=3e-3) and east == pytest.approx(lon + width - 360, abs=3e-3)
    assert west > 179 and east < -179 and -17.6 < south < north < -17.49
    assert collection["extent"]["spatial"]["bbox"] == [item["bbox"]]
    assert item["geometry"]["type"] == "MultiPolygon"
    parts = [shapely.geometry.Polygon(rings[0]) for rings in item["geometry"]["coordinates"]]
    assert sorted(round(part.bounds[2] - part.bounds[0], 1) for part in parts) == [0.0, 0.1]
    assert sum(part.area for part in parts) == pytest.approx(width * SHAPE[0] * PIXEL / 110_700, rel=0.02)
    assert JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, "1.1.0")


def test_items_say_what_they_were_derived_from(published):
    out, ids = published
    links = {}
    for name in ids:
        item = pystac.Item.from_file(str(out / name / f"{name}.json"))
        (links[name],) = item.get_links("derived_from")
    assert links[ids[0]].get_href() == "https://example.org/items/1"
    assert links[ids[0]].title == ITEMS[0]
    assert links[ids[1]].get_href().endswith("../provenance.json")  # a source without an address of its own


def test_items_are_dated_to_the_second(published):
    out, ids = published
    for name, day in zip(ids, (DAYS[0], DAYS[2]), strict=True):
        properties = json.loads((out / name / f"{name}.json").read_text())["properties"]
        assert properties["datetime"] == f"{day}Z"


def test_publishing_twice_gives_the_same_bytes_anywhere(inputs, published, tmp_path):
    out, _ = published
    run(inputs, tmp_path / "elsewhere" / "x")
    assert content_digest(tmp_path / "elsewhere" / "x") == content_digest(out)


def test_a_second_run_replaces_the_folder_as_a_whole(inputs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "stale.txt").write_text("from an earlier run")
    run(inputs, out, variables=["lai", "ccc"])
    assert not (out / "stale.txt").exists()
    assert len(list(out.glob("*/ccc.tif"))) == 2


def test_unknown_variable_is_named_and_nothing_is_written(inputs, tmp_path):
    with pytest.raises(ConfigError, match=r"publication\.variables: 'cab'.*ccc, lai"):
        run(inputs, tmp_path / "out", variables=["lai", "cab"])
    assert list(tmp_path.iterdir()) == []


def test_item_id_that_leads_out_of_the_folder_is_refused(inputs, tmp_path):
    bad = "a/../../../../X"
    product = write_product(tmp_path / "in" / "p.zarr", DAYS[:1], items=[bad])
    with pytest.raises(DataError, match=r"p\.zarr.*cannot name a file"):
        run((product, inputs[1]), tmp_path / "out" / "deep" / "folder")
    assert not list(tmp_path.rglob("X*")) and not (tmp_path / "out" / "deep" / "folder").exists()


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1)])
def test_one_pixel_of_an_axis_has_the_size_of_the_others(inputs, tmp_path, shape):
    product = write_product(tmp_path / "small.zarr", DAYS[:1], shape=shape)
    (name,) = run((product, inputs[1]), tmp_path / "out")
    with rasterio.open(tmp_path / "out" / name / "lai.tif") as cog:
        assert cog.transform.to_gdal() == (WEST, PIXEL, 0.0, NORTH, 0.0, -PIXEL)


def test_a_product_that_does_not_say_where_it_lies_is_named(inputs, tmp_path):
    product = write_product(tmp_path / "p.zarr", DAYS[:1])
    metadata = json.loads((product / "zarr.json").read_text())
    del metadata["attributes"]["transform"]
    (product / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(DataError, match="where its pixels lie"):
        run((product, inputs[1]), tmp_path / "out")


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
@pytest.mark.parametrize("rows", [32, 300])
def test_a_product_is_published_shard_by_shard_as_it_would_be_at_once(inputs, published, tmp_path, rows):
    """Whatever strips it was written in."""
    other = tmp_path / "2022-05.zarr"
    with xr.open_zarr(inputs[0], consolidated=False, mask_and_scale=False) as store:
        whole = store.load().drop_encoding()
        tiles = {
            name: {"chunks": (*[1] * (array.ndim - 2), 16 if rows == 32 else 300, 520)}
            for name, array in whole.data_vars.items()
        }
        for name, array in whole.data_vars.items():
            tiles[name]["shards"] = (*[1] * (array.ndim - 2), rows, 520)
        whole.to_zarr(other, zarr_format=3, consolidated=False, encoding=tiles)
    run((other, inputs[1]), tmp_path / "out")
    assert content_digest(tmp_path / "out") == content_digest(published[0])
    assert not list((tmp_path / "out").rglob(".*"))


def test_a_fully_cloudy_month_is_published_as_an_empty_collection(tmp_path, inputs):
    masked = np.ones((1, 4, 6), bool)
    product = write_product(tmp_path / "cloudy.zarr", DAYS[:1], masked=masked)
    assert run((product, inputs[1]), tmp_path / "out") == []
    collection = pystac.Collection.from_file(str(tmp_path / "out" / "collection.json"))
    assert list(collection.get_items()) == []
    assert JsonSchemaSTACValidator().validate_core(
        collection.to_dict(), pystac.STACObjectType.COLLECTION, "1.1.0"
    )


def test_a_refined_product_publishes_its_effective_sizes(tmp_path):
    product = write_product(tmp_path / "2022-05.zarr", DAYS[:1], shape=(4, 6), refined=True)
    (tmp_path / "scenes.zarr").mkdir()
    (tmp_path / "scenes.zarr/zarr.json").write_text(json.dumps({"attributes": {"scenes": []}}))
    (name,) = run((product, tmp_path / "scenes.zarr"), tmp_path / "out")
    item = pystac.Item.from_file(str(tmp_path / "out" / name / f"{name}.json"))
    assert set(item.assets) == {"lai", "fit", "ess", "flags"}
    with rasterio.open(item.assets["ess"].get_absolute_href()) as cog:
        assert cog.read(1)[2, 3] == pytest.approx(1001.023)
