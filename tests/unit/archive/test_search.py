"""Searching: what is kept, what is rejected and why, on which grid, and what if there is nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support_archive import BANDS, UTM, real_data, save_item, write_item

from canopyflow.archive import catalogue
from canopyflow.archive import search as archive_search
from canopyflow.archive.http import Client, Patience
from canopyflow.archive.items import Unusable, datatake, item_href, mgrs_tile, pin_href, platform
from canopyflow.archive.pinned import digest, grid_of, items_of, read_index, read_pinned, tile_months
from canopyflow.archive.presets import check_keys
from canopyflow.archive.search import Query, pin, search
from canopyflow.atomic import write_json
from canopyflow.errors import ArchiveError, ArchiveUnreachable

AREA = (10.84, 46.93, 10.86, 46.95)


def find(catalog: Path | str, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "collection": "sentinel-2-l2a",
        "areas": {"": AREA},
        "start": date(2022, 4, 1),
        "end": date(2022, 6, 30),
        "bands": BANDS,
        "resolution": 10.0,
        "max_cloud_cover": 60.0,
    }
    asset_base = changes.pop("asset_base", None)
    return search(str(catalog), Query(**(arguments | changes)), asset_base)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for again is asked for at once."""
    monkeypatch.setattr(catalogue, "open_client", lambda: Client(patience=Patience(pause=0.001)))


def reasons(pinned: dict[str, Any]) -> dict[str, str]:
    return {r["id"]: r["reason"] for r in pinned["lock"]["rejected"]}


def test_static_catalogue_is_pinned_with_relative_hrefs_and_no_trace_of_its_place(tmp_path: Path) -> None:
    write_item(tmp_path / "a", "2022-05-01")
    first = find(tmp_path / "a" / "catalog.json")
    (tmp_path / "a").rename(tmp_path / "b")
    assert json.dumps(find(tmp_path / "b" / "catalog.json")) == json.dumps(first)
    (feature,) = first["features"]
    assert feature["assets"]["B04"]["href"] == f"sentinel-2-l2a/{feature['id']}/B04.tif"
    assert feature["canopyflow"] == {
        "tile": ["32TPT"],
        "month": "2022-05",
        "platform": "S2A",
        "duplicates": [],
    }
    assert tile_months(first) == [("32TPT", "2022-05")]
    assert items_of(first, "32TPT", "2022-06") == []
    assert str(tmp_path) not in json.dumps(first)


def test_grid_is_area_and_pixels_in_common_on_multiples_of_the_resolution(tmp_path: Path) -> None:
    write_item(tmp_path)
    grid = grid_of(find(tmp_path, areas={"": (10.7, 46.8, 10.9, 47.0)}, resolution=20.0), "32TPT")
    west, north = UTM[32]
    assert grid.bounds == (west, north - 1280, west + 1280, north)
    assert grid.shape == (64, 64)
    assert grid.x[0] == west + 10
    assert grid.y[0] == north - 10
    small = grid_of(find(tmp_path, areas={"": (10.8405, 46.935, 10.8410, 46.9354)}), "32TPT")
    assert all(edge % 10 == 0 for edge in small.bounds)
    assert 1 < small.shape[0] < 10
    assert type(small).from_dict(json.loads(json.dumps(small.to_dict()))) == small


def test_period_is_inclusive_and_cloud_cover_is_filtered_here(tmp_path: Path) -> None:
    write_item(tmp_path, "2022-04-01")
    write_item(tmp_path, "2022-06-30")
    write_item(tmp_path, "2022-07-01")
    cloudy = write_item(tmp_path, "2022-05-03", **{"eo:cloud_cover": 80.0})
    silent = write_item(tmp_path, "2022-05-04", **{"eo:cloud_cover": None})
    pinned = find(tmp_path)
    assert [f["properties"]["datetime"][:10] for f in pinned["features"]] == [
        "2022-04-01",
        "2022-05-04",
        "2022-06-30",
    ]
    assert "80.0 %" in reasons(pinned)[cloudy["id"]]
    assert silent["id"] not in reasons(pinned)


