"""The demo's STAC API: it answers, it pages, and nothing of it stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pystac_client
import pytest

import canopyflow
from canopyflow.campaigns.fingerprint import modules_of
from canopyflow.demo import server as server_module
from canopyflow.demo.archive import write_archive
from canopyflow.demo.server import serve
from canopyflow.errors import ArchiveError, ArchiveUnreachable


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "archive"
    write_archive(folder, size=48, dates=["2021-04-24", "2021-05-17", "2021-06-08"])
    return folder


def answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def ends(url: str, seconds: float = 60) -> bool:
    """Whether nobody answers any more, at the latest after some time: a bound for a server that stays."""
    deadline = time.monotonic() + seconds
    while answers(url) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not answers(url)


def test_search_by_box_and_time_with_paging(archive: Path) -> None:
    bbox = json.loads((archive / "demo.json").read_text())["bbox"]
    listed = {f["id"]: f for f in json.loads((archive / "items.json").read_text())["features"]}
    with serve(archive) as url:
        client = pystac_client.Client.open(url)
        period = "2021-04-01/2021-05-31"
        search = client.search(
            method="POST", collections=["sentinel-2-l2a"], bbox=bbox, datetime=period, limit=2
        )
        pages = [page["features"] for page in search.pages_as_dicts()]
        assert [len(page) for page in pages if page] == [2, 2, 1]
        found = [item for page in pages for item in page]
        assert {f["id"] for f in found} == {name for name in listed if "20210608T" not in name[:26]}
        for item in found:
            assert item["properties"] == listed[item["id"]]["properties"]
            assert {k: a["href"] for k, a in item["assets"].items()} == {
                k: a["href"] for k, a in listed[item["id"]]["assets"].items()
            }, "hrefs come back relative to the archive's folder"
        elsewhere = client.search(method="POST", bbox=[7.5, 46.0, 7.6, 46.1], limit=10)
        assert list(elsewhere.items()) == []
    assert ends(url, 0)


def test_server_does_not_depend_on_how_the_landscape_is_made() -> None:
    """What it depends on decides whether the demo is searched again."""
    assert modules_of("canopyflow.demo.server") == {"canopyflow", "canopyflow.demo", "canopyflow.demo.server"}


def test_server_ends_with_an_error_in_the_block(archive: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), serve(archive) as url:
        assert answers(url)
        raise RuntimeError("boom")
    assert ends(url, 0)


def test_missing_archive_and_silent_server_are_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArchiveError, match="nowhere"), serve(archive / "nowhere"):
        pass
    monkeypatch.setattr(server_module, "_rustac", lambda: "false")
    with pytest.raises(ArchiveUnreachable, match="did not start"), serve(archive):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child's end to its parent's")
def test_server_dies_with_a_parent_that_is_killed(archive: Path) -> None:
    program = (
        "import sys, time\nfrom canopyflow.demo.server import serve\n"
        "with serve(sys.argv[1]) as url:\n    print(url, flush=True)\n    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(canopyflow.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(archive)], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert answers(url)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert ends(url)
