"""Where the blocks of a TIFF lie, read from its directory alone.

GDAL reads a block table that is not there as zeros, and zeros as "no data". So the table of a file of which only
parts are copied is read here, through a function that must give every byte that it is asked for, and the copy is
then changed such that GDAL cannot take what was left out for anything else than an error: see :func:`seal`.

TIFF and BigTIFF, little and big endian (TIFF 6.0, Adobe 1992; BigTIFF, http://bigtiff.org).
"""

import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from canopyflow.errors import ArchiveError

Read = Callable[[int, int], bytes]
"""Gives the bytes of a file from ``start`` to before ``stop``, fewer only where the file ends."""

MAGIC = {b"II*\0": False, b"MM\0*": False, b"II+\0": True, b"MM\0+": True}
"""First four bytes of a TIFF: whether it is a BigTIFF."""

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value of each field type."""
UNSIGNED = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}

WIDTH, LENGTH, SAMPLES, ROWS_PER_STRIP, SUBFILE, SUBDIRECTORIES = 256, 257, 277, 278, 254, 330
TILE_WIDTH, TILE_LENGTH = 322, 323
OFFSETS, COUNTS = {True: 324, False: 273}, {True: 325, False: 279}
"""By whether the file is tiled."""
MASK = 4
"""Bit of ``NewSubfileType``: the directory is a mask of another one's pixels."""

MOST_DIRECTORIES = 64
LONGEST_VALUE = 64 * 2**20
"""Bytes; the block table of 50,000² pixels in strips of one row takes less than one MiB."""


class Unusual(Exception):
    """The file is built in a way that needs all of it to be read; says which."""


@dataclass(frozen=True)
class Field:
    """One entry of a directory; its value lies at ``at``."""

    kind: int
    count: int
    at: int

    @property
    def size(self) -> int:
        return SIZES[self.kind] * self.count