def test_newest_edition_is_kept_and_esa_before_9999(tmp_path: Path) -> None:
    """The datatake id ends in the baseline and must not keep editions apart."""
    old = write_item(tmp_path, "2022-05-01", baseline="04.00", generated="20220501T180000")
    new = write_item(tmp_path, "2022-05-01", baseline="05.10", generated="20240101T180000")
    other = write_item(tmp_path, "2022-05-01", baseline="99.99", generated="20250101T180000")
    pinned = find(tmp_path)
    assert [f["id"] for f in pinned["features"]] == [new["id"]]
    assert set(reasons(pinned)) == {old["id"], other["id"]}
    assert new["id"] in reasons(pinned)[old["id"]]


def test_parts_of_a_tile_from_two_datastrips_are_both_kept(tmp_path: Path) -> None:
    write_item(tmp_path, datastrip="101610")
    write_item(tmp_path, datastrip="101730")
    assert len(find(tmp_path)["features"]) == 2


def test_item_without_a_band_is_rejected_by_its_name(tmp_path: Path) -> None:
    write_item(tmp_path, "2022-05-01")
    broken = write_item(tmp_path, "2022-05-02")
    del broken["assets"]["B8A"]
    save_item(tmp_path, broken)
    pinned = find(tmp_path)
    assert len(pinned["features"]) == 1
    assert reasons(pinned) == {broken["id"]: "asset B8A is missing"}
    with pytest.raises(ArchiveError, match=r"no usable item.*B12 is missing"):
        find(tmp_path, bands=[*BANDS, "B12"])


@pytest.mark.parametrize("href", ["../../../secret/B04.tif", "/etc/passwd", "file:///etc/passwd"])
def test_href_that_leaves_the_archive_is_rejected(tmp_path: Path, href: str) -> None:
    item = write_item(tmp_path / "archive")
    item["assets"]["B04"]["href"] = href
    save_item(tmp_path / "archive", item)
    with pytest.raises(ArchiveError, match=r"B04: .* leaves the folder of the archive"):
        find(tmp_path / "archive")


