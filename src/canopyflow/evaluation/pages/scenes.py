"""All scenes of a campaign in one table: what the sky left of each, and what is wrong or doubtful."""

import csv
import html
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from canopyflow.atomic import atomic_file
from canopyflow.errors import ArchiveError

Row = dict[str, str]
"""A line of ``masks/{tile}/{month}.csv``: ``problem`` says why a scene is set aside, empty if it is not;
``evidence`` names, with blanks between them, the kinds of what is doubtful or worth knowing."""

NAMED = 10
"""Scenes that are set aside are named up to this many in a message; the table has all."""

_MEANINGS = {
    "offset_corrected": "pixels contradicted the declared offset, and it was corrected",
    "offset_doubted": "pixels make the offset doubtful",
    "offset_unknowable": "pixels cannot tell whether the offset is right",
    "angles_assumed": "some angles are assumed",
    "duplicate": "another item of the same acquisition was left out",
}
_CERTAIN = {"offset_unknowable"}
"""Kinds of evidence that doubt nothing: over a desert, every scene has it."""
_SHARES = {"cloud_share": "cloud", "shadow_share": "shadow", "valid_share": "clear and used"}
_STYLE = (
    "body{font:15px/1.4 sans-serif;margin:1.5em;color:#222}table{border-collapse:collapse;margin:0 0 2em}"
    "th,td{padding:.25em .7em;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}"
    "th{border-bottom:2px solid #444}h2{font-size:1.1em}"
)


def list_scenes(tables: Sequence[Path], out_csv: Path, out_html: Path, out_text: Path) -> None:
    """Join the tables of all tile-months (``masks/{tile}/{month}.csv``).

    Writes a CSV with one row per scene of each tile-month, a page with the scenes that are set aside or in
    doubt, and the same in a few sentences, for the text of the report.
    """
    rows = [row for path in sorted(tables) for row in read_scenes(path)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_file(out_csv) as scratch, scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with atomic_file(out_html) as scratch:
        scratch.write_text(_page(rows), encoding="utf-8")
    with atomic_file(out_text) as scratch:
        scratch.write_text("\n".join(told(rows)) + "\n", encoding="utf-8")


def read_scenes(table: Path) -> list[Row]:
    """Rows of one of the tables that :func:`list_scenes` reads or writes."""
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def told(rows: Sequence[Row]) -> Iterator[str]:
    """What a reader of results has to know about the scenes, line by line."""
    aside, count = _aside(rows), len({_scene(row) for row in rows})
    months = len({(row["tile"], row["month"]) for row in rows})
    yield f"{count} scene{'s' * (count != 1)} in {months} tile-month{'s' * (months != 1)}"
    if aside:
        yield f"{len(aside)} of them set aside, because they could not be read or believed:"
        yield from (f"  {name}: {problem}" for (_, name), problem in aside.items())
    for kind, number in sorted(_kinds(rows).items()):
        yield f"{number} of them: {_MEANINGS.get(kind, kind)} ({kind})"


def check_archive(table: Path, out: Path, max_unreadable: int) -> None:
    """Write what :func:`told` says of the campaign's scenes, if no more of them are set aside than allowed.

    Args:
        table: that of :func:`list_scenes`.
        out: text file to write.
        max_unreadable: how many scenes may be set aside.

    Raises:
        ArchiveError: more are; names them with their reasons.
    """
    rows = read_scenes(table)
    aside = _aside(rows)
    if len(aside) > max_unreadable:
        named = [f"{name} ({problem})" for (_, name), problem in list(aside.items())[:NAMED]]
        if len(aside) > NAMED:
            named.append(f"and {len(aside) - NAMED} more, all in {table}")
        count = f"{len(aside)} of {len({_scene(row) for row in rows})} scenes"
        raise ArchiveError(
            f"all else is made, but {count} had to be set aside: {'; '.join(named)}",
            f"the same command tries them again; archive.max_unreadable: {len(aside)} accepts them",
        )
    with atomic_file(out) as scratch:
        scratch.write_text("\n".join(told(rows)) + "\n", encoding="utf-8")


def _scene(row: Row) -> tuple[str, str]:
    """MGRS tile and id: what lies in two sites of a tile is one scene, an id in two tiles is two."""
    return row["tile"].partition("-")[0], row["item"]


def _aside(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """Problem of each scene that is set aside."""
    return {_scene(row): row["problem"] for row in rows if row["problem"]}


def _kinds(rows: Sequence[Row]) -> Counter[str]:
    """Number of scenes by kind of evidence; that of a scene without data says nothing."""
    scenes = {(_scene(row), kind) for row in rows if not row["problem"] for kind in _evidence(row)}
    return Counter(kind for _, kind in scenes)


def _evidence(row: Row) -> list[str]:
    return row.get("evidence", "").split()


def _page(rows: Sequence[Row]) -> str:
    """A page without any dependency, for the report; scenes without problem or doubt are counted only."""
    aside = [row for row in rows if row["problem"]]
    doubted = [row for row in rows if not row["problem"] and set(_evidence(row)) - _CERTAIN]
    head = "<!doctype html><html lang='en'><meta charset='utf-8'><title>Scenes</title>"
    parts = [f"{head}<style>{_STYLE}</style>", f"<p>{html.escape(next(told(rows)))}.</p>"]
    if aside:
        parts += ["<h2>Set aside</h2>", _table(aside, {"problem": "reason"})]
    if doubted:
        shown = {**_SHARES, "offset": "offset", "evidence": "evidence"}
        parts += ["<h2>In doubt</h2>", _table(doubted, shown)]
        kinds = sorted({kind for row in doubted for kind in _evidence(row)})
        meanings = "; ".join(f"{kind}: {_MEANINGS.get(kind, kind)}" for kind in kinds)
        parts.append(f"<p>{html.escape(meanings)}.</p>")
    if not aside and not doubted:
        parts.append("<p>None is set aside, none is in doubt.</p>")
    return "\n".join([*parts, "</html>", ""])


def _table(rows: Sequence[Row], columns: dict[str, str]) -> str:
    shown = {"tile": "tile", "month": "month", "date": "date", "item": "scene", **columns}
    lines = ["<table><tr>" + "".join(f"<th>{html.escape(h)}</th>" for h in shown.values()) + "</tr>"]
    for row in rows:
        cells = [_cell(name, row.get(name, "")) for name in shown]
        lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return "\n".join([*lines, "</table>"])


def _cell(name: str, value: str) -> str:
    return f"{100 * float(value):.1f} %" if name in _SHARES and value else value
