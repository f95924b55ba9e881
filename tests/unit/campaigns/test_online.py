"""`config check --online` of the demo, by way of its own STAC API."""

from pathlib import Path
from typing import Any

import pytest

from canopyflow.campaigns.online import ask_catalogue
from canopyflow.config import load_campaign
from canopyflow.config.files import DEMO
from canopyflow.demo.archive import write_archive
from canopyflow.demo.server import serve
from canopyflow.errors import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a small demo archive."""
    folder = tmp_path_factory.mktemp("demo")
    write_archive(folder / "demo-archive", size=48, dates=["2021-04-24", "2021-06-08"])
    return folder


def lines(**changes: Any) -> dict[str, str]:
    return {answer.what: answer.text for answer in ask_catalogue(load_campaign({**DEMO, **changes}))}


def test_the_demo_has_what_it_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    said = lines()
    assert list(said) == ["account", "catalogue", "collection", "items", "bands", "files"]
    assert "a STAC API" in said["catalogue"] and "2021-04-24 to" in said["collection"]
    assert "in 2 tiles (31TGM, 32TLS)" in said["items"]
    assert said["files"].endswith("is there, on this machine")


def test_an_api_has_no_collection_of_another_name(folder: Path) -> None:
    with serve(folder / "demo-archive") as address:
        said = lines(archive={"catalog": address, "collection": "sentinel-2-l1c"}, baselines=[])
    assert list(said) == ["account", "catalogue", "collection"]
    assert "has no collection 'sentinel-2-l1c'" in said["collection"]
    assert "did you mean 'sentinel-2-l2a'?" in said["collection"]


def test_what_cannot_be_asked_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="the demo archive is not written yet — canopyflow demo demo-archive"):
        lines()
    nothing = dict.fromkeys(("area", "period", "archive"))
    with pytest.raises(DataError, match="simulations has no catalogue"):
        lines(**nothing, evaluation={}, baselines=None, parcels={})
