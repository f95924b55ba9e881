"""Copying some blocks of a TIFF: where they lie, and a directory of our own for the copy.

GDAL reads a block table that is not there as zeros, and zeros as "no data". So the table of a file of which
only parts are copied is read here, through a function that must give every byte that it is asked for, and
the copy is a file of its own: its directory names the copied blocks and nothing else, so there is nothing
in it that is missing. Overviews, sidecars and whatever else hangs on the original stay behind. Blocks with
a checksum (deflate) are unpacked on the way, because GDAL does not check it.

TIFF and BigTIFF, little and big endian (TIFF 6.0, Adobe 1992; BigTIFF, http://bigtiff.org).
"""

import math
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

Read = Callable[[int, int], bytes]
"""Gives the bytes of a file from ``start`` to before ``stop``, fewer only where the file ends."""

MAGIC = {b"II*\0": False, b"MM\0*": False, b"II+\0": True, b"MM\0+": True}
"""First four bytes of a TIFF: whether it is a BigTIFF."""

SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
"""Bytes of one value of each field type."""
UNSIGNED = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}

WIDTH, LENGTH, SAMPLES, ROWS_PER_STRIP, SUBFILE, SUBDIRECTORIES = 256, 257, 277, 278, 254, 330
TILE_WIDTH, TILE_LENGTH = 322, 323
PIXEL_SCALE, TIEPOINT, TRANSFORMATION, GEO_KEYS, GEO_DOUBLES, GEO_TEXTS = (
    33550,
    33922,
    34264,
    34735,
    34736,
    34737,
)
GEOREFERENCE = (PIXEL_SCALE, TIEPOINT, TRANSFORMATION, GEO_KEYS, GEO_DOUBLES, GEO_TEXTS)
"""OGC GeoTIFF 1.1, requirements class TIFF."""
OFFSETS, COUNTS = {True: 324, False: 273}, {True: 325, False: 279}
"""By whether the file is tiled."""
BITS, COMPRESSION, FILL_ORDER, PREDICTOR = 258, 259, 266, 317
DECODING = (BITS, COMPRESSION, 262, FILL_ORDER, SAMPLES, 284, PREDICTOR, 338, 339, 347, 42113, 50674)
"""What tells how pixels are stored, ``GDAL_NODATA`` (42113) among it: copied as it is."""
DEFLATE = (8, 32946)
MASK = 4
"""Bit of ``NewSubfileType``: the directory is a mask of another one's pixels."""

MOST_DIRECTORIES = 64
MOST_FIELDS = 4096
LARGEST_BLOCK = 2**28
"""Pixels; twice those of a whole tile of 10,980² in one strip."""
LONGEST_VALUE = 64 * 2**20
"""Bytes; the block table of 50,000² pixels in strips of one row takes less than one MiB."""


class Unusual(Exception):
    """The file is built in a way that needs all of it to be read; says which."""


@dataclass(frozen=True)
class Field:
    """One entry of a directory: its value lies at ``at``."""

    kind: int
    count: int
    at: int

    @property
    def size(self) -> int:
        return SIZES[self.kind] * self.count


@dataclass(frozen=True)
class Value:
    """The content of a field, in the byte order of its file."""

    kind: int
    count: int
    content: bytes


@dataclass(frozen=True)
class BlockTable:
    """Where the blocks of a file's full resolution lie, and how they are stored.

    Attributes:
        shape: rows and columns of the image.
        block: rows and columns of a block (tile or strip).
        tiled: whether blocks are tiles.
        starts, sizes: byte range of every block, (block rows, block columns); both 0 where the file has none.
        order: byte order of the file, ``<`` or ``>``.
        values: fields that tell how pixels are stored and where they lie on the ground.
    """

    shape: tuple[int, int]
    block: tuple[int, int]
    tiled: bool
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    order: str
    values: Mapping[int, Value]


@dataclass(frozen=True)
class Copied:
    """A block on its way: ``size`` bytes from ``start`` of the original to ``to`` in the copy.

    ``rows``: those of its pixels; the last strip of a file has fewer than all others.
    """

    start: int
    size: int
    to: int
    rows: int


