"""What leaves the house: COGs that are COGs, STAC that validates, bytes that do not change."""

import hashlib
import json
import re
import shutil
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyproj
import pystac
import pytest
import rasterio
import rasterio.warp
import shapely
import xarray as xr
import zarr
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rio_cogeo import cog_validate
from synthetic_product import EPSG, NORTH, PIXEL, STATISTICS, WEST, write_product, write_scenes

from canopyflow.atomic import content_digest
from canopyflow.errors import ConfigError, DataError
from canopyflow.inference.encoding import FILL, scale_of
from canopyflow.products.publish import publish
from canopyflow.vocabulary import FLAGS

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
    doubt = {"kind": "offset_doubted", "detail": "darkest vegetation at 0.088"}
    sources = [
        {"id": name, "offset": -1000, "hrefs": {"B04": f"{name}/B04.tif"}, "item_href": link}
        for name, link in zip(ITEMS, ["https://example.org/items/1", None, None], strict=True)
    ]
    sources[0]["evidence"] = [doubt]
    sources[1]["problem"] = "B05.tif is truncated"
    sources[2]["evidence"] = [{"kind": "angles_assumed", "detail": "5 degrees from the zenith assumed"}]
    return product, write_scenes(folder / "scenes.zarr", sources, shape=SHAPE)


def run(inputs, out: Path, **options) -> list[str]:
    product, scenes = inputs
    settings = {
        "variables": ["lai"],
        "provenance": {"code": {"physics": "f00"}, "versions": {"canopyflow": "9"}},
    }
    return publish(product, out, campaign="demo", model="nsf", scenes=scenes, **(settings | options))


def item(out: Path, name: str) -> dict:
    return json.loads((out / name / f"{name}.json").read_text())


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
    first, last = (item(out, name)["properties"] for name in ids)
    told = [{"kind": "offset_doubted", "detail": "darkest vegetation at 0.088"}]
    assert first["canopyflow:evidence"] == told
    assert [found["kind"] for found in last["canopyflow:evidence"]] == ["angles_assumed"]
    assert json.loads((out / "provenance.json").read_text())["scenes"][0]["evidence"] == told


def test_cogs_read_back_at_a_longitude_and_latitude(published):
    out, ids = published
    path = out / ids[1] / "lai_q95.tif"
    with rasterio.open(path) as cog:
        assert cog.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert cog.overviews(1) == [2, 4]
        assert cog.compression.value == "DEFLATE"
        assert cog.crs.to_epsg() == EPSG
        assert cog.nodata == FILL and cog.dtypes == ("int16",)
        assert cog.scales == (scale_of("lai"),) and cog.offsets == (32768 * scale_of("lai"),)
        row, column = 123, 456
        lonlat = pyproj.Transformer.from_crs(EPSG, 4326, always_xy=True).transform(
            WEST + PIXEL * (column + 0.5), NORTH - PIXEL * (row + 0.5)
        )
        position = pyproj.Transformer.from_crs(4326, cog.crs, always_xy=True).transform(*lonlat)
        ((number,),) = cog.sample([position])
        assert number * cog.scales[0] + cog.offsets[0] == pytest.approx(
            1 + 0.2 + row / 100 + column / 1000 + 0.8, abs=1e-4
        )


def test_each_statistic_is_a_file_that_describes_itself(published):
    out, ids = published
    for statistic in STATISTICS:
        with rasterio.open(out / ids[0] / f"lai_{statistic}.tif") as cog:
            assert cog.descriptions == (f"lai_{statistic}",)
            assert cog.units == ("m2 m-2",)
            assert "leaf area index" in cog.tags(1)["long_name"]
            assert cog.tags()["TIFFTAG_COPYRIGHT"] == "Contains modified Copernicus Sentinel data 2022"
            numbers, tags = cog.read(1, masked=True), cog.tags(1)
            found = {
                name: float(tags[f"STATISTICS_{name}"]) for name in ("MINIMUM", "MAXIMUM", "MEAN", "STDDEV")
            }
            # GDAL's are those of the stored numbers; QGIS and others apply scale and offset to them.
            expected = [numbers.min(), numbers.max(), numbers.mean(dtype=float), numbers.std(dtype=float)]
            assert list(found.values()) == pytest.approx([float(each) for each in expected], rel=1e-7)
            assert float(tags["STATISTICS_VALID_PERCENT"]) == pytest.approx(
                100 * (1 - 100 / numbers.size), abs=0.01
            )
    with rasterio.open(out / ids[0] / "flags.tif") as flags:
        assert not [name for name in flags.tags(1) if name.startswith("STATISTICS")]


def test_all_files_are_valid_cogs(published):
    out, ids = published
    files = sorted(out.rglob("*.tif"))
    assert len(files) == len(ids) * (7 + 2)
    for path in files:
        assert cog_validate(path, strict=True, quiet=True) == (True, [], []), path


