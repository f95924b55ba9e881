"""Items as catalogues should not write them: handled, or refused by name before anything is read."""

import copy
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from support_archive import BANDS, real_data, save_item, write_item

from canopyflow.archive.areas import areas_of
from canopyflow.archive.items import asset_candidates, baseline, datatake, mgrs_tile, outline, platform
from canopyflow.archive.pinned import parts
from canopyflow.archive.search import Query, search
from canopyflow.errors import ArchiveError

AREA = (10.84, 46.93, 10.86, 46.95)
SAFE = "S2A_MSIL2A_20190524T101031_N0212_R022_T31NBJ_20190524T130304"
Item = dict[str, Any]


def find(catalog: Path | str, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "collection": "sentinel-2-l2a",
        "areas": {"": AREA},
        "start": date(2015, 7, 1),
        "end": date(2030, 1, 1),
        "bands": BANDS,
        "resolution": 10.0,
        "max_cloud_cover": 100.0,
    }
    return search(str(catalog), Query(**(arguments | changes)))


def reasons(pinned: dict[str, Any]) -> dict[str, str]:
    return {r["id"]: r["reason"] for r in pinned["lock"]["rejected"]}


def placed(**fields: Any) -> Callable[[Item], None]:
    """Sets projection fields of B04."""

    def change(item: Item) -> None:
        item["assets"]["B04"].update({f"proj:{name}": value for name, value in fields.items()})

    return change


def told(name: str, value: Any) -> Callable[[Item], None]:
    return lambda item: item["properties"].update({name: value})


def declared(**band: Any) -> Callable[[Item], None]:
    return lambda item: item["assets"]["B04"].update({"raster:bands": [band]})


def without(*names: str) -> Callable[[Item], None]:
    return lambda item: [item.pop(name) for name in names] and None


def in_degrees(item: Item) -> None:
    for part in (item["properties"], *item["assets"].values()):
        part |= {"proj:epsg": 4326, "proj:transform": [1e-4, 0, 10.8, 0, -1e-4, 47.0]}