@dataclass(frozen=True)
class BlockTable:
    """Where the blocks of a file's full resolution lie.

    Attributes:
        shape: rows and columns of the image.
        block: rows and columns of a block (tile or strip).
        starts, sizes: byte range of every block, (block rows, block columns); both 0 where the file has none.
        starts_at: where the file itself holds ``starts``, as unsigned integers of type ``stored``.
        next_at: where the file holds the address of its next directory, of type ``address``.
    """

    shape: tuple[int, int]
    block: tuple[int, int]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    starts_at: int
    stored: np.dtype
    next_at: int
    address: np.dtype

    def needed(self, rows: slice, columns: slice) -> npt.NDArray[np.bool_]:
        """Which blocks hold the pixels of a window, as an array like ``starts``."""
        there = np.zeros(self.starts.shape, dtype=bool)
        (height, width), (first, left) = self.block, (rows.start, columns.start)
        if first < rows.stop and left < columns.stop:
            there[first // height : -(-rows.stop // height), left // width : -(-columns.stop // width)] = True
        return there


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins like this is a TIFF or BigTIFF."""
    return head[:4] in MAGIC


def read_block_table(read: Read, size: int, name: str) -> BlockTable:
    """The block table of the file of ``size`` bytes that ``read`` gives.

    All values of the first directory have been asked of ``read`` when this returns.

    Raises:
        ArchiveError: no TIFF, or one that is cut off or corrupt; the message starts with ``name``.
        Unusual: a TIFF that must be had whole: with masks, with several bands, with subdirectories.
    """
    try:
        return _Directories(read, size).table()
    except (struct.error, KeyError, ValueError, IndexError) as error:
        raise ArchiveError(f"{name} is truncated or corrupt") from error


class _Directories:
    """Reads the directories of a TIFF one after the other."""

    def __init__(self, read: Read, size: int) -> None:
        self._read, self._size = read, size
        head = self.bytes(0, 8)
        self._order = "<" if head[:2] == b"II" else ">"
        self._big = MAGIC[head[:4]]
        self._number, self._entry = ("Q", 20) if self._big else ("H", 12)
        self._address = "Q" if self._big else "I"
        if self._big and self.unpack("HH", 4) != (8, 0):
            raise ValueError("addresses of a BigTIFF have 8 bytes")

    def bytes(self, start: int, length: int) -> bytes:
        if start < 0 or start + length > self._size:
            raise ValueError("points beyond the end of the file")
        found = self._read(start, start + length)
        if len(found) != length:
            raise ValueError("the file ends early")
        return found

    def unpack(self, kinds: str, start: int) -> tuple[int, ...]:
        layout = self._order + kinds
        return struct.unpack(layout, self.bytes(start, struct.calcsize(layout)))

    def fields(self, start: int) -> tuple[dict[int, Field], int]:
        """The entries of the directory at ``start``, and where the address of the next one is written."""
        (count,) = self.unpack(self._number, start)
        first = start + struct.calcsize(self._number)
        if count == 0 or count > 4096:
            raise ValueError(f"a directory of {count} entries")
        self.bytes(first, count * self._entry)
        fields: dict[int, Field] = {}
        inline = struct.calcsize(self._address)
        for at in range(first, first + count * self._entry, self._entry):
            tag, kind, number = self.unpack("HH" + self._address, at)
            if kind not in SIZES or tag in fields:
                raise Unusual(f"field {tag} is of type {kind} or given twice")
            place = at + self._entry - inline
            if SIZES[kind] * number > inline:
                (place,) = self.unpack(self._address, place)
            fields[tag] = Field(kind, number, place)
        return fields, first + count * self._entry

    def values(self, field: Field) -> npt.NDArray[np.int64]:
        kind = np.dtype(UNSIGNED[field.kind]).newbyteorder(self._order)
        return np.frombuffer(self.bytes(field.at, field.size), kind).astype(np.int64)

    def number(self, fields: dict[int, Field], tag: int, default: int) -> int:
        return int(self.values(fields[tag])[0]) if tag in fields else default

    def table(self) -> BlockTable:
        first_at = 8 if self._big else 4
        (first,) = self.unpack(self._address, first_at)
        fields, next_at = self.fields(first)
        self._check_others(next_at, {first})
        if self.number(fields, SAMPLES, 1) != 1 or SUBDIRECTORIES in fields:
            raise Unusual("it has several bands or directories inside directories")
        for field in fields.values():
            if field.size > LONGEST_VALUE:
                raise Unusual("it has very long fields")
            self.bytes(field.at, field.size)
        return self._table(fields, next_at)

    def _table(self, fields: dict[int, Field], next_at: int) -> BlockTable:
        rows, columns = self.number(fields, LENGTH, 0), self.number(fields, WIDTH, 0)
        tiled = TILE_WIDTH in fields
        height = self.number(fields, TILE_LENGTH if tiled else ROWS_PER_STRIP, rows)
        width = self.number(fields, TILE_WIDTH, columns)
        if min(rows, columns, height, width) < 1:
            raise ValueError("an image or a block without a pixel")
        block = (height if tiled else min(height, rows), width)
        grid = (math.ceil(rows / block[0]), math.ceil(columns / block[1]))
        if OFFSETS[tiled] not in fields or COUNTS[tiled] not in fields:
            raise Unusual("its block table is incomplete")
        starts_field = fields[OFFSETS[tiled]]
        starts, sizes = self.values(starts_field), self.values(fields[COUNTS[tiled]])
        if len(starts) != math.prod(grid) or len(sizes) != len(starts):
            raise Unusual("its block table has not one entry per block")
        if ((starts == 0) != (sizes == 0)).any() or ((starts + sizes) > self._size).any() or starts.min() < 0:
            raise ValueError("a block lies outside of the file")
        if SIZES[starts_field.kind] < 4:
            raise Unusual("its block table is of short integers")
        return BlockTable(
            shape=(rows, columns),
            block=block,
            starts=starts.reshape(grid),
            sizes=sizes.reshape(grid),
            starts_at=starts_field.at,
            stored=np.dtype(UNSIGNED[starts_field.kind]).newbyteorder(self._order),
            next_at=next_at,
            address=np.dtype("u8" if self._big else "u4").newbyteorder(self._order),
        )

    def _check_others(self, next_at: int, seen: set[int]) -> None:
        """Overviews may be left out, a mask may not: it says where there is no data."""
        (start,) = self.unpack(self._address, next_at)
        while start:
            if start in seen or len(seen) > MOST_DIRECTORIES:
                raise ValueError("its directories go round in a circle")
            seen.add(start)
            fields, next_at = self.fields(start)
            if self.number(fields, SUBFILE, 0) & MASK:
                raise Unusual("it has a mask")
            (start,) = self.unpack(self._address, next_at)


def ranges(
    table: BlockTable, needed: npt.NDArray[np.bool_], gap: int, longest: int
) -> Iterable[tuple[int, int]]:
    """Byte ranges that hold the ``needed`` blocks, neighbours with at most ``gap`` bytes between them as one.

    A range of more than ``longest`` bytes is cut into such of at most ``longest``.
    """
    there = needed & (table.sizes > 0)
    blocks = sorted(zip(table.starts[there].tolist(), table.sizes[there].tolist(), strict=True))
    merged: list[list[int]] = []
    for start, size in blocks:
        if merged and start <= merged[-1][1] + gap:
            merged[-1][1] = max(merged[-1][1], start + size)
        else:
            merged.append([start, start + size])
    for start, stop in merged:
        yield from ((part, min(part + longest, stop)) for part in range(start, stop, longest))


def seal(path: Path, table: BlockTable, copied: npt.NDArray[np.bool_]) -> None:
    """Make a partial copy honest: the blocks that were not ``copied`` lie beyond its end, overviews are gone.

    Whoever reads such a block gets an error, whatever the compression. Zeros in their place would be a valid
    block of "no data" in an uncompressed file. A block that the original says it does not have stays so.
    """
    nowhere = np.iinfo(table.stored).max // 2 - 1 if table.stored.itemsize == 8 else 2**32 - 2
    starts = np.where(copied | (table.sizes == 0), table.starts, nowhere)
    with path.open("r+b") as file:
        file.seek(table.starts_at)
        file.write(starts.astype(table.stored).tobytes())
        file.seek(table.next_at)
        file.write(np.zeros(1, table.address).tobytes())
