"""What a catalogue is asked before a campaign is run: each answer a line, the first trouble the last."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, Reply
from support_archive import BANDS, save_item, write_item

from canopyflow.archive.http import Client, Patience
from canopyflow.archive.probe import Answer, probe

QUICK = Patience(attempts=3, pause=0.001, silence=0.2, connect=0.2)
QUERY: dict[str, Any] = {
    "collection": "sentinel-2-l2a",
    "area": {"bbox": [10.84, 46.935, 10.85, 46.945]},
    "start": "2022-05-01",
    "end": "2022-05-31",
    "max_cloud_cover": 60,
    "bands": list(BANDS),
    "resolution": 20,
    "lock": "assets",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    write_item(tmp_path, "2022-05-01")
    write_item(tmp_path, "2022-05-03", **{"eo:cloud_cover": 80.0})
    bandless = write_item(tmp_path, "2022-05-05")
    del bandless["assets"]["B8A"]
    save_item(tmp_path, bandless)
    write_item(tmp_path, "2022-05-07", baseline="04.00", generated="20220507T180000")
    write_item(tmp_path, "2022-05-07", baseline="05.10", generated="20240101T180000")
    with FaultServer(tmp_path) as server:
        yield server


def asked(catalog: str, **changes: Any) -> list[Answer]:
    return list(probe(catalog, {**QUERY, **changes}, client=Client(patience=QUICK)))


def last(catalog: str, **changes: Any) -> tuple[str, str]:
    """The question that failed, and what is said of it."""
    *before, answer = asked(catalog, **changes)
    assert all(each.is_fine for each in before) and not answer.is_fine
    return answer.what, answer.text


@pytest.mark.parametrize("path", ["/api", "/catalog.json"])
def test_all_is_well(server: FaultServer, path: str) -> None:
    answers = asked(f"{server.url}{path}")
    assert [answer.what for answer in answers] == [
        "account",
        "catalogue",
        "collection",
        "items",
        "bands",
        "files",
    ]
    assert all(answer.is_fine for answer in answers)
    said = {answer.what: answer.text for answer in answers}
    assert said["items"].startswith(
        "2 scenes for 2022-05-01 to 2022-05-31 in the area, 2022-05-01 to 2022-05-07"
    )
    assert "in 1 tile (32TPT)" in said["items"]
    for reason in ("1 too cloudy", "1 asset B8A is missing", "1 another processing of the same acquisition"):
        assert reason in said["items"]
    assert "all 6 (B02 ... B11) and SCL" in said["bands"]
    assert "can be read, without a signature" in said["files"]
    assert len(server.asked("*.tif")) == 1


def test_nobody_asks_for_long(server: FaultServer) -> None:
    server.permanent["*"] = "stall"
    what, text = last(f"{server.url}/api")
    assert what == "catalogue"
    assert "did not answer" in text and "is silent" in text


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("503", "did not answer"),
        ("404", "refused the request"),
        ("403", "answers 403"),
        ("page", "broken body"),
    ],
)
def test_a_catalogue_that_is_none_is_named(server: FaultServer, fault: str, said: str) -> None:
    server.permanent["/api"] = fault
    what, text = last(f"{server.url}/api")
    assert what == "catalogue"
    assert said in text and server.url in text


def test_a_host_that_is_not_there_is_named() -> None:
    what, text = last("https://no-such-host.invalid/v1")
    assert what == "catalogue"
    assert "https://no-such-host.invalid/v1 did not answer" in text


def test_a_collection_that_is_not_there_is_named_with_the_nearest(server: FaultServer) -> None:
    server.scripted = {
        "/api/collections": [Reply(200, {}, b'{"collections": [{"id": "sentinel-2-l2a"}, {"id": "s1"}]}')]
    }
    server.permanent["/api/collections/sentinel-2-l2"] = "404"
    what, text = last(f"{server.url}/api", collection="sentinel-2-l2")
    assert what == "collection"
    assert "has no collection 'sentinel-2-l2'" in text
    assert "did you mean 'sentinel-2-l2a'? known: s1, sentinel-2-l2a" in text


def test_nothing_found_says_where_and_when(server: FaultServer) -> None:
    what, text = last(f"{server.url}/api", start="2019-01-01", end="2019-02-01")
    assert (what, text.split(" — ")[0]) == (
        "items",
        "no item for 2019-01-01 to 2019-02-01 in the area in collection sentinel-2-l2a",
    )
    what, text = last(f"{server.url}/api", max_cloud_cover=0, start="2022-05-03", end="2022-05-04")
    assert "no usable item" in text and "1 too cloudy" in text


def test_a_file_that_cannot_be_had_is_named(server: FaultServer) -> None:
    server.permanent["*B02.tif"] = "403"
    what, text = last(f"{server.url}/api")
    assert what == "files" and "B02.tif answers 403" in text


def test_keys_that_are_missing_are_said_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CDSE_USERNAME", "CDSE_PASSWORD", "CDSE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    what, text = last("cdse")
    assert what == "account" and "CDSE_USERNAME and CDSE_PASSWORD, or CDSE_TOKEN" in text


def test_a_local_archive_without_its_files_is_named(server: FaultServer, tmp_path: Path) -> None:
    for path in tmp_path.rglob("B02.tif"):
        path.unlink()
    what, text = last(str(tmp_path / "catalog.json"))
    assert what == "files" and "is not there" in text
