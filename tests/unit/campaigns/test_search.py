"""What a plan asks an archive: its catalogue, and no file."""

import json
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from support_archive import BANDS, write_item

from canopyflow.archive.pinned import read_index
from canopyflow.campaigns.plan import new_scenes
from canopyflow.campaigns.search import ask
from canopyflow.config import load_campaign

MAY, JUNE = "32TPT 2022-05: 1 -> 1 scenes", "32TPT 2022-06: 0 -> 1 scenes"


def campaign(server: FaultServer, **archive: Any) -> Any:
    return load_campaign(
        {
            "campaign": "mini",
            "area": {"bbox": [10.84, 46.935, 10.85, 46.945]},
            "period": {"start": "2022-05-01", "end": "2022-07-30"},
            "archive": {"catalog": f"{server.url}/catalog.json", **archive},
            "grid": {"resolution": 20, "bands": list(BANDS)},
            "families": ["truncated_normal"],
            "training": {"phases": [{"objective": "npe", "epochs": 1}]},
        }
    )


@pytest.mark.parametrize("lock", ["assets", "items"])
def test_a_plan_asks_for_no_file_and_sees_the_same_scenes_as_changed(tmp_path: Path, lock: str) -> None:
    archive = tmp_path / "archive"
    write_item(archive, "2022-05-01")
    with FaultServer(archive) as server:
        mini = campaign(server, lock=lock)
        pinned = ask(mini, tmp_path / "pinned")
        asked = len(server.asked("*.tif"))
        same = ask(mini, tmp_path / "same", supposing=pinned)
        assert read_index(same) == read_index(pinned)
        write_item(archive, "2022-06-01")
        found = ask(mini, tmp_path / "found", supposing=pinned)
        assert list(new_scenes(pinned, found)) == [JUNE]
        assert len(server.asked("*.tif")) == asked == (len(BANDS) + 1 if lock == "assets" else 0)
        content, final = (json.loads(path.read_text())["lock"] for path in (found, pinned))
    assert (content["question"] == final["question"]) == (lock == "items"), "nobody may pin it as it is"


def test_files_without_a_lock_are_fetched_again_once_they_are_to_have_one(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_item(archive, "2022-05-01")
    with FaultServer(archive) as server:
        pinned = ask(campaign(server, lock="items"), tmp_path / "pinned")
        found = ask(campaign(server, lock="assets"), tmp_path / "found", supposing=pinned)
        first = ask(campaign(server, lock="assets"), tmp_path / "first", supposing=tmp_path / "no/index.json")
    assert list(new_scenes(pinned, found)) == [MAY]
    assert len(read_index(first)) == 1