def test_masked_pixels_are_nodata_and_flagged(published):
    out, ids = published
    path = out / ids[0]
    with rasterio.open(path / "lai_mean.tif") as lai, rasterio.open(path / "flags.tif") as flags:
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


def test_items_say_where_pixels_lie_and_how_they_are_stored(published):
    out, ids = published
    for name in ids:
        content = item(out, name)
        assert JsonSchemaSTACValidator().validate_core(content, pystac.STACObjectType.ITEM, "1.1.0")
        assert set(content["assets"]) == {
            *(f"lai_{statistic}" for statistic in STATISTICS), "fit", "flags", "thumbnail", "provenance",
        }  # fmt: skip
        known, lai = content["properties"], content["assets"]["lai_std"]
        with rasterio.open(out / name / lai["href"]) as cog:
            assert known["proj:shape"] == list(cog.shape)
            assert known["proj:transform"] == list(cog.transform)[:6]
            assert (known["proj:code"], known["proj:epsg"]) == (f"EPSG:{EPSG}", EPSG)
            west, south, east, north = rasterio.warp.transform_bounds(cog.crs, 4326, *cog.bounds)
            assert content["bbox"] == pytest.approx([west, south, east, north], abs=1e-4)
        (band,) = lai["raster:bands"]
        assert (band["data_type"], band["nodata"], band["unit"]) == ("int16", FILL, "m2 m-2")
        assert band["offset"] == 32768 * band["scale"] == 32768 * scale_of("lai")


def test_checksums_and_sizes_are_those_of_the_files(published):
    out, ids = published
    for name in ids:
        for key, asset in item(out, name)["assets"].items():
            data = (out / name / asset["href"]).resolve().read_bytes()
            if key == "provenance":
                continue
            assert asset["file:size"] == len(data)
            # A multihash: the code of SHA2-256, its length of 32 bytes, the digest.
            assert asset["file:checksum"] == "12" + "20" + hashlib.sha256(data).hexdigest()
    entries = json.loads((out / "provenance.json").read_text())["items"]
    assert {entry["id"]: entry["sha256"] for entry in entries} == {
        name: hashlib.sha256((out / name / f"{name}.json").read_bytes()).hexdigest() for name in ids
    }


def test_angles_and_clouds_are_told_and_no_angle_that_was_assumed(published):
    first, last = (item(published[0], name) for name in published[1])
    known = first["properties"]
    assert (known["view:sun_elevation"], known["view:sun_azimuth"]) == (50.0, 135.0)
    assert (known["view:incidence_angle"], known["view:azimuth"]) == (8.0, 100.0)
    # From 786 km above a sphere: sin(off nadir) / 6371 = sin(incidence) / 7157.
    assert known["view:off_nadir"] == pytest.approx(7.12, abs=0.005)
    assert known["eo:cloud_cover"] == 25.0
    assert known["canopyflow:clear_share"] == round(1 - 100 / 156000, 4)
    assert {name for name in last["properties"] if name.startswith("view:")} == {
        "view:sun_elevation",
        "view:sun_azimuth",
    }


def test_flags_are_bit_fields_and_their_shares_are_told(inputs, tmp_path):
    product = tmp_path / "flagged.zarr"
    shutil.copytree(inputs[0], product)
    flags = zarr.open_array(product / "flags", mode="r+")
    flags[0, 100:150] |= np.uint8(2)
    flags[0, 140:160] |= np.uint8(128)
    (name, _) = run((product, inputs[1]), tmp_path / "out")
    content = item(tmp_path / "out", name)
    shares = content["properties"]["canopyflow:flagged_shares"]
    clear = 300 * 520 - 100
    assert shares == {"out_of_domain": round(50 * 520 / clear, 4), "misfit": round(20 * 520 / clear, 4)}
    bits = content["assets"]["flags"]["classification:bitfields"]
    assert [(b["name"], 2 ** b["offset"], b["length"]) for b in bits] == [(n, b, 1) for n, b in FLAGS.items()]
    assert all(re.fullmatch("[0-9A-Za-z_-]+", c["name"]) for b in bits for c in b["classes"])
    palette = ElementTree.parse(tmp_path / "out" / name / "flags.qml").findall(".//paletteEntry")
    assert [int(entry.get("value")) for entry in palette] == [0, 1, 2, 128, 130]
    assert palette[-1].get("label") == "out_of_domain, misfit (130)"


def test_every_file_has_a_style_of_its_name_and_the_item_says_how_to_draw_it(published):
    out, ids = published
    for path in out.rglob("*.tif"):
        assert path.with_suffix(".qml").is_file()
    content = item(out, ids[0])
    renders, assets = content["properties"]["renders"], content["assets"]
    assert set(renders) == set(assets) - {"flags", "thumbnail", "provenance"}
    for name, block in renders.items():
        assert block["assets"] == [name]
        (band,) = assets[name]["raster:bands"]
        least, most = (number * band["scale"] + band["offset"] for number in block["rescale"][0])
        shader = ElementTree.parse(out / ids[0] / f"{name}.qml").find(".//colorrampshader")
        # The one in stored numbers, the other in values: the same range.
        assert least == pytest.approx(float(shader.get("minimumValue")), abs=band["scale"])
        assert most == pytest.approx(float(shader.get("maximumValue")), abs=band["scale"])


