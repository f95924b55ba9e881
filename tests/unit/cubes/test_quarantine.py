"""The small files that say which scenes are set aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from canopyflow.cubes.quarantine import note_quarantine, note_retry, scenes_of, set_aside
from canopyflow.errors import DataError

READ = {"id": "a", "problem": None}
TORN = {"id": "b", "problem": "B03 is truncated"}
MAY, JUNE = ("32TPT", "2022-05"), ("32TPT", "2022-06")


def note(folder: Path, key: tuple[str, str], *records: dict[str, str | None]) -> Path:
    path = folder / key[0] / f"{key[1]}.json"
    note_quarantine(path, *key, records)
    return path


def test_there_is_a_file_only_while_a_scene_is_set_aside(tmp_path: Path) -> None:
    assert not note(tmp_path, MAY, READ).exists()
    path = note(tmp_path, MAY, READ, TORN)
    before = path.read_bytes()
    assert set_aside(tmp_path, [MAY, JUNE]) == {MAY: {"b": "B03 is truncated"}}
    assert note(tmp_path, MAY, READ, TORN).read_bytes() == before
    assert not note(tmp_path, MAY, READ).exists()
    assert set_aside(tmp_path, [MAY, JUNE]) == {}
    assert set_aside(tmp_path / "nowhere", [MAY]) == {}


def test_tile_months_that_the_campaign_no_longer_has_do_not_count(tmp_path: Path) -> None:
    note(tmp_path, MAY, TORN)
    assert set_aside(tmp_path, [JUNE]) == {}


def test_a_scene_of_two_sites_counts_once_and_one_id_in_two_tiles_twice(tmp_path: Path) -> None:
    sites, other = [("32TPT-north", "2022-05"), ("32TPT-south", "2022-05")], ("33TUN", "2022-05")
    for key in (*sites, other):
        note(tmp_path, key, TORN)
    assert scenes_of(set_aside(tmp_path, sites)) == {"32TPT b": "B03 is truncated"}
    assert list(scenes_of(set_aside(tmp_path, [*sites, other]))) == ["32TPT b", "33TUN b"]


def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path) -> None:
    path = note(tmp_path, MAY, TORN)
    path.write_text('{"scenes": [{"id": "b"}]}')
    with pytest.raises(DataError, match=r"2022-05.json does not say .* remove it"):
        set_aside(tmp_path, [MAY])


def test_what_is_still_set_aside_is_said(tmp_path: Path) -> None:
    note(tmp_path, MAY, TORN)
    note_retry(tmp_path, [MAY], tmp_path / "again.json")
    assert '"32TPT b": "B03 is truncated"' in (tmp_path / "again.json").read_text()