@pytest.mark.parametrize(
    ("catalog", "given", "wanted"),
    [
        ("cdse", "CDSE_USERNAME", "set CDSE_USERNAME and CDSE_PASSWORD, or CDSE_TOKEN"),
        ("cdse-s3", "CDSE_TOKEN", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_preset_that_needs_keys_is_not_searched_without(
    monkeypatch: pytest.MonkeyPatch, catalog: str, given: str, wanted: str
) -> None:
    """Its search is open to all, and every scene would be set aside afterwards."""
    for name in (
        "CDSE_USERNAME",
        "CDSE_PASSWORD",
        "CDSE_TOKEN",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(given, "x")
    monkeypatch.setattr(archive_search, "open_catalogue", lambda *_: pytest.fail("searched"))
    query = Query("sentinel-2-l2a", {"": AREA}, date(2022, 5, 1), date(2022, 5, 2), ["B04"], 10.0, 90.0)
    with pytest.raises(
        ArchiveError, match=f"no file of {catalog} can be read without an account .* {wanted}"
    ):
        search(catalog, query)
    check_keys("earth-search")
    monkeypatch.setenv("CDSE_TOKEN", "x")
    check_keys("cdse")


def test_s3_is_rejected_unless_an_http_variant_is_there(tmp_path: Path) -> None:
    item = write_item(tmp_path)
    item["assets"]["B04"]["href"] = "s3://bucket/B04.jp2"
    save_item(tmp_path, item)
    with pytest.raises(ArchiveError, match=r"B04: s3:// is not reachable by http"):
        find(tmp_path)
    item["assets"]["B04"]["alternate"] = {"https": {"href": "https://host/B04.tif"}}
    save_item(tmp_path, item)
    assert find(tmp_path)["features"][0]["assets"]["B04"]["href"] == "https://host/B04.tif"


def test_hrefs_are_pinned_unsigned(tmp_path: Path) -> None:
    assert pin_href("https://h/a.tif?st=1&sig=abc", None, None) == "https://h/a.tif"
    with pytest.raises(Unusable):
        pin_href("a.tif", None, None)


def test_area_across_a_utm_zone_border_keeps_both_crs_and_says_so(tmp_path: Path) -> None:
    write_item(tmp_path, zone=32)
    write_item(tmp_path, zone=33)
    pinned = find(tmp_path, areas={"": (10.7, 46.8, 10.9, 47.0)})
    assert {t: g["epsg"] for t, g in pinned["lock"]["tiles"].items()} == {"32TPT": 32632, "33TPT": 32633}
    assert any("UTM zones" in m for m in pinned["lock"]["messages"])


def test_named_sites_become_tiles_of_their_own(tmp_path: Path) -> None:
    write_item(tmp_path)
    sites = {"West": (10.840, 46.935, 10.845, 46.945), "East": (10.848, 46.935, 10.852, 46.945)}
    pinned = find(tmp_path, areas={**sites, "Nowhere": (0.0, 0.0, 1.0, 1.0)})
    assert sorted(pinned["lock"]["tiles"]) == ["32TPT-East", "32TPT-West"]
    assert pinned["features"][0]["canopyflow"]["tile"] == ["32TPT-East", "32TPT-West"]
    assert pinned["lock"]["messages"] == ["area Nowhere has no usable item"]
    with pytest.raises(ArchiveError, match="site name"):
        find(tmp_path, areas={"../x": AREA})


def test_nothing_found_names_catalogue_period_and_area(tmp_path: Path) -> None:
    write_item(tmp_path)
    with pytest.raises(ArchiveError) as caught:
        find(tmp_path, start=date(2001, 1, 1), end=date(2001, 2, 1))
    message = str(caught.value)
    for part in (str(tmp_path), "2001-01-01", "2001-02-01", "10.84", "check period"):
        assert part in message
    with pytest.raises(ArchiveError, match="no catalogue at"):
        find(tmp_path / "elsewhere")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are made again as often as ever, without the pauses between."""
    monkeypatch.setattr("canopyflow.archive.http.random.uniform", lambda least, most: 0.0)


@pytest.mark.usefixtures("at_once")
def test_catalogue_that_is_down_is_one_clear_line() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ArchiveUnreachable) as caught:
        find(address)
    assert str(caught.value) == (
        f"the catalogue {address} did not answer: {address} does not answer"
        " (Connection refused) (asked 8 times) — check the address, or try again later"
    )


LANDING = {
    "type": "Catalog",
    "stac_version": "1.0.0",
    "id": "tiny",
    "description": "x",
    "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
    "links": [],
}


@contextmanager
def answering(answer: Callable[[str, str], tuple[int, str]]) -> Iterator[str]:
    """A server on the loopback whose status and body are ``answer(its address, the path asked for)``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = answer(f"http://{self.headers['Host']}", self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def api(items: list[dict[str, Any]] | str) -> Callable[[str, str], tuple[int, str]]:
    """A STAC API that answers every search with ``items``, or with a text that is no JSON."""

    def answer(address: str, path: str) -> tuple[int, str]:
        if path.startswith("/search"):
            found = {"type": "FeatureCollection", "features": items, "links": []}
            return 200, items if isinstance(items, str) else json.dumps(found)
        links = [{"rel": "search", "href": f"{address}/search", "method": "POST"}]
        return 200, json.dumps({**LANDING, "links": links})

    return answer


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (lambda *_: (500, "oops"), ArchiveUnreachable, "answers 500"),
        (lambda *_: (404, "no such page"), ArchiveError, "refused the request: "),
        (lambda *_: (200, "<html>hello</html>"), ArchiveError, "is no STAC API that can be searched"),
        (lambda *_: (200, '{"hello": 1}'), ArchiveError, "is no STAC API that can be searched"),
        (lambda *_: (200, "[]"), ArchiveError, "is no STAC API that can be searched"),
        (
            lambda _, path: (404 if "search" in path else 200, json.dumps(LANDING)),
            ArchiveError,
            "answers 404",
        ),
        (api("<html>hello</html>"), ArchiveError, "is no STAC API that can be searched"),
    ],
    ids=["500", "404", "html", "other json", "list", "no search", "html for an answer"],
)
@pytest.mark.usefixtures("at_once")
def test_what_answers_nonsense_is_named_in_one_line(
    answer: Any, kind: type[ArchiveError], words: str
) -> None:
    with answering(answer) as address, pytest.raises(ArchiveError) as caught:
        find(address)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_item_of_an_api_keeps_its_own_address_and_that_of_a_local_archive_has_none(tmp_path: Path) -> None:
    item = write_item(tmp_path)
    assert item_href(find(tmp_path)["features"][0]) is None
    for name, asset in item["assets"].items():
        asset["href"] = f"https://host/{name}.tif"
    own = {"rel": "self", "href": "https://me:pw@host/item?k=1"}
    item["links"] = [{"rel": "parent", "href": "https://host"}, own]
    with answering(api([item])) as address:
        assert item_href(find(address)["features"][0]) == "https://host/item"
        # The demo's own API is a local archive behind an address that changes.
        assert item_href(find(address, asset_base=tmp_path)["features"][0]) is None


@pytest.mark.parametrize("lost", ["assets", "properties"])
def test_malformed_item_is_rejected_by_its_name(tmp_path: Path, lost: str) -> None:
    items = [write_item(tmp_path, "2022-05-01"), write_item(tmp_path, "2022-05-02")]
    for item in items:
        for name, asset in item["assets"].items():
            asset["href"] = f"https://host/{name}.tif"
    items[1].pop(lost)
    items[1].pop("bbox")
    with answering(api(items)) as address:
        pinned = find(address)
    assert [f["id"] for f in pinned["features"]] == [items[0]["id"]]
    assert "is no valid STAC item" in reasons(pinned)[items[1]["id"]]


def test_file_of_a_static_catalogue_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    item = write_item(tmp_path)
    path = tmp_path / "sentinel-2-l2a" / item["id"] / f"{item['id']}.json"
    path.unlink()
    with pytest.raises(
        ArchiveError, match=rf"a file that tiny links to cannot be read: .*{item['id']}\.json"
    ):
        find(tmp_path)


def test_rejected_items_are_named_in_the_log_by_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_item(tmp_path)
    for day in range(10, 17):
        write_item(tmp_path, f"2022-05-{day}", size=320, **{"eo:cloud_cover": 70.0 + day})
    with caplog.at_level("INFO", logger="canopyflow"):
        find(tmp_path)
    (line,) = (
        r.getMessage() for r in caplog.records if "rejected, cloud cover is above 60 %" in r.getMessage()
    )
    assert "20220510" in line and "20220514" in line and line.endswith(" and 2 more")


def test_digest_follows_the_data_and_not_the_clock(tmp_path: Path) -> None:
    write_item(tmp_path, updated="2024-01-01T00:00:00Z")
    pinned = find(tmp_path)
    items, grid = items_of(pinned, "32TPT", "2022-05"), grid_of(pinned, "32TPT")
    before = digest(items, grid)
    items[0]["properties"]["updated"] = "2025-01-01T00:00:00Z"
    assert digest(items, grid) == before
    items[0]["canopyflow"]["duplicates"] = ["another"]
    assert digest(items, grid) != before
    items[0]["canopyflow"]["duplicates"] = []
    items[0]["properties"]["s2:processing_baseline"] = "05.00"
    assert digest(items, grid) != before


QUERY = {
    "collection": "sentinel-2-l2a",
    "area": {"sites": {"West": (10.840, 46.935, 10.845, 46.945), "East": (10.848, 46.935, 10.852, 46.945)}},
    "start": "2022-04-01",
    "end": "2022-06-30",
    "bands": BANDS,
    "resolution": 10.0,
    "max_cloud_cover": 60.0,
}


def test_each_tile_month_has_a_file_of_its_own_that_holds_nothing_of_the_others(tmp_path: Path) -> None:
    for day in ("2022-05-01", "2022-05-03", "2022-06-01"):
        write_item(tmp_path / "archive", day)
    index = tmp_path / "search/index.json"
    pin(str(tmp_path / "archive"), QUERY, index)
    whole = find(tmp_path / "archive", areas=QUERY["area"]["sites"])
    entries = read_index(index)
    assert sorted(entries) == [(f"32TPT-{site}", f"2022-0{m}") for site in ("East", "West") for m in (5, 6)]
    for (tile, month), entry in entries.items():
        part = read_pinned(index.parent / tile / f"{month}.json")
        items, grid = items_of(part, tile, month), grid_of(part, tile)
        assert [i["id"] for i in items] == [i["id"] for i in items_of(whole, tile, month)]
        assert entry == {"scenes": len(items), "digest": digest(items, grid)}
        assert len(part["features"]) == len(items)
        assert list(part["lock"]["tiles"]) == [tile]
        assert list(part["lock"]["query"]["areas"]) == [tile.partition("-")[2]]
    lock = json.loads(index.read_text())["lock"]
    assert len(lock.pop("question")) == 16
    assert lock == whole["lock"]


def test_what_a_search_no_longer_finds_is_removed_and_a_killed_one_leaves_no_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in ("2022-05-01", "2022-06-01"):
        write_item(tmp_path / "archive", day)
    index = tmp_path / "search/index.json"
    pin(str(tmp_path / "archive"), QUERY, index)
    east = {**QUERY, "area": {"sites": {"East": QUERY["area"]["sites"]["East"]}}, "end": "2022-05-31"}
    index.unlink()  # as Snakemake does before it runs the rule
    with monkeypatch.context() as patch:
        patch.setattr(archive_search, "write_json", killed_at(2))
        with pytest.raises(KeyboardInterrupt):
            pin(str(tmp_path / "archive"), east, index)
    assert not index.exists()
    pin(str(tmp_path / "archive"), east, index)
    fresh = tmp_path / "fresh/index.json"
    pin(str(tmp_path / "archive"), east, fresh)
    assert everything_in(index.parent) == everything_in(fresh.parent)
    assert sorted(everything_in(fresh.parent)) == ["32TPT-East", "32TPT-East/2022-05.json", "index.json"]


def killed_at(number: int) -> Callable[[Path, Any], None]:
    """A ``write_json`` during whose call of this number the process is killed."""
    calls = []

    def write(path: Path, content: Any) -> None:
        calls.append(path)
        if len(calls) == number:
            raise KeyboardInterrupt
        write_json(path, content)

    return write


def everything_in(folder: Path) -> dict[str, bytes]:
    """Content of all files and names of all folders below ``folder``."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def test_no_key_of_an_item_reaches_what_is_pinned(tmp_path: Path) -> None:
    secret = "S3CR3T"
    item = write_item(tmp_path)
    for name, asset in item["assets"].items():
        asset["href"] = f"https://user:{secret}@host/{name}.tif?api_key={secret}"
        asset["title"] = f"from https://host/{name}?sig={secret}"
        asset["alternate"] = {"s3": {"href": f"s3://b/{name}?token={secret}"}}
    item["properties"]["preview"] = {"href": f"https://host/preview?key={secret}"}
    item["links"] = [{"rel": "self", "href": f"https://host/item?key={secret}"}]
    save_item(tmp_path, item)
    refused = write_item(tmp_path, "2022-05-03")
    refused["assets"]["B04"]["href"] = f"s3://user:{secret}@bucket/B04.tif?sig={secret}"
    save_item(tmp_path, refused)
    text = json.dumps(find(tmp_path))
    assert secret not in text
    assert "https://host/B04.tif" in text
    assert "api_key" in text  # named once, without its value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_api_with_many_pages_gives_the_same_as_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real STAC API on the loopback; it ignores filters it does not know: cloud cover is ours to check."""
    monkeypatch.setattr(catalogue, "PAGE", 2)
    items = [write_item(tmp_path, f"2022-05-0{day}", size=320) for day in range(1, 6)]
    items.append(write_item(tmp_path, "2022-05-08", size=320, **{"eo:cloud_cover": 90.0}))
    for item in items:
        for name, asset in item["assets"].items():
            asset["href"] = f"sentinel-2-l2a/{item['id']}/{name}.tif"
    listing = tmp_path / "items.json"
    listing.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    port = free_port()
    command = [Path(sys.executable).with_name("rustac"), "serve", listing, "--create-collections"]
    server = subprocess.Popen([*map(str, command), "-a", f"127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        await_answer(url)
        asked = find(url, asset_base=tmp_path)
    finally:
        server.terminate()
        server.wait()
    walked = find(tmp_path)
    assert [f["id"] for f in asked["features"]] == [f["id"] for f in walked["features"]]
    assert len(asked["features"]) == 5
    assert asked["lock"]["tiles"] == walked["lock"]["tiles"]
    assert [f["assets"]["B04"]["href"] for f in asked["features"]] == [
        f["assets"]["B04"]["href"] for f in walked["features"]
    ]
    assert str(port) not in json.dumps(asked)


def await_answer(url: str) -> None:
    for _ in range(1200):
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the API did not start")


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"s2:mgrs_tile": "32TMT"}, "32TMT"),
        ({"grid:code": "MGRS-7HFE"}, "07HFE"),
        ({"mgrs:utm_zone": 7, "mgrs:latitude_band": "H", "mgrs:grid_square": "FE"}, "07HFE"),
    ],
)
def test_tile_is_found_under_any_of_its_names(properties: dict[str, Any], expected: str) -> None:
    assert mgrs_tile({"id": "x", "properties": properties}) == expected


@pytest.mark.parametrize(
    "properties",
    [
        {"mgrs:utm_zone": 32, "mgrs:latitude_band": "T", "mgrs:grid_square": "/../X"},
        {"mgrs:utm_zone": 32, "mgrs:grid_square": "MT"},
        {"mgrs:utm_zone": "../3", "mgrs:latitude_band": "T", "mgrs:grid_square": "MT"},
        {"s2:mgrs_tile": "32TMT/.."},
        {"s2:mgrs_tile": "32TMT\n"},
        {"grid:code": "MGRS-٣٢TMT"},
    ],
)
def test_what_is_no_tile_names_no_folder(properties: dict[str, Any]) -> None:
    with pytest.raises(Unusable, match="is no MGRS tile"):
        mgrs_tile({"id": "S2A_32TMT_20220501", "properties": properties})


@pytest.mark.parametrize("identity", ["a/../../../../X", "..", "/etc/x", ".hidden", "a\\b", "a b", "x\n", 7])
def test_item_whose_id_leads_elsewhere_is_rejected(tmp_path: Path, identity: Any) -> None:
    items = [write_item(tmp_path, "2022-05-01"), write_item(tmp_path, "2022-05-02")]
    for item in items:
        for name, asset in item["assets"].items():
            asset["href"] = f"https://host/{name}.tif"
    items[1]["id"] = identity
    with answering(api(items)) as address:
        pinned = find(address)
    assert [f["id"] for f in pinned["features"]] == [items[0]["id"]]
    assert "cannot name a file" in reasons(pinned)[str(identity)]


@pytest.mark.real
def test_spellings_of_real_catalogues() -> None:
    samples = real_data() / "archive_samples"
    item = json.loads((samples / "earth-search_33TWM_20230813" / "S2B_33TWM_20230813_0_L2A.json").read_text())
    assert (mgrs_tile(item), platform(item), datatake(item)) == ("33TWM", "S2B", "S2B_20230813T095559")
    item = json.loads((samples / "items" / "planetary-computer_baseline-0212.json").read_text())
    assert (mgrs_tile(item), platform(item), datatake(item)) == ("06VVN", "S2B", "S2B_20190629T212529")