REFUSED = {
    "degrees": (in_degrees, "EPSG:4326, in degree and not in metres"),
    "degrees in one asset": (placed(epsg=4326), "EPSG:4326, in degree"),
    "no such projection": (placed(epsg=99999), "EPSG:99999, which is no projection"),
    "another zone": (placed(epsg=32633), "EPSG:32633, that of the item EPSG:32632"),
    "degrees by its pixels": (
        placed(transform=[1e-4, 0, 10.8, 0, -1e-4, 47.0]),
        "pixels of 0.0001 x 0.0001 m",
    ),
    "huge pixels": (placed(transform=[1e6, 0, 6e5, 0, -1e6, 5.2e6]), "none of Sentinel-2"),
    "no pixels": (placed(transform=[0, 0, 6e5, 0, 0, 5.2e6]), "none of Sentinel-2"),
    "not square": (placed(transform=[10, 0, 6e5, 0, -20, 5.2e6]), "pixels of 10 x 20 m"),
    "upside down": (placed(transform=[10, 0, 6e5, 0, 10, 5.2e6]), "turned or upside down"),
    "mirrored": (placed(transform=[-10, 0, 6e5, 0, -10, 5.2e6]), "turned or upside down"),
    "turned": (placed(transform=[7, 7, 6e5, 7, -7, 5.2e6]), "turned or upside down"),
    "no transform": (placed(transform=[10, 0, 6e5]), "are no transform and shape"),
    "not a number": (placed(transform=[10, 0, float("nan"), 0, -10, 5.2e6]), "are no transform and shape"),
    "no raster": (placed(shape=[0, 128]), "a raster of [0, 128] pixels"),
    "float": (declared(data_type="float32"), "holds float32 and declares no scale"),
    "int16": (declared(data_type="int16"), "holds int16 and declares no scale"),
    "float in one band": (
        lambda item: item["assets"]["B11"].update({"raster:bands": [{"data_type": "float32"}]}),
        "asset B11 holds float32 and declares no scale",
    ),
    "8 bits": (declared(data_type="uint8"), "holds uint8 and declares no scale"),
    "no datetime": (told("datetime", None), "the item has no datetime"),
    "no date": (told("datetime", "some day"), "its datetime 'some day' is none"),
    "landsat": (told("platform", "landsat-8"), "platform landsat-8 is not Sentinel-2"),
    "S2Z": (told("platform", "sentinel-2z"), "platform sentinel-2z is not Sentinel-2"),
    "no number of clouds": (told("eo:cloud_cover", "few"), "is no valid STAC item"),
    "polygon of two points": (
        lambda item: item.update(geometry={"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}),
        "a ring of 2 points",
    ),
    "point": (
        lambda item: item.update(geometry={"type": "Point", "coordinates": [0, 0]}),
        "a Point is no polygon",
    ),
    "bbox of three": (
        lambda item: item.update(geometry=None, bbox=[10.0, 46.0, 11.0]),
        "a bbox of 3 numbers",
    ),
    "nowhere": (
        lambda item: (
            without("geometry", "bbox")(item),
            [asset.pop("proj:transform") for asset in item["assets"].values()],
        )[0],
        "neither geometry nor bbox, nor projection fields",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name_and_the_others_stay(tmp_path: Path, case: str) -> None:
    change, reason = REFUSED[case]
    write_item(tmp_path, "2022-05-01")
    odd = write_item(tmp_path, "2022-05-03")
    change(odd)
    save_item(tmp_path, odd)
    pinned = find(tmp_path)
    assert [f["properties"]["datetime"][:10] for f in pinned["features"]] == ["2022-05-01"]
    assert reason in reasons(pinned)[odd["id"]]


MISSHAPEN: dict[str, Callable[[Item], object]] = {
    "an address that cannot be read": lambda item: item["assets"]["B04"].update(href="https://[::1/x"),
    "no address": lambda item: item["assets"]["B04"].update(href=None),
    "text for an asset": lambda item: item["assets"].update(B04="B04.tif"),
    "a list of alternates": lambda item: item["assets"]["B04"].update(href="s3://b/x", alternate=["x"]),
    "a number for links": lambda item: item.update(links=7),
}


@pytest.mark.parametrize("case", MISSHAPEN)
def test_a_misshapen_item_over_http_costs_no_other(tmp_path: Path, case: str) -> None:
    write_item(tmp_path, "2022-05-01")
    odd = write_item(tmp_path, "2022-05-03")
    MISSHAPEN[case](odd)
    save_item(tmp_path, odd)
    with FaultServer(tmp_path) as server:
        pinned = find(f"{server.url}/catalog.json")
    kept = {f["id"] for f in pinned["features"]}
    assert kept | reasons(pinned).keys() == {odd["id"], odd["id"].replace("20220503", "20220501")}
    assert (odd["id"] in kept) is (case == "a number for links")


def test_angles_that_assets_state_are_pinned(tmp_path: Path) -> None:
    item = write_item(tmp_path)
    item["assets"]["B04"].update({"view:incidence_angle": 7.5, "view:azimuth": 290.0})
    save_item(tmp_path, item)
    pinned = find(tmp_path)["features"][0]["assets"]["B04"]
    assert (pinned["view:incidence_angle"], pinned["view:azimuth"]) == (7.5, 290.0)


HANDLED = {
    "no geometry": without("geometry"),
    "no bbox": without("bbox"),
    "neither": without("geometry", "bbox"),
    "bbox of six": lambda item: item.update(
        geometry=None, bbox=[*item["bbox"][:2], 0.0, *item["bbox"][2:], 4000.0]
    ),
    "start of an interval": lambda item: item["properties"].update(
        {"datetime": None, "start_datetime": "2022-05-03T10:16:01Z"}
    ),
    "no zone of time": told("datetime", "2022-05-03 10:16:01"),
    "no platform": told("platform", None),
    "a constellation": told("platform", "sentinel-2"),
    "platform in capitals": told("platform", "SENTINEL-2A"),
    "float with a scale": declared(data_type="float32", scale=1.0),
    "int16 with a scale": declared(data_type="int16", scale=0.0001, offset=0),
    "no projection of B04": placed(
        transform=None, shape=None, bbox=[640000.0, 5198720.0, 641280.0, 5200000.0]
    ),
    "projection as code": lambda item: (
        item["properties"].pop("proj:epsg"),
        item["properties"].update({"proj:code": "EPSG:32632"}),
    )[0],
    "transform of nine": placed(transform=[10, 0, 640000.0, 0, -10, 5200000.0, 0, 0, 1]),
}


@pytest.mark.parametrize("case", HANDLED)
def test_handled(tmp_path: Path, case: str) -> None:
    plain = write_item(tmp_path, "2022-05-03")
    before = find(tmp_path)
    HANDLED[case](plain)  # type: ignore[no-untyped-call]
    save_item(tmp_path, plain)
    pinned = find(tmp_path)
    assert reasons(pinned) == {}
    assert pinned["lock"]["tiles"] == before["lock"]["tiles"]
    assert pinned["features"][0]["canopyflow"] == before["features"][0]["canopyflow"]


def test_an_id_of_two_days_is_refused_and_an_item_twice_counts_once(tmp_path: Path) -> None:
    write_item(tmp_path, "2022-05-01")
    first, second = write_item(tmp_path, "2022-05-03"), write_item(tmp_path, "2022-05-05")
    twin = copy.deepcopy(second)
    twin["id"] = first["id"]
    folder = tmp_path / "sentinel-2-l2a" / second["id"]
    (folder / f"{second['id']}.json").write_text(json.dumps(twin))
    pinned = find(tmp_path)
    assert len(pinned["features"]) == 1
    assert reasons(pinned) == {first["id"]: "its id is that of several acquisitions (2022-05-03, 2022-05-05)"}
    (folder / f"{second['id']}.json").write_text(json.dumps(first))
    pinned = find(tmp_path)
    assert [f["id"] for f in pinned["features"]].count(first["id"]) == 1
    assert len(pinned["features"]) == 2


def test_of_two_contents_of_one_id_the_newer_is_kept(tmp_path: Path) -> None:
    first, second = write_item(tmp_path, "2022-05-03"), write_item(tmp_path, "2022-05-05")
    newer = copy.deepcopy(first)
    newer["properties"] |= {"s2:generation_time": "2024-01-01T00:00:00Z", "s2:processing_baseline": "05.10"}
    (tmp_path / "sentinel-2-l2a" / second["id"] / f"{second['id']}.json").write_text(json.dumps(newer))
    pinned = find(tmp_path)
    assert [f["properties"]["s2:processing_baseline"] for f in pinned["features"]] == ["05.10"]
    assert "another edition" in reasons(pinned)[first["id"]]


def test_one_id_in_two_tiles_is_two_scenes(tmp_path: Path) -> None:
    first, second = write_item(tmp_path, zone=32), write_item(tmp_path, zone=33)
    second_file = tmp_path / "sentinel-2-l2a" / second["id"] / f"{second['id']}.json"
    second_file.write_text(json.dumps({**second, "id": first["id"]}))
    pinned = find(tmp_path, areas={"": (10.7, 46.8, 10.9, 47.0)})
    assert [f["canopyflow"]["tile"] for f in pinned["features"]] == [["32TPT"], ["33TPT"]]
    assert [f["assets"]["B04"]["href"].split("/")[1][-21:-16] for f in pinned["features"]] == [
        "32TPT",
        "33TPT",
    ]


def test_parts_of_a_tile_know_each_other(tmp_path: Path) -> None:
    """The ends of datastrips overlap: the second spectrum of a pixel is no second acquisition."""
    write_item(tmp_path, "2022-05-01")
    names = [write_item(tmp_path, "2022-05-03", datastrip=strip)["id"] for strip in ("101610", "101730")]
    pinned = find(tmp_path, areas={"West": (10.840, 46.935, 10.845, 46.945), "All": AREA})
    duplicates = {f["id"]: f["canopyflow"]["duplicates"] for f in pinned["features"]}
    assert {name: duplicates[name] for name in names} == {names[0]: [names[1]], names[1]: [names[0]]}
    assert [len(other) for other in duplicates.values()].count(0) == 1
    for _, _, part in parts(pinned):
        assert {f["id"]: f["canopyflow"]["duplicates"] for f in part["features"]} == duplicates


def test_without_datastrips_outlines_tell_parts_of_a_tile_from_editions(tmp_path: Path) -> None:
    first = write_item(tmp_path, "2022-05-03")
    second = write_item(tmp_path, "2022-05-03", generated="20220601T120000")
    assert len(find(tmp_path)["features"]) == 1
    west, south, east, north = first["bbox"]
    middle = south + 0.4 * (north - south)
    for item, low, high in ((first, middle, north), (second, south, middle + 0.1 * (north - south))):
        corners = [[west, low], [east, low], [east, high], [west, high], [west, low]]
        item["geometry"] = {"type": "Polygon", "coordinates": [corners]}
        save_item(tmp_path, item)
    assert len(find(tmp_path)["features"]) == 2


def across(item: Item) -> Item:
    """The item as one of tile 01WCQ, whose outline lies across the 180th meridian and is not cut there."""
    ring = [[-179.3, 67.5], [-179.1, 67.6], [-179.0, 66.6], [179.8, 66.6], [-179.3, 67.5]]
    item["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    item["bbox"] = [-179.3, 66.6, 179.8, 67.6]
    item["properties"] |= {"proj:epsg": 32601, "s2:mgrs_tile": "01WCQ"}
    for asset in item["assets"].values():
        pixel = asset["proj:transform"][0]
        asset["proj:transform"] = [pixel, 0, 300000.0, 0, -pixel, 7500000.0]
        asset["proj:shape"] = [round(109800 / pixel)] * 2
    return item


def test_across_the_180th_meridian(tmp_path: Path) -> None:
    item = across(write_item(tmp_path))
    save_item(tmp_path, item)
    both = find(tmp_path, areas={"": (179.8, 66.7, -179.5, 66.9)})
    assert list(both["lock"]["tiles"]) == ["01WCQ"]
    assert both["lock"]["query"]["areas"] == {"": [179.8, 66.7, -179.5, 66.9]}
    west, south, east, north = both["lock"]["tiles"]["01WCQ"]["bounds"]
    assert 28_000 < east - west < 33_000 and 20_000 < north - south < 26_000
    assert west >= 300000 and north <= 7500000
    halves = [
        find(tmp_path, areas={"": half}) for half in ((179.8, 66.7, 180, 66.9), (-180, 66.7, -179.5, 66.9))
    ]
    joined = [half["lock"]["tiles"]["01WCQ"]["bounds"] for half in halves]
    assert min(b[0] for b in joined) == west and max(b[2] for b in joined) == east
    with pytest.raises(ArchiveError, match="no item found"):
        find(tmp_path, areas={"": (-1.0, 66.7, 1.0, 66.9)})


def test_whole_tiles(tmp_path: Path) -> None:
    save_item(tmp_path, across(write_item(tmp_path, "2022-05-01")))
    write_item(tmp_path, "2022-05-03")
    areas = areas_of({"mgrs_tiles": ["1WCQ"]})
    pinned = find(tmp_path, areas=areas.polygons, tiles=areas.tiles)
    assert pinned["lock"]["tiles"] == {
        "01WCQ": {"epsg": 32601, "bounds": [300000.0, 7390200.0, 409800.0, 7500000.0], "resolution": 10.0}
    }
    assert pinned["lock"]["query"]["tiles"] == ["01WCQ"]
    areas = areas_of({"mgrs_tiles": ["01WCQ", "32TMT"]})
    assert (
        "tile 32TMT has no usable item"
        in find(tmp_path, areas=areas.polygons, tiles=areas.tiles)["lock"]["messages"]
    )


def item_of(properties: Item, name: str = "x") -> Item:
    return {"id": name, "properties": properties, "assets": {}, "links": []}


@pytest.mark.parametrize(
    ("properties", "name", "expected"),
    [
        ({"s2:processing_baseline": "05.11"}, "x", "05.11"),
        ({"s2:processing_baseline": "5.11"}, "x", "05.11"),
        ({"s2:processing_baseline": 5.1}, "x", "05.10"),
        ({"s2:processing_baseline": 4}, "x", "04.00"),
        ({"s2:processing_baseline": "N0400"}, "x", "04.00"),
        ({"sentinel:processing_baseline": "05.09"}, "x", "05.09"),
        ({"sentinel2:processing_baseline": "05.09"}, "x", "05.09"),
        ({"processing:version": "05.11"}, "x", "05.11"),
        (
            {"processing:version": "2.11.0"},
            "S2A_MSIL2A_20190524T101031_N0212_R022_T31NBJ_20190524T130304",
            "02.12",
        ),
        (
            {"sentinel:product_id": SAFE},
            "x",
            "02.12",
        ),
        ({}, "x", ""),
    ],
)
def test_spellings_of_the_baseline(properties: Item, name: str, expected: str) -> None:
    assert baseline(item_of(properties, name)) == expected


@pytest.mark.parametrize("text", ["sentinel-2b", "Sentinel-2B", "SENTINEL-2B", "S2B", "Sentinel 2B", "2B"])
def test_spellings_of_the_platform(text: str) -> None:
    assert platform(item_of({"platform": text})) == "S2B"


@pytest.mark.parametrize(
    "properties",
    [
        {"mgrs:utm_zone": 1, "mgrs:latitude_band": "W", "mgrs:grid_square": "CQ"},
        {"sentinel:utm_zone": 1, "sentinel:latitude_band": "W", "sentinel:grid_square": "CQ"},
        {"s2:mgrs_tile": "01WCQ"},
        {"grid:code": "MGRS-1WCQ"},
        {"sentinel2:product_title": "S2A_MSIL2A_20230602T233651_N0509_R030_T01WCQ_20230603T031757"},
    ],
)
def test_spellings_of_the_tile(properties: Item) -> None:
    assert mgrs_tile(item_of(properties)) == "01WCQ"


def test_the_datatake_of_the_copernicus_data_space() -> None:
    item = item_of({"platform": "sentinel-2b", "eopf:datatake_id": "GS2B_20240825T173909_039020_N05.11"})
    assert datatake(item) == "S2B_20240825T173909"


@pytest.mark.parametrize(
    ("key", "asset"),
    [
        ("B05", {}),
        ("rededge1", {}),
        ("B05_20m", {}),
        ("rededge1_20m", {}),
        ("b05", {}),
        ("five", {"eo:bands": [{"name": "B05", "common_name": "rededge"}]}),
        ("five", {"bands": [{"name": "B05", "eo:common_name": "rededge071"}]}),
        ("five", {"eo:bands": [{"name": "rededge1"}]}),
        ("five", {"title": "Band 5 (vegetation red edge)"}),
        ("five", {"title": "Red edge 1 (band 5) - 20m"}),
        ("five", {"title": "B05"}),
    ],
)
def test_an_asset_is_known_by_key_band_or_title(key: str, asset: Item) -> None:
    item = item_of({})
    item["assets"] = {
        "six": {"href": "6", "eo:bands": [{"name": "B06", "common_name": "rededge"}]},
        "edge": {"href": "e", "eo:bands": [{"common_name": "rededge"}]},
        "visual": {"href": "v", "title": "Bands 5, 4, 3", "eo:bands": [{"name": "B05"}, {"name": "B04"}]},
        key: {"href": "5", **asset},
    }
    assert [candidate["href"] for candidate in asset_candidates(item, "B05")] == ["5"]


def test_fine_pixels_and_geotiffs_come_first() -> None:
    item = item_of({})
    band = {"eo:bands": [{"name": "B04", "common_name": "red"}]}
    item["assets"] = {
        "jpeg": {"href": "a.jp2", "gsd": 10, **band},
        "coarse": {"href": "b.tif", "gsd": 60, **band},
        "fine": {"href": "c.tif", "gsd": 10, **band},
        "red": {"href": "d.tif"},
    }
    assert [asset["href"] for asset in asset_candidates(item, "B04")] == ["d.tif", "c.tif", "b.tif", "a.jp2"]


CDSE = "https://download.dataspace.copernicus.eu/odata/v1/Products(1)/Nodes({})/$value"


def test_files_of_the_copernicus_data_space_come_by_https_or_from_its_bucket(tmp_path: Path) -> None:
    item = write_item(tmp_path)
    for name, asset in item["assets"].items():
        asset["href"] = f"s3://eodata/Sentinel-2/{name}.jp2"
        asset["alternate"] = {"https": {"href": CDSE.format(name), "auth:refs": ["oidc"]}}
    item["properties"] = {
        name: value for name, value in item["properties"].items() if not name.startswith(("s2:", "proj:"))
    } | {"grid:code": "MGRS-32TPT", "processing:version": "04.00", "proj:code": "EPSG:32632"}
    save_item(tmp_path, item)
    hrefs = [
        find(tmp_path, from_bucket=bucket)["features"][0]["assets"]["B04"]["href"] for bucket in (False, True)
    ]
    assert hrefs == [CDSE.format("B04"), "https://eodata.dataspace.copernicus.eu/eodata/Sentinel-2/B04.jp2"]


REAL = {
    "items/earth-search-v1_2025.json": ("24MUA", "S2B", "granule-metadata"),
    "items/sentinel-cogs-v0.json": ("31NBJ", "S2A", "granule-metadata"),
    "items/planetary-computer_baseline-0212.json": ("06VVN", "S2B", "granule-metadata product-metadata"),
    "items/planetary-computer_baseline-0511.json": ("13TDE", "S2B", "granule-metadata product-metadata"),
    "earth-search_33TWM_20230813/S2B_33TWM_20230813_0_L2A.json": ("33TWM", "S2B", "granule-metadata"),
    "safe_metadata/S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857/expected_output.json": (
        "07HFE", "S2A", "granule-metadata product-metadata",
    ),
    "safe_metadata/S2B_MSIL2A_20220413T150759_N0400_R025_T33XWJ_20220414T082126/expected_output.json": (
        "33XWJ", "S2B", "granule-metadata product-metadata",
    ),
    "items/sinergise_antimeridian.json": ("01WCQ", "", "B02: s3://sentinel-s2-l2a/tiles/1/W/CQ/2023/6/2/1/R10m/B02.jp2"),
}  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_real_items_are_kept_whole_or_refused_for_a_bucket_that_is_paid(tmp_path: Path, name: str) -> None:
    content = json.loads((real_data() / "archive_samples" / name).read_text())
    item = content.get("features", [content])[0]
    item["collection"] = "sentinel-2-l2a"
    (tmp_path / "sentinel-2-l2a" / item["id"]).mkdir(parents=True)
    save_item(tmp_path, item)
    tile, satellite, rest = REAL[name]
    whole = areas_of({"mgrs_tiles": [tile]})
    if not satellite:
        with pytest.raises(ArchiveError, match=rf"asset {rest} is not reachable by http"):
            find(tmp_path, areas=whole.polygons, tiles=whole.tiles)
        return
    pinned = find(tmp_path, areas=whole.polygons, tiles=whole.tiles)
    (feature,) = pinned["features"]
    assert feature["canopyflow"]["tile"] == [tile] and feature["canopyflow"]["platform"] == satellite
    assert set(feature["assets"]) == {*BANDS, "SCL", *rest.split()}
    west, south, east, north = pinned["lock"]["tiles"][tile]["bounds"]
    assert east - west == north - south == 109_800
    # A point that it covers finds it as well as the name of its tile does.
    middle = outline(item).representative_point()
    around = (middle.x - 1e-4, middle.y - 1e-4, middle.x + 1e-4, middle.y + 1e-4)
    assert list(find(tmp_path, areas={"": around})["lock"]["tiles"]) == [tile]
