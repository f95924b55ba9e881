"""Tables of weather and of values: their cells as text, and the days and numbers that these say.

What cannot be read is told with its file, its row and what to write; nothing is guessed, of a date least.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from canopyflow.archive.text_tables import MISSING, read_text
from canopyflow.errors import DataError

PARQUET = (".parquet", ".pq", ".geoparquet")
"""Suffixes of tables that are no text."""

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ].+)?")


def read_cells(path: Path, columns: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """These ``columns`` of a CSV or Parquet file as text, "" where there is nothing.

    A row's number is its line in a text file, and is counted from 1 in any other. ``numbers``: columns in
    which a decimal comma is a point. Raises DataError for a file that is not there or no table, and for a
    missing column.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist", "give a table, CSV or Parquet")
    wanted = list(dict.fromkeys(columns))
    if path.suffix.lower() in PARQUET:
        return _parquet(path, wanted)
    table = read_text(path, lambda name: name.strip() if name.strip() in wanted else None, numbers)
    _check_columns(path, wanted, table.columns)
    return table[wanted]


def _parquet(path: Path, wanted: Sequence[str]) -> pd.DataFrame:
    try:
        _check_columns(path, wanted, pq.read_schema(path).names)
        table = pq.read_table(path, columns=list(wanted))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}", "write it again") from None
    rows = pd.RangeIndex(1, len(table) + 1)
    return pd.DataFrame({name: map(_cell, table[name].to_pylist()) for name in wanted}, rows, dtype=object)


def _check_columns(path: Path, wanted: Sequence[str], names: Iterable[str]) -> None:
    there = list(names)
    lacking = [name for name in wanted if name not in there]
    if lacking:
        raise DataError(f"{path} has no {', '.join(lacking)}", f"its columns are {', '.join(there)}")


def _cell(value: object) -> str:
    if value is None or value != value:
        return ""
    return value.isoformat() if isinstance(value, date) else str(value)


def missing(cells: pd.Series) -> pd.Series:
    """Which cells hold no value."""
    return cells.str.lower().isin(MISSING)


def read_days(cells: pd.Series, path: Path, *, times: bool = False) -> list[date]:
    """Dates of cells such as ``2021-03-01``; with ``times`` also of ``2021-03-01T10:30:00Z``, the day that is
    written there.

    Raises DataError for anything else: ``01.03.2021`` may be January's.
    """
    known = {text: _day(text, times) for text in cells.unique()}
    days = []
    for row, text in cells.items():
        day = known[text]
        if day is None:
            remedy = "write dates as 2021-03-01" + ("" if times else ", one row a day and no hours")
            raise DataError(f"{path}, row {row}: {cells.name} {text!r} is no date", remedy)
        days.append(day)
    return days


def _day(text: str, times: bool) -> date | None:
    found = _ISO.fullmatch(text)
    if found is None or (found[1] and not times):
        return None
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        return None


def read_numbers(cells: pd.Series, path: Path, remedy: str) -> NDArray[np.float64]:
    """Numbers of cells. Raises DataError, with the ``remedy``, for the first that is no finite one."""
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        row = cells.index[wrong[0]]
        raise DataError(f"{path}, row {row}: {cells.name} {cells[row]!r} is not a number", remedy)
    return numbers