@dataclass(frozen=True)
class Crop:
    """A copy of a rectangle of blocks.

    Attributes:
        head: first bytes of the copy.
        blocks: what follows, by place in the original.
        shape: rows and columns of the copy.
        unpacked: whether the copy holds the blocks without their compression; see :func:`unpacked`.
    """

    head: bytes
    blocks: Sequence[Copied]
    shape: tuple[int, int]
    unpacked: bool


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins like this is a TIFF or BigTIFF."""
    return head[:4] in MAGIC


def read_block_table(read: Read, size: int) -> BlockTable:
    """The block table of the file of ``size`` bytes that ``read`` gives.

    Raises:
        ValueError: no TIFF, or one that is cut off or corrupt.
        Unusual: a TIFF that must be had whole: with masks, with several bands, with subdirectories.
    """
    try:
        return _Directories(read, size).table()
    except (struct.error, KeyError, IndexError) as error:
        raise ValueError(f"a field of its directory makes no sense: {error}") from error


class _Directories:
    """Reads the directories of a TIFF one after the other."""

    def __init__(self, read: Read, size: int) -> None:
        self._read, self._size = read, size
        head = self.part(0, 8)
        self._order = "<" if head[:2] == b"II" else ">"
        self._big = MAGIC[head[:4]]
        self._number, self._entry = ("Q", 20) if self._big else ("H", 12)
        self._address = "Q" if self._big else "I"
        if self._big and self.unpack("HH", 4) != (8, 0):
            raise ValueError("addresses of a BigTIFF have 8 bytes")

    def part(self, start: int, length: int) -> bytes:
        if start < 0 or start + length > self._size:
            raise ValueError("points beyond the end of the file")
        found = self._read(start, start + length) if length else b""
        if len(found) != length:
            raise ValueError("the file ends early")
        return found

    def unpack(self, kinds: str, start: int) -> tuple[int, ...]:
        layout = self._order + kinds
        return struct.unpack(layout, self.part(start, struct.calcsize(layout)))

    def fields(self, start: int) -> tuple[dict[int, Field], int]:
        """The entries of the directory at ``start``, and where the address of the next one is written."""
        (count,) = self.unpack(self._number, start)
        first = start + struct.calcsize("<" + self._number)
        if not 0 < count <= MOST_FIELDS:
            raise ValueError(f"a directory of {count} entries")
        self.part(first, count * self._entry)
        fields: dict[int, Field] = {}
        inline = struct.calcsize("<" + self._address)
        for at in range(first, first + count * self._entry, self._entry):
            tag, kind, number = self.unpack("HH" + self._address, at)
            if kind not in SIZES or tag in fields:
                raise Unusual(f"field {tag} is of type {kind} or given twice")
            place = at + self._entry - inline
            if SIZES[kind] * number > inline:
                (place,) = self.unpack(self._address, place)
            fields[tag] = Field(kind, number, place)
        return fields, first + count * self._entry

    def content(self, field: Field) -> bytes:
        if field.size > LONGEST_VALUE:
            raise Unusual("it has very long fields")
        return self.part(field.at, field.size)

    def numbers(self, field: Field) -> npt.NDArray[np.int64]:
        kind = np.dtype(self._order + UNSIGNED[field.kind])
        return np.frombuffer(self.content(field), kind).astype(np.int64)

    def number(self, fields: Mapping[int, Field], tag: int, default: int) -> int:
        return int(self.numbers(fields[tag])[0]) if tag in fields else default

    def table(self) -> BlockTable:
        (first,) = self.unpack(self._address, 8 if self._big else 4)
        fields, next_at = self.fields(first)
        if self.number(fields, SAMPLES, 1) != 1 or SUBDIRECTORIES in fields:
            raise Unusual("it has several bands or directories inside directories")
        self._check_others(next_at, first)
        shape = self.number(fields, LENGTH, 0), self.number(fields, WIDTH, 0)
        tiled = TILE_WIDTH in fields
        height = self.number(fields, TILE_LENGTH if tiled else ROWS_PER_STRIP, shape[0])
        width = self.number(fields, TILE_WIDTH, shape[1])
        if min(*shape, height, width) < 1:
            raise ValueError("an image or a block without a pixel")
        block = (height if tiled else min(height, shape[0]), width)
        if math.prod(block) > LARGEST_BLOCK:
            raise ValueError("a block too large to be one")
        starts, sizes = self._blocks(fields, tiled, shape, block)
        kept = {tag: fields[tag] for tag in (*DECODING, *GEOREFERENCE) if tag in fields}
        values = {tag: Value(field.kind, field.count, self.content(field)) for tag, field in kept.items()}
        return BlockTable(shape, block, tiled, starts, sizes, self._order, values)

    def _blocks(
        self, fields: Mapping[int, Field], tiled: bool, shape: tuple[int, int], block: tuple[int, int]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        if OFFSETS[tiled] not in fields or COUNTS[tiled] not in fields:
            raise Unusual("its block table is incomplete")
        starts, sizes = self.numbers(fields[OFFSETS[tiled]]), self.numbers(fields[COUNTS[tiled]])
        grid = (math.ceil(shape[0] / block[0]), math.ceil(shape[1] / block[1]))
        if len(starts) != math.prod(grid) or len(sizes) != len(starts):
            raise Unusual("its block table has not one entry per block")
        if (starts < 0).any() or (sizes < 0).any() or (starts > self._size - sizes).any():
            raise ValueError("a block lies outside of the file")
        if ((starts == 0) != (sizes == 0)).any():
            raise ValueError("a block has a place and no content, or content and no place")
        return starts.reshape(grid), sizes.reshape(grid)

    def _check_others(self, next_at: int, first: int) -> None:
        """Overviews may be left out, a mask may not: it says where there is no data."""
        seen = {first}
        (start,) = self.unpack(self._address, next_at)
        while start:
            if start in seen or len(seen) > MOST_DIRECTORIES:
                raise ValueError("its directories go round in a circle")
            seen.add(start)
            fields, next_at = self.fields(start)
            if self.number(fields, SUBFILE, 0) & MASK:
                raise Unusual("it has a mask")
            (start,) = self.unpack(self._address, next_at)


def without_pixels(table: BlockTable) -> bytes:
    """A TIFF like the original in all but its pixels, of which it has none: to ask a library what it is."""
    nothing = np.zeros_like(table.starts)
    return _head(table, table.shape, nothing, nothing, dict(table.values))


def crop(table: BlockTable, rows: slice, columns: slice, epsg: int, transform: Affine) -> tuple[Crop, Affine]:
    """The blocks that hold a window of the image, as a file of its own.

    Args:
        rows, columns: the window, at least one pixel, inside the image.
        epsg, transform: where the original's pixels lie. Written into the copy, whatever the original says.

    Returns:
        The copy, and the transform of its pixels.
    """
    (height, width), (all_rows, all_columns) = table.block, table.shape
    down = slice(rows.start // height, -(-rows.stop // height))
    across = slice(columns.start // width, -(-columns.stop // width))
    top, left = down.start * height, across.start * width
    shape = min(down.stop * height, all_rows) - top, min(across.stop * width, all_columns) - left
    placed = transform @ Affine.translation(left, top)
    values = {tag: value for tag, value in table.values.items() if tag not in GEOREFERENCE}
    values |= _georeference(epsg, placed, table.order)
    starts, sizes = table.starts[down, across], table.sizes[down, across]
    rows_of = np.full(sizes.shape, height)
    if not table.tiled:
        rows_of[-1] = shape[0] - height * (len(sizes) - 1)
    unpack = _has_checksums(table)
    if unpack:
        values = {tag: value for tag, value in values.items() if tag not in (COMPRESSION, PREDICTOR)}
        values |= {COMPRESSION: Value(3, 1, struct.pack(f"{table.order}H", 1))}
        lengths = np.where(sizes > 0, rows_of * width * _depth(table), 0)
    else:
        lengths = sizes
    length = len(_head(table, shape, starts, lengths, values))
    to = length + np.cumsum(lengths).reshape(lengths.shape) - lengths
    head = _head(table, shape, np.where(lengths > 0, to, 0), lengths, values)
    places = zip(starts.flat, sizes.flat, to.flat, rows_of.flat, strict=True)
    blocks = sorted((Copied(*map(int, place)) for place in places if place[1]), key=lambda b: b.start)
    return Crop(head, blocks, shape, unpack), placed


def _has_checksums(table: BlockTable) -> bool:
    """Whether blocks are zlib streams, of whole numbers that are stored in a way that is undone here."""
    kind = [
        _short(table, tag, default) for tag, default in ((COMPRESSION, 1), (PREDICTOR, 1), (FILL_ORDER, 1))
    ]
    return kind[0] in DEFLATE and kind[1] in (1, 2) and kind[2] == 1 and _short(table, BITS, 1) in (8, 16)


def _short(table: BlockTable, tag: int, default: int) -> int:
    value = table.values.get(tag)
    if value is None or value.kind != 3:
        return default
    return int(struct.unpack_from(f"{table.order}H", value.content)[0])


def _depth(table: BlockTable) -> int:
    return _short(table, BITS, 8) // 8


def unpacked(table: BlockTable, stored: bytes, block: Copied) -> npt.NDArray[Any]:
    """The pixels of a block that is a zlib stream, (rows, columns), in the byte order of the file.

    A zlib stream ends in a checksum of what it holds (RFC 1950). GDAL does not look at it: it takes whatever
    comes out of a damaged stream, as long as it fills the block.

    Raises:
        ValueError: the stream is damaged.
    """
    stream = zlib.decompressobj()
    length = block.rows * table.block[1] * _depth(table)
    try:
        # Some writers fill the last strip up.
        pixels = stream.decompress(stored, max(length, table.block[0] * table.block[1] * _depth(table)) + 1)
    except zlib.error as error:
        raise ValueError("a damaged stream") from error
    if not stream.eof or len(pixels) < length:
        raise ValueError("a stream that ends early or does not end")
    kind = np.dtype(f"{table.order}u{_depth(table)}")
    numbers = np.frombuffer(pixels, kind, block.rows * table.block[1]).reshape(block.rows, -1)
    if _short(table, PREDICTOR, 1) == 1:
        return numbers
    # Each number is stored as the difference to its left neighbour (TIFF 6.0, section 14).
    return np.cumsum(numbers, axis=1, dtype=kind, out=np.empty_like(numbers))


def _georeference(epsg: int, transform: Affine, order: str) -> dict[int, Value]:
    """Fields of a north-up GeoTIFF in a projection with an EPSG code; pixels are areas."""
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, epsg)
    scale = (transform.a, -transform.e, 0.0)
    corner = (0.0, 0.0, 0.0, transform.c, transform.f, 0.0)
    return {
        PIXEL_SCALE: Value(12, 3, struct.pack(f"{order}3d", *scale)),
        TIEPOINT: Value(12, 6, struct.pack(f"{order}6d", *corner)),
        GEO_KEYS: Value(3, len(keys), struct.pack(f"{order}{len(keys)}H", *keys)),
    }


def _head(
    table: BlockTable,
    shape: tuple[int, int],
    starts: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    values: dict[int, Value],
) -> bytes:
    """Header and directory of a BigTIFF in the byte order of the original, whose blocks it can hold as they
    are."""
    order = table.order

    def longs(numbers: Sequence[int]) -> Value:
        return Value(16, len(numbers), struct.pack(f"{order}{len(numbers)}Q", *numbers))

    values = values | {LENGTH: longs([shape[0]]), WIDTH: longs([shape[1]])}
    if table.tiled:
        values |= {TILE_LENGTH: longs([table.block[0]]), TILE_WIDTH: longs([table.block[1]])}
    else:
        values |= {ROWS_PER_STRIP: longs([table.block[0]])}
    values |= {OFFSETS[table.tiled]: longs(starts.ravel().tolist())}
    values |= {COUNTS[table.tiled]: longs(sizes.ravel().tolist())}
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, len(values))
    end = len(head) + 20 * len(values) + 8
    entries, contents = b"", b""
    for tag in sorted(values):
        value = values[tag]
        held = value.content.ljust(8, b"\0")
        if len(held) > 8:
            contents += b"\0" * (-(end + len(contents)) % 8)
            held = struct.pack(f"{order}Q", end + len(contents))
            contents += value.content
        entries += struct.pack(f"{order}HHQ", tag, value.kind, value.count) + held
    return head + entries + struct.pack(f"{order}Q", 0) + contents


def requests(blocks: Sequence[Copied], gap: int, longest: int) -> Iterator[list[Copied]]:
    """Blocks that are asked for together: neighbours, with at most ``gap`` bytes between them.

    Together they span at most ``longest`` bytes, unless one of them is longer.
    """
    together: list[Copied] = []
    for block in blocks:
        if together:
            end = max(b.start + b.size for b in together)
            if block.start > end + gap or block.start + block.size - together[0].start > longest:
                yield together
                together = []
        together.append(block)
    if together:
        yield together
