"""Catalogues over a network that fails: the same items, and never a part of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from fault_server import KINDS, Faults, FaultServer, Reply
from support_archive import write_item

from canopyflow.archive.catalogue import Catalogue, Transport, open_catalogue
from canopyflow.archive.http import Client, Patience
from canopyflow.archive.items import pin_href
from canopyflow.errors import ArchiveError, ArchiveUnreachable

AREA = (10.84, 46.93, 10.86, 46.95)
HURRIED = Patience(attempts=30, pause=0.001, silence=0.3, slowest=100_000, window=0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    for day in range(1, 8):
        write_item(tmp_path, f"2022-05-0{day}", size=320)
    with FaultServer(tmp_path, page=2) as server:
        yield server


def walk(catalogue: Catalogue) -> list[str]:
    found = catalogue.items("sentinel-2-l2a", AREA, date(2022, 5, 1), date(2022, 5, 31))
    return sorted(json.dumps(f.item["assets"], sort_keys=True) for f in found)


def addresses(catalogue: Catalogue) -> list[str]:
    """Where the files of B04 are, as they would be pinned."""
    found = catalogue.items("sentinel-2-l2a", AREA, date(2022, 5, 1), date(2022, 5, 31))
    return sorted(pin_href(f.item["assets"]["B04"]["href"], f.folder, catalogue.base) for f in found)


def opened(server: FaultServer, path: str, patience: Patience = HURRIED) -> Catalogue:
    return open_catalogue(f"{server.url}{path}", None, Client(patience=patience))


def test_api_files_over_http_and_files_on_disk_hold_the_same(server: FaultServer) -> None:
    assert len(walk(opened(server, "/catalog.json"))) == 7
    assert addresses(opened(server, "/catalog.json")) == addresses(opened(server, "/api"))
    assert len(walk(open_catalogue(str(server.folder), None))) == 7
    assert len(server.asked("/api/search")) == 4


@pytest.mark.parametrize("path", ["/api", "/catalog.json"])
def test_faults_take_no_item_away(server: FaultServer, path: str) -> None:
    expected = walk(opened(server, path))
    for seed in range(3):
        server.forget()
        server.faults = Faults((*KINDS,), share=0.4, seed=seed, drip=(1000, 0.1))
        assert walk(opened(server, path)) == expected
        assert any(asked.fault for asked in server.requests)


@pytest.mark.parametrize("body", [b'{"code": "busy"}', b'{"type": "FeatureCollection"}', b"[]", b"<html>"])
def test_a_page_that_holds_no_items_is_not_the_last(server: FaultServer, body: bytes) -> None:
    server.scripted = {"/api/search": [Reply(200, {}, body)]}
    assert len(walk(opened(server, "/api"))) == 7


def test_an_empty_page_is_not_the_last_and_a_circle_is_seen(server: FaultServer) -> None:
    first = {"rel": "next", "href": f"{server.url}/api/search", "method": "POST", "body": {"limit": 10}}
    empty = Reply(200, {}, json.dumps({"features": [], "links": [first]}).encode())
    server.scripted = {"/api/search": [empty]}
    assert len(walk(opened(server, "/api"))) == 7
    server.scripted = {"/api/search": [empty, empty]}
    with pytest.raises(ArchiveError, match="lead in a circle"):
        walk(opened(server, "/api"))


@pytest.mark.parametrize("path", ["/api", "/catalog.json"])
def test_a_catalogue_that_goes_away_in_the_middle_is_unreachable(server: FaultServer, path: str) -> None:
    catalogue = opened(server, path, Patience(pause=0.001))
    items = catalogue.items("sentinel-2-l2a", AREA, date(2022, 5, 1), date(2022, 5, 31))
    next(items)
    server.permanent["*"] = "503"
    with pytest.raises(ArchiveUnreachable, match="answers 503"):
        list(items)


def test_a_missing_item_of_a_remote_catalogue_is_named(server: FaultServer) -> None:
    server.permanent["*20220503*.json"] = "404"
    with pytest.raises(ArchiveError, match=r"links to cannot be read: .*20220503.*json answers 404"):
        walk(opened(server, "/catalog.json"))


def test_an_api_that_only_knows_get_is_searched_so(server: FaultServer) -> None:
    server.scripted = {"/api/search": [Reply(405), Reply(200, {}, b'{"features": [], "links": []}')]}
    assert walk(opened(server, "/api")) == []
    assert [r.method for r in server.asked("/api/search")] == ["POST", "GET"]


def test_a_landing_page_leads_to_no_file_of_this_machine(server: FaultServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"type": "FeatureCollection", "features": [{"id": "leaked"}]}))
    page = Client(patience=HURRIED).get(f"{server.url}/api", json.loads)
    page["links"] = [{"rel": "search", "href": str(secret), "type": "application/geo+json"}]
    server.scripted = {"/api": [Reply(200, {}, json.dumps(page).encode())]}
    with pytest.raises(ArchiveError):
        walk(opened(server, "/api", Patience(pause=0.001)))
    with pytest.raises(ArchiveError, match="no http address"):
        Transport(Client()).read_text(str(secret))


@pytest.mark.parametrize("path", ["/api", "/catalog.json"])
def test_a_server_leads_to_no_file_of_this_machine(server: FaultServer, tmp_path: Path, path: str) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"type": "FeatureCollection", "features": [{"id": "leaked"}]}))
    if path == "/api":
        page = {"features": [{"id": "x"}], "links": [{"rel": "next", "href": str(secret)}]}
        server.scripted = {"/api/search": [Reply(200, {}, json.dumps(page).encode())]}
    else:
        root = json.loads((tmp_path / "catalog.json").read_text())
        root["links"] = [{"rel": "item", "href": f"file://{secret}"}]
        (tmp_path / "catalog.json").write_text(json.dumps(root))
    catalogue = opened(server, path)
    with pytest.raises(ArchiveError, match="no http address"):
        list(catalogue.items("sentinel-2-l2a", AREA, date(2022, 5, 1), date(2022, 5, 31)))


def test_addresses_on_disk_are_read_through_the_client_too(server: FaultServer, tmp_path: Path) -> None:
    root = json.loads((tmp_path / "catalog.json").read_text())
    links = [{**link, "href": f"{server.url}/{link['href'].removeprefix('./')}"} for link in root["links"]]
    (tmp_path / "mixed.json").write_text(json.dumps({**root, "links": links}))
    server.faults = Faults(("503", "truncated"), share=0.5)
    client = Client(patience=HURRIED)
    assert len(walk(open_catalogue(str(tmp_path / "mixed.json"), None, client))) == 7
    assert client.requests["again"] > 0
