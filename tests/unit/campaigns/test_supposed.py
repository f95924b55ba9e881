"""A plan without a catalogue: scenes by area and period, and what they would cost."""

import json
from pathlib import Path
from typing import Any

import pytest

from canopyflow.archive.pinned import read_index
from canopyflow.campaigns import plan as planning
from canopyflow.campaigns.supposed import suppose, traffic
from canopyflow.campaigns.work import Work
from canopyflow.config import load_campaign
from canopyflow.errors import ArchiveUnreachable


def campaign(**changes: Any) -> Any:
    values = {
        "campaign": "toulouse",
        "area": {"bbox": [1.38, 43.55, 1.504, 43.64]},
        "period": {"start": "2021-03-01", "end": "2021-07-31"},
        "archive": {"catalog": "planetary-computer"},
        "families": [],
        "models": {"ready": {"shipped": "s2"}},
        "baselines": [],
    }
    return load_campaign({**values, **changes})


def test_an_index_that_the_work_can_be_told_from(tmp_path: Path) -> None:
    index = suppose(campaign(), tmp_path)
    months = read_index(index)
    assert sorted(months) == [("31TCJ", f"2021-0{month}") for month in range(3, 8)]
    assert sum(entry["scenes"] for entry in months.values()) == 45
    assert all((tmp_path / tile / f"{month}.json").exists() for tile, month in months)
    work = Work(campaign(), index)
    amount = work.of("fetch_scenes", {"tile": "31TCJ", "window": "2021-03"})
    assert amount is not None and 9 * 490**2 < amount["pixels"] < 9 * 560**2


@pytest.mark.parametrize(
    ("area", "labels"),
    [
        ({"mgrs_tiles": ["31TCJ", "32TMT"]}, ["31TCJ", "32TMT"]),
        ({"sites": {"a": [1.38, 43.55, 1.4, 43.6], "b": [8.68, 47.44, 8.69, 47.45]}}, ["31TCJ-a", "32TMT-b"]),
    ],
)
def test_tiles_and_sites_have_their_own_grids(
    tmp_path: Path, area: dict[str, Any], labels: list[str]
) -> None:
    content = json.loads(suppose(campaign(area=area), tmp_path).read_text())
    assert set(labels) <= set(content["tiles"])
    assert content["tiles"].keys() == content["lock"]["tiles"].keys()


def test_requests_and_bytes_follow_the_scenes(tmp_path: Path) -> None:
    index = json.loads(suppose(campaign(), tmp_path).read_text())
    all_months = {("31TCJ", f"2021-0{month}") for month in range(3, 8)}
    both = traffic(campaign(), index, all_months, searches=True)
    assert both.scenes == 45
    # 13 files of each scene: their sizes are asked, and each is read in three requests; five pages.
    assert both.requests == 45 * 13 * 4 + 5
    low, high = both.gigabytes
    # Ten by ten kilometres of 10 m: a million pixels of four bands, a quarter of that of seven.
    assert low == pytest.approx(45 * 5.75e6 * 1.2 / 1e9, rel=0.1)
    assert 4 * low < high < 10 * low
    fetched = traffic(campaign(archive={"catalog": "cdse", "lock": "items"}), index, set(), searches=True)
    assert (fetched.scenes, fetched.requests, fetched.gigabytes) == (0, 5, (0.0, 0.0))


def test_scenes_are_supposed_only_where_nothing_is_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: Any, **__: Any) -> Path:
        raise ArchiveUnreachable("the catalogue did not answer", "try again later")

    monkeypatch.setattr(planning, "ask", silent)
    index, why = planning._asked_or_supposed(campaign(), tmp_path / "new", tmp_path / "pinned.json")
    assert why.startswith("the catalogue did not answer") and len(read_index(index)) == 5
    (tmp_path / "pinned.json").write_text("{}")
    with pytest.raises(ArchiveUnreachable):
        planning._asked_or_supposed(campaign(), tmp_path / "again", tmp_path / "pinned.json")