def test_the_picture_shows_values_where_there_are_some(published):
    out, ids = published
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(out / ids[0] / "thumbnail.png") as file:
            red, green, blue, alpha = file.read().astype(int)
    # 300 by 520 pixels, every second of them.
    assert red.shape == (150, 260)
    assert (alpha[:4, :4] == 0).all() and (alpha[6:, 6:] == 255).all()
    assert red[100, 200] < red[20, 20] and green[100, 200] > blue[100, 200]


def test_a_statistic_that_an_estimator_does_not_have_has_no_file(inputs, tmp_path):
    product = tmp_path / "2022-05.zarr"
    shutil.copytree(inputs[0], product)
    zarr.open_array(product / "lai", mode="r+")[:, 1:] = FILL
    (name, _) = run((product, inputs[1]), tmp_path / "out")
    content = item(tmp_path / "out", name)
    assert set(content["assets"]) == {"lai_mean", "fit", "flags", "thumbnail", "provenance"}
    assert sorted(path.name for path in (tmp_path / "out" / name).glob("lai*")) == [
        "lai_mean.qml",
        "lai_mean.tif",
    ]


def test_simulated_scenes_are_nobodys(inputs, tmp_path):
    (name, _) = run(inputs, tmp_path / "out", simulated=True)
    with rasterio.open(tmp_path / "out" / name / "fit.tif") as cog:
        assert "no Copernicus" in cog.tags()["TIFFTAG_COPYRIGHT"]
    assert "no Copernicus" in json.loads((tmp_path / "out/provenance.json").read_text())["attribution"]


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
    content = item(tmp_path / "out", ids[0])
    record = json.loads((tmp_path / "out/provenance.json").read_text())
    width = SHAPE[1] * PIXEL / 106_000
    west, south, east, north = content["bbox"]
    assert west == pytest.approx(lon, abs=3e-3) and east == pytest.approx(lon + width - 360, abs=3e-3)
    assert west > 179 and east < -179 and -17.6 < south < north < -17.49
    assert record["bbox"] == content["bbox"]
    assert content["geometry"]["type"] == "MultiPolygon"
    parts = [shapely.geometry.Polygon(rings[0]) for rings in content["geometry"]["coordinates"]]
    assert sorted(round(part.bounds[2] - part.bounds[0], 1) for part in parts) == [0.0, 0.1]
    assert sum(part.area for part in parts) == pytest.approx(width * SHAPE[0] * PIXEL / 110_700, rel=0.02)
    assert JsonSchemaSTACValidator().validate_core(content, pystac.STACObjectType.ITEM, "1.1.0")


def test_items_are_derived_from_stac_items_and_from_nothing_else(published):
    out, ids = published
    first, last = ([k for k in item(out, name)["links"] if k["rel"] == "derived_from"] for name in ids)
    assert [(link["href"], link["title"]) for link in first] == [("https://example.org/items/1", ITEMS[0])]
    # A source without an address of its own: the provenance has its pinned record.
    assert last == []
    assert item(out, ids[1])["assets"]["provenance"]["href"] == "../provenance.json"


def test_items_are_dated_to_the_second(published):
    out, ids = published
    for name, day in zip(ids, (DAYS[0], DAYS[2]), strict=True):
        assert item(out, name)["properties"]["datetime"] == f"{day}Z"


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
    assert len(list(out.glob("*/ccc_mean.tif"))) == 2


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
    with rasterio.open(tmp_path / "out" / name / "lai_mean.tif") as cog:
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


def test_a_fully_cloudy_month_is_published_without_items(tmp_path, inputs):
    masked = np.ones((1, 4, 6), bool)
    product = write_product(tmp_path / "cloudy.zarr", DAYS[:1], masked=masked)
    assert run((product, inputs[1]), tmp_path / "out") == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["provenance.json"]
    record = json.loads((tmp_path / "out/provenance.json").read_text())
    assert record["items"] == [] and record["period"] == ["2022-05-01T00:00:00Z", "2022-05-31T23:59:59Z"]


def test_a_refined_product_publishes_its_effective_sizes(tmp_path):
    product = write_product(tmp_path / "2022-05.zarr", DAYS[:1], shape=(4, 6), refined=True)
    scenes = write_scenes(tmp_path / "scenes.zarr", [])
    (name,) = run((product, scenes), tmp_path / "out")
    assert {"lai_mean", "fit", "ess", "flags"} < set(item(tmp_path / "out", name)["assets"])
    with rasterio.open(tmp_path / "out" / name / "ess.tif") as cog:
        assert cog.read(1)[2, 3] == pytest.approx(1001.023)
