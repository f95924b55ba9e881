"""Tables of text as spreadsheets and people write them: every cell as text, each row with its line.

Comma, semicolon, tab or bar between the cells, whichever the header has; decimal commas; comment lines; cells
in quotes; a separator at the end of each row; Windows' line ends; UTF-8 with or without a mark, UTF-16 with
one. What could be read in two ways is refused, and says what to write.
"""

import codecs
import csv
import io
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from canopyflow.errors import DataError

log = logging.getLogger("canopyflow")

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

MISSING = ("", "nan", "na", "n/a", "#n/a", "null", "none", "<na>", "-", "–")
"""What stands, in any case, in a cell that has no value."""

_MARKS = (
    (codecs.BOM_UTF32_LE, None),
    (codecs.BOM_UTF32_BE, None),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_OTHERS = (
    (b"PK\x03\x04", "a spreadsheet (.xlsx, .ods) or a ZIP archive", "save the sheet as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file", "save the sheet as CSV (UTF-8)"),
    (b"\x1f\x8b", "compressed (gzip)", "unpack it"),
    (b"SQLite format 3", "a database", "name a GeoPackage *.gpkg"),
    (b"PAR1", "Parquet", "name it *.parquet"),
    (b"%PDF", "a PDF", "export the table as CSV (UTF-8)"),
)

_COMMA = r"[+-]?\d+,\d*(?:[eE][+-]?\d+)?"
_POINT = r"[+-]?(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?"
_THOUSANDS = r"[+-]?[1-9]\d{0,2},\d{3}"


def decoded(path: Path) -> str:
    """The text of a file.

    A file that is not UTF-8 and has no mark is taken for Windows-1252 (which extends Latin-1), with a
    warning that quotes its first such line. Raises DataError for what is no text.
    """
    raw = path.read_bytes()
    for start, what, remedy in _OTHERS:
        if raw.startswith(start):
            raise DataError(f"{path} is no text but {what}", remedy)
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    if encoding is None:
        raise DataError(f"{path} is UTF-32", "save it as UTF-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise DataError(f"{path} begins as UTF-16 and is none", "save it as UTF-8") from error
        text = _western(path, raw, error.start)
    if "\0" in text:
        raise DataError(f"{path} holds zero bytes: UTF-16 without a mark, or no text", "save it as UTF-8")
    return text


def _western(path: Path, raw: bytes, first: int) -> str:
    """``raw`` as Windows-1252; ``first``: its first byte that is not UTF-8."""
    number = raw.count(b"\n", 0, first) + 1
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number}: neither UTF-8 nor Windows-1252 (Latin-1)", "save it as UTF-8"
        ) from error
    line = raw.splitlines()[len(raw[:first].splitlines() or [b""]) - 1].decode("cp1252")
    log.warning(
        "%s is not UTF-8: read as Windows-1252 (Latin-1); check line %d, %r, or save it as UTF-8",
        path.name,
        number,
        line.strip()[:80],
    )
    return text


def read_text(path: Path, known: Callable[[str], str | None], numbers: Sequence[str]) -> pd.DataFrame:
    """All cells of a table as text, indexed by the line of the file on which their row begins.

    ``known``: the name that a heading stands for, None for a heading of no meaning here; the separator is
    the one with which the header has most of them. ``numbers``: names of the columns of numbers, in which a
    decimal comma becomes a point. Columns without a heading are left out.

    Raises DataError, naming the line, for a row with more or fewer fields than the header, an open quote, two
    columns of one name, and decimal commas that may be something else.
    """
    text = decoded(path)
    header, separator, skip = _header(path, text, known)
    names = [known(name) or name.strip() for name in header]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        same = [repr(head.strip()) for head, name in zip(header, names, strict=True) if name == twice[0]]
        raise DataError(f"{path}: two columns say {twice[0]!r}: {', '.join(same)}", "rename or remove one")
    lines, rows = [], []
    feed = _Feed(text)
    for line, cells in _records(path, feed, separator):
        if line <= skip or not any(cell.strip() for cell in cells):
            continue
        lines.append(line)
        rows.append(_fitted(path, line, cells, len(names), separator))
    out = [line for line, said in feed.comments if line > skip and len(_split(said, separator)) == len(names)]
    if lines and out:
        log.info(
            "%s: %d lines that look like rows are comments (first: line %d)", path.name, len(out), out[0]
        )
    table = pd.DataFrame(rows, columns=pd.Index(names, dtype=object), index=lines, dtype=object)
    table = table.loc[:, [name != "" for name in names]]
    return with_points(path, table, [name for name in numbers if name in table], separator)


