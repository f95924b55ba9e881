"""Tables of any length, read and written piece by piece: CSV, also gzipped, and Parquet.

Every piece but the last has :data:`ROWS` rows whatever the file is cut into, so that what is computed per
piece does not depend on the format. Of a CSV file all cells are read as text: ids and further columns are
written as they came, a number is made only of what is one.
"""

import csv
import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from canopyflow.atomic import atomic_file
from canopyflow.errors import DataError

ROWS = 16_384
"""Rows of a piece: a dozen megabytes with all that is computed of them."""

_BLOCK = 2**20
"""Bytes of a CSV file that are parsed at a time."""

CSV, GZIP, PARQUET = "csv", "csv.gz", "parquet"
_SUFFIXES = {".csv": CSV, ".csv.gz": GZIP, ".parquet": PARQUET, ".pq": PARQUET}

_MISSING = pa.array(["", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>"])
"""What stands in a cell whose number is missing."""


def kind_of(path: Path) -> str:
    """The format that a file's name asks for. Raises DataError for one that nobody reads or writes."""
    name = path.name.lower()
    found = next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), None)
    if found is None:
        raise DataError(
            f"{path}: a table of this kind is neither read nor written", f"use {', '.join(_SUFFIXES)}"
        )
    return found


class Table:
    """A table on disk. Raises DataError if it cannot be read, for two columns of one name, and for another
    separator than the comma."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError(f"table {path} does not exist")
        self.kind = kind_of(self.path)
        with _told(self.path):
            if self.kind == PARQUET:
                self.columns: list[str] = pq.read_schema(self.path).names
            else:
                self.columns, self._beyond = _header(self.path)
                if self._beyond is None:
                    raise DataError(f"{path} has no rows")
        twice = sorted({name for name in self.columns if name and self.columns.count(name) > 1})
        if twice:
            raise DataError(f"{path} has two columns {twice[0]!r}", "rename one")

    def pieces(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows in order, :data:`ROWS` at a time, of these ``columns``."""
        waiting: list[pa.Table] = []
        count = 0
        with _told(self.path):
            for batch in self._batches(list(dict.fromkeys(columns))):
                waiting.append(pa.Table.from_batches([batch]))
                count += len(batch)
                while count >= ROWS:
                    joined = pa.concat_tables(waiting)
                    yield joined.slice(0, ROWS)
                    waiting, count = [joined.slice(ROWS)], count - ROWS
                    # What is freed would be kept for later, and with it the most that any piece took.
                    pa.default_memory_pool().release_unused()
            if count:
                yield pa.concat_tables(waiting)

    def types(self, columns: Sequence[str]) -> dict[str, pa.DataType]:
        """Types of these columns; in a CSV file all are text."""
        if self.kind != PARQUET:
            return dict.fromkeys(columns, pa.string())
        schema = pq.read_schema(self.path)
        return {name: schema.field(name).type for name in columns}

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        if self.kind == PARQUET:
            # Not whole row groups: a file may hold all of its rows in one.
            with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=2**20) as file:
                yield from file.iter_batches(batch_size=ROWS, columns=columns)
            return
        reader = pyarrow.csv.open_csv(
            self.path,
            pyarrow.csv.ReadOptions(
                block_size=_BLOCK,
                column_names=[*self.columns, *(f"\0{i}" for i in range(self._beyond or 0))],
                skip_rows=1,
            ),
            pyarrow.csv.ParseOptions(newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                include_columns=columns,
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=False,
            ),
        )
        with reader:
            yield from reader


