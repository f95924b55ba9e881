"""What is pinned of each file."""

import json
from pathlib import Path
from typing import Any

import pytest
from fault_server import Faults, FaultServer
from support_archive import write_item

from canopyflow.archive.http import Client, Patience
from canopyflow.archive.lock import ETAG, lock_assets
from canopyflow.archive.search import FOUND, pin
from canopyflow.errors import ArchiveUnreachable

QUICK = Patience(pause=0.001, longest=0.01, silence=0.5, window=0.2, connect=1.0)


def remote(folder: Path, url: str) -> dict[str, Any]:
    item = write_item(folder)
    for name, asset in item["assets"].items():
        asset["href"] = f"{url}/sentinel-2-l2a/{item['id']}/{name}.tif"
    return item


def size(folder: Path, item: dict[str, Any], name: str) -> int:
    return (folder / "sentinel-2-l2a" / item["id"] / f"{name}.tif").stat().st_size


def test_size_and_etag_of_every_file_whatever_the_server_does(tmp_path: Path) -> None:
    with FaultServer(tmp_path) as server:
        item = remote(tmp_path, server.url)
        plain = json.loads(json.dumps(item))
        assert lock_assets([item], None, Client(patience=QUICK)) == []
        for name, asset in item["assets"].items():
            assert asset["file:size"] == size(tmp_path, item, name)
            assert asset[ETAG].startswith('"')
        server.faults = Faults(kinds=("503", "reset", "429"), share=0.3, seed=3)
        assert lock_assets([plain], None, Client(patience=QUICK)) == []
    assert plain == item


def test_what_the_item_states_is_not_asked_for(tmp_path: Path) -> None:
    with FaultServer(tmp_path) as server:
        item = remote(tmp_path, server.url)
        stated = {"file:checksum": "1220ab", "file:size": 7}
        item["assets"]["B04"] |= stated
        item["assets"]["B03"] |= {"file:size": 7}
        lock_assets([item], None, Client(patience=QUICK))
        assert item["assets"]["B04"].items() >= stated.items()
        assert ETAG not in item["assets"]["B04"]
        assert server.asked("*/B04.tif") == []
        assert item["assets"]["B03"]["file:size"] == size(tmp_path, item, "B03")


def test_a_file_that_cannot_be_had_stays_without_a_lock_and_is_named(tmp_path: Path) -> None:
    with FaultServer(tmp_path) as server:
        item = remote(tmp_path, server.url)
        server.permanent["*/B04.tif"] = "404"
        server.permanent["*/B03.tif"] = "403"
        (message,) = lock_assets([item], None, Client(patience=QUICK))
    assert message.startswith("2 files could not be locked: B03 of ")
    assert f"B04 of {item['id']} (answers 404)" in message
    assert "file:size" not in item["assets"]["B04"] and ETAG in item["assets"]["B05"]


def test_an_archive_that_is_down_ends_the_search(tmp_path: Path) -> None:
    with FaultServer(tmp_path) as server:
        item = remote(tmp_path, server.url)
    with pytest.raises(ArchiveUnreachable):
        lock_assets([item], None, Client(patience=QUICK))


def test_local_files_are_locked_by_their_size(tmp_path: Path) -> None:
    item = write_item(tmp_path)
    for name, asset in item["assets"].items():
        asset["href"] = f"sentinel-2-l2a/{item['id']}/{name}.tif"
    (tmp_path / "sentinel-2-l2a" / item["id"] / "B11.tif").unlink()
    assert lock_assets([item], tmp_path, Client()) == [
        f"1 files could not be locked: B11 of {item['id']} (No such file or directory)"
    ]
    assert item["assets"]["B04"]["file:size"] == size(tmp_path, item, "B04")
    assert ETAG not in item["assets"]["B04"]


QUERY = {
    "collection": "sentinel-2-l2a",
    "area": {"bbox": (10.84, 46.93, 10.86, 46.95)},
    "start": "2022-04-01",
    "end": "2022-06-30",
    "bands": ["B02", "B04"],
    "resolution": 10.0,
    "max_cloud_cover": 60.0,
    "lock": "assets",
}


@pytest.mark.parametrize("path", ["catalog.json", "stac"])
def test_a_static_catalogue_over_http_is_locked_like_any_other(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether an address is an API's shows in what answers there; a key in it is used and not told."""
    write_item(tmp_path / "archive")
    (tmp_path / "archive/stac").write_text((tmp_path / "archive/catalog.json").read_text())
    monkeypatch.setenv("ARCHIVE_KEY", "S3CR3T")
    index = tmp_path / "search/index.json"
    with FaultServer(tmp_path / "archive") as server:
        pin(f"{server.url}/{path}?key=${{ARCHIVE_KEY}}", QUERY, index)
        part = json.loads((tmp_path / "search/32TPT/2022-05.json").read_text())
        assert part["features"][0]["assets"]["B04"]["href"].startswith(server.url)
    assert ETAG in part["features"][0]["assets"]["SCL"]
    assert "S3CR3T" not in index.read_text() + json.dumps(part)


def test_what_was_found_before_is_pinned_without_asking_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_item(tmp_path / "archive")
    shown, out = tmp_path / "shown/index.json", tmp_path / "search/index.json"
    pin(str(tmp_path / "archive"), QUERY, shown)
    write_item(tmp_path / "archive", "2022-06-01")
    monkeypatch.setenv(FOUND, str(shown))
    pin(str(tmp_path / "archive"), QUERY, out)
    assert out.read_bytes() == shown.read_bytes()
    assert [path.name for path in out.parent.glob("*/*.json")] == ["2022-05.json"]
    # The answer to another question is of no use.
    pin(str(tmp_path / "archive"), {**QUERY, "max_cloud_cover": 50.0}, out)
    assert [path.name for path in sorted(out.parent.glob("*/*.json"))] == ["2022-05.json", "2022-06.json"]