def _fitted(path: Path, line: int, cells: list[str], count: int, separator: str) -> list[str]:
    """The fields of a row that the header names."""
    cells = [cell.strip() for cell in cells]
    while len(cells) > count and not cells[-1]:
        cells.pop()
    if len(cells) != count:
        told = f"{path}, line {line}: {len(cells)} fields where the header has {count}"
        if len(cells) < count:
            raise DataError(told, "is the file cut short? give each row a field for each column")
        remedy = "put fields that hold the separator in quotes"
        if separator == ",":
            remedy += "; with decimal commas separate by semicolons"
        raise DataError(told, remedy)
    return cells


class _Feed:
    """The lines of a text but for comments, which begin with ``#`` where a row may begin."""

    def __init__(self, text: str) -> None:
        self.lines = io.StringIO(text, newline="")
        self.number = self.start = 0
        self.between = True
        self.comments: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            self.number += 1
            if self.between:
                if line.lstrip().startswith("#"):
                    self.comments.append((self.number, line.strip()))
                    continue
                self.start, self.between = self.number, False
            yield line


def _records(path: Path, feed: "_Feed", separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line on which it begins, comments left out."""
    reader = csv.reader(iter(feed), delimiter=separator, strict=True, skipinitialspace=True)
    while True:
        feed.between = True
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}, line {feed.start}: {error}", "close each quote, and double those inside of a field"
            ) from None
        yield feed.start, cells


def _header(path: Path, text: str, known: Callable[[str], str | None]) -> tuple[list[str], str, int]:
    """The headings, the separator, and the line of the headings (0 if a comment holds them).

    The first line that is no comment; but where that has no known heading and the last comment before it
    has some, the comment. ``sep=;`` in the first line, which is meant for Excel, is obeyed.
    """
    told = None
    feed = _Feed(text)
    for line in feed:
        asked = re.fullmatch(r"\s*\"?sep=(.)\"?\s*", line)
        if asked and told is None:
            told = asked.group(1)
        elif line.strip(" \t\r\n,;|"):
            break
        feed.between = True
    else:
        raise DataError(f"{path} has no header and no row", "the first line names the columns")
    choices = [told] if told in SEPARATORS else list(SEPARATORS)
    if told is not None and told not in SEPARATORS:
        raise DataError(f"{path} is separated by {told!r}", f"use {', '.join(SEPARATORS.values())}")
    candidates = [(line, feed.number)]
    if feed.comments:
        candidates.append((feed.comments[-1][1].lstrip("# \t"), 0))
    found = [
        (sum(known(name) is not None for name in cells), len(cells), cells, separator, skip)
        for text_, skip in candidates
        for separator in choices
        for cells in (_split(text_, separator),)
    ]
    best = max(found, key=lambda each: (each[0], each[4] > 0, each[1]))
    header = list(best[2])
    while header and not header[-1].strip():
        header.pop()
    return header, best[3], best[4]


def _split(line: str, separator: str) -> list[str]:
    return next(csv.reader([line.strip("\r\n")], delimiter=separator, skipinitialspace=True), [])


def with_points(path: Path, table: pd.DataFrame, columns: Sequence[str], separator: str) -> pd.DataFrame:
    """Decimal commas of these columns of numbers as points: of all cells, or of none. Raises DataError for
    columns that have both, and, in a table that commas separate, for ``1,234`` alone."""
    with_comma, with_point = ({}, {})
    for name in columns:
        cells = table[name].str.replace("−", "-")
        with_comma[name] = cells.str.fullmatch(_COMMA)
        with_point[name] = cells.str.fullmatch(_POINT)
        table = table.assign(**{name: cells})
    commas = pd.DataFrame(with_comma, index=table.index, dtype=bool)
    points = pd.DataFrame(with_point, index=table.index, dtype=bool)
    if not commas.to_numpy().any():
        return table
    one = _first(table, commas)
    if points.to_numpy().any():
        other = _first(table, points)
        raise DataError(
            f"{path}: numbers with a decimal comma ({one}) and with a point ({other})",
            "write all with points, and none with marks between thousands",
        )
    cells = table[list(columns)].to_numpy()[commas.to_numpy()]
    if separator == "," and all(re.fullmatch(_THOUSANDS, cell) for cell in cells):
        raise DataError(
            f"{path}: {one} may be a decimal comma or a mark between thousands", "write numbers with points"
        )
    log.info("%s: decimal commas, such as %s, read as points", path.name, one)
    return table.assign(
        **{
            name: table[name].where(~commas[name], table[name].str.replace(",", ".", regex=False))
            for name in columns
        }
    )


def _first(table: pd.DataFrame, which: pd.DataFrame) -> str:
    row = which.index[which.any(axis=1)][0]
    name = which.columns[which.loc[row]][0]
    return f"{name} {table.at[row, name]!r} in row {row}"