def numbers(column: pa.ChunkedArray, name: str, ids: "pd.Series[Any]") -> NDArray[np.float64]:
    """A column (n,) as numbers, NaN where one is missing. Raises DataError for text, naming the id of its
    row."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        text = pc.utf8_trim_whitespace(column)
        absent = pc.is_in(text, value_set=_MISSING.cast(text.type))
        column = pc.if_else(absent, pa.scalar(None, text.type), text)
    try:
        cast = column.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        row, value = next((i, v) for i, v in enumerate(column.to_pylist()) if not _is_number(v))
        raise DataError(
            f"column {name!r} holds text, {value!r} for id {ids.iloc[row]!r}",
            "give numbers, empty where missing",
        ) from None
    return np.asarray(cast.to_numpy(), np.float64)


def _is_number(value: object) -> bool:
    try:
        pa.array([value]).cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def _header(path: Path) -> tuple[list[str], int | None]:
    """Names of the columns of a CSV file, and how many empty cells the first row has beyond them; None if
    there is no row."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        names, first = next(rows, []), next((row for row in rows if row), None)
    if len(names) == 1 and (other := next((c for c in ";\t|" if c in names[0]), None)):
        raise DataError(f"table {path} is separated by {other!r}", "separate its columns by commas")
    names = [name.strip() for name in names]
    if first is None:
        return names, None
    beyond = first[len(names) :]
    return names, 0 if any(beyond) else len(beyond)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Errors of a reader as ours."""
    try:
        yield
    except (pa.ArrowException, csv.Error, EOFError, UnicodeDecodeError, OSError) as error:
        raise DataError(
            f"table {path} cannot be read: {error}", f"it is to be what its name says: {', '.join(_SUFFIXES)}"
        ) from error


def check_target(out: Path, table: Path) -> str:
    """The format of the file ``out``. Raises DataError, before any work, if it cannot be written or is the
    ``table`` itself."""
    kind = kind_of(out)
    check_place(out, table)
    return kind


def check_place(out: Path, table: Path) -> None:
    """Raise DataError if no file can be written at ``out``, or if it is the ``table`` itself."""
    if out.is_dir():
        raise DataError(f"{out} is a folder", "give the file to write")
    if out.exists() and table.exists() and out.samefile(table):
        raise DataError(f"{out} is the table itself, which would be lost", "give another file to write")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir():
        raise DataError(f"{above} is not a folder", "give another file to write")


class Writer(Protocol):
    """Writes pieces one after the other."""

    def write(self, piece: pa.Table) -> None: ...


@contextmanager
def writer(out: Path, kind: str) -> Iterator[Writer]:
    """A writer of the file ``out``, which is there, whole, when the block has ended well.

    Raises DataError if it cannot be written.
    """
    try:
        with atomic_file(out) as scratch:
            if kind == PARQUET:
                with _ParquetWriter(scratch) as parquet:
                    yield parquet
            else:
                with scratch.open("wb") as plain:
                    if kind == GZIP:
                        # Without a name and a date in it: the same rows give the same file.
                        with gzip.GzipFile("", "wb", 4, plain, mtime=0) as packed:
                            yield _CsvWriter(packed)
                    else:
                        yield _CsvWriter(plain)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{out} cannot be written: {error}", "give another file to write") from error


class _ParquetWriter:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "_ParquetWriter":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, piece: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, piece.schema)
        self._writer.write_table(piece)


class _CsvWriter:
    def __init__(self, file: BinaryIO | gzip.GzipFile) -> None:
        self._file, self._started = file, False

    def write(self, piece: pa.Table) -> None:
        if not self._started:
            self._started = True
            line = io.StringIO()
            csv.writer(line, lineterminator="\n").writerow(piece.column_names)
            self._file.write(line.getvalue().encode())
        self._file.write(_lines(piece))


def _lines(piece: pa.Table) -> memoryview:
    """The rows as CSV; text is quoted only in a piece where some of it has to be."""
    for style in ("none", "needed"):
        lines = io.BytesIO()
        try:
            pyarrow.csv.write_csv(
                piece, lines, pyarrow.csv.WriteOptions(include_header=False, quoting_style=style)
            )
        except pa.ArrowInvalid:
            if style == "needed":
                raise
        else:
            return lines.getbuffer()
    raise AssertionError("one of the two styles writes or raises")


def table_of(kept: pa.Table, columns: Mapping[str, NDArray[Any]]) -> pa.Table:
    """``kept`` with further columns, NaN as missing."""
    for name, values in columns.items():
        kept = kept.append_column(name, pa.array(np.ascontiguousarray(values), from_pandas=True))
    return kept
