"""The table of all scenes, and the check that fails a campaign."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from canopyflow.errors import ArchiveError
from canopyflow.evaluation.pages.scenes import NAMED, check_archive, list_scenes, read_scenes

COLUMNS = (
    "tile", "month", "item", "platform", "date",
    "cloud_share", "shadow_share", "valid_share", "offset", "problem", "evidence",
)  # fmt: skip


def table(folder: Path, month: str, *scenes: tuple[str, str, str], tile: str = "32TPT") -> Path:
    """A table of a tile-month: (item, problem, evidence) of each scene."""
    path = folder / f"{tile}-{month}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for item, problem, evidence in scenes:
            shares = ("0.250000", "0.000000", "0.500000")
            writer.writerow((tile, month, item, "S2A", f"{month}-01", *shares, -1000, problem, evidence))
    return path


def listed(tables: list[Path]) -> tuple[list[dict[str, str]], str, str]:
    """Rows of the table, the page and the text."""
    out = [tables[0].parent / name for name in ("scenes.csv", "scenes.html", "scenes.txt")]
    list_scenes(tables, *out)
    return read_scenes(out[0]), out[1].read_text(), out[2].read_text()


def test_all_scenes_are_rows_and_what_is_wrong_is_told(tmp_path: Path) -> None:
    rows, page, text = listed(
        [
            table(tmp_path, "2022-06", ("c", "", "offset_doubted angles_assumed"), ("d", "", "")),
            table(tmp_path, "2022-05", ("a", "", "offset_unknowable"), ("b", "B03: <torn>, or so", "")),
        ]
    )
    assert [row["item"] for row in rows] == ["a", "b", "c", "d"]
    assert rows[1]["problem"] == "B03: <torn>, or so"
    assert text.splitlines() == [
        "4 scenes in 2 tile-months",
        "1 of them set aside, because they could not be read or believed:",
        "  b: B03: <torn>, or so",
        "1 of them: some angles are assumed (angles_assumed)",
        "1 of them: pixels make the offset doubtful (offset_doubted)",
        "1 of them: pixels cannot tell whether the offset is right (offset_unknowable)",
    ]
    assert "&lt;torn&gt;" in page
    assert "<td>c</td>" in page
    assert "25.0 %" in page
    # Nothing is wrong with these: they are in the table, and counted.
    assert "<td>a</td>" not in page
    assert "<td>d</td>" not in page


def test_a_campaign_without_problems_says_so(tmp_path: Path) -> None:
    _, page, text = listed([table(tmp_path, "2022-05", ("a", "", ""))])
    assert "None is set aside, none is in doubt." in page
    assert text == "1 scene in 1 tile-month\n"


def test_more_scenes_set_aside_than_allowed_are_named_in_one_line(tmp_path: Path) -> None:
    again = ("b", "B03 is torn", "")
    listed(
        [
            table(tmp_path, "2022-05", ("a", "", ""), again, tile="32TPT-north"),
            table(tmp_path, "2022-05", again, tile="32TPT-south"),
        ]
    )
    out = tmp_path / "checked.txt"
    with pytest.raises(ArchiveError) as error:
        check_archive(tmp_path / "scenes.csv", out, 0)
    assert str(error.value) == (
        "all else is made, but 1 of 2 scenes had to be set aside: b (B03 is torn) — "
        "the same command tries them again; archive.max_unreadable: 1 accepts them"
    )
    assert not out.exists()
    check_archive(tmp_path / "scenes.csv", out, 1)
    assert "b: B03 is torn" in out.read_text()


def test_one_id_in_two_tiles_is_two_scenes(tmp_path: Path) -> None:
    torn = ("b", "B03 is torn", "angles_assumed")
    _, _, text = listed([table(tmp_path, "2022-05", torn, tile=tile) for tile in ("32TPT", "33TUN")])
    assert text.startswith("2 scenes in 2 tile-months\n2 of them set aside")
    with pytest.raises(ArchiveError, match="2 of 2 scenes"):
        check_archive(tmp_path / "scenes.csv", tmp_path / "checked.txt", 1)


def test_of_many_scenes_the_first_are_named(tmp_path: Path) -> None:
    listed([table(tmp_path, "2022-05", *((f"s{n:03}", "is torn", "") for n in range(NAMED + 7)))])
    with pytest.raises(ArchiveError, match=r"s009 \(is torn\); and 7 more, all in .*scenes.csv — ") as error:
        check_archive(tmp_path / "scenes.csv", tmp_path / "checked.txt", 3)
    assert "s010" not in str(error.value)
