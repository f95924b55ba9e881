"""Blocks of a TIFF are copied as they are, and a table that is not there can never pass for "no data"."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from canopyflow.archive import geotiff

SIDE = 300
PLACE = Affine(10, 0, 600000, 0, -10, 5200000)
TILES = {"tiled": True, "blockxsize": 64, "blockysize": 64}
KINDS: dict[str, dict[str, Any]] = {
    "deflate tiles": {**TILES, "compress": "deflate", "predictor": 2},
    "no compression": TILES,
    "BigTIFF": {**TILES, "compress": "zstd", "BIGTIFF": "YES"},
    "big endian": {**TILES, "ENDIANNESS": "BIG"},
    "big endian, LZW": {"compress": "lzw", "predictor": 2, "ENDIANNESS": "BIG", "blockysize": 32},
    "big endian, deflate": {**TILES, "compress": "deflate", "predictor": 2, "ENDIANNESS": "BIG"},
    "deflate strips without predictor": {"compress": "deflate", "blockysize": 70},
    "strips": {"compress": "packbits", "blockysize": 16},
    "strips of one row": {"blockysize": 1},
    "one strip": {"blockysize": SIDE},
    "oblong tiles": {"tiled": True, "blockxsize": 128, "blockysize": 32, "compress": "lzw"},
    "directory at the end": {**TILES, "moved": True},
}


def numbers(dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(0).integers(1, 250, (SIDE, SIDE)).astype(dtype)


def write(path: Path, values: np.ndarray | None = None, **profile: Any) -> Path:
    values = numbers() if values is None else values
    kind = {"driver": "GTiff", "count": 1, "crs": "EPSG:32632", "transform": PLACE, "nodata": 0} | profile
    moved = kind.pop("moved", False)
    with rasterio.open(path, "w", dtype=values.dtype, height=SIDE, width=SIDE, **kind) as file:
        file.write(values, 1)
    if moved:
        # An update moves the directory behind the pixels.
        with rasterio.open(path, "r+") as file:
            file.update_tags(**{f"note{i}": "x" * 100 for i in range(40)})
    return path


def between(content: bytes, start: int, stop: int) -> bytes:
    return bytes(content[start:stop])


class Counting:
    """Reads of a file, and which of its bytes were asked for."""

    def __init__(self, path: Path) -> None:
        self.content = path.read_bytes()
        self.asked = np.zeros(len(self.content), dtype=bool)

    def __call__(self, start: int, stop: int) -> bytes:
        self.asked[start:stop] = True
        return self.content[start:stop]


def table_of(path: Path) -> geotiff.BlockTable:
    read = Counting(path)
    return geotiff.read_block_table(read, len(read.content))


def cropped(path: Path, out: Path, rows: slice, columns: slice, gap: int = 0) -> tuple[Path, Affine, int]:
    """Copy a window; the bytes of pixels that were asked for."""
    table, content = table_of(path), path.read_bytes()
    copy, transform = geotiff.crop(table, rows, columns, 32632, PLACE)
    asked = 0
    with out.open("w+b") as file:
        file.write(copy.head)
        for blocks in geotiff.requests(copy.blocks, gap, 2**20):
            asked += max(b.start + b.size for b in blocks) - blocks[0].start
            for block in blocks:
                stored = content[block.start : block.start + block.size]
                file.seek(block.to)
                file.write(geotiff.unpacked(table, stored, block) if copy.unpacked else stored)
    return out, transform, asked


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_copied_blocks_are_the_files_own_pixels(tmp_path: Path, kind: str, dtype: str) -> None:
    path = write(tmp_path / "a.tif", numbers(dtype), **KINDS[kind])
    rows, columns = slice(70, 140), slice(100, 129)
    out, transform, asked = cropped(path, tmp_path / "b.tif", rows, columns)
    with rasterio.open(out, driver="GTiff") as file:
        got, (height, width) = file.read(1), file.shape
        assert (file.crs.to_epsg(), file.transform, file.nodata) == (32632, transform, 0)
        if "tiled" in KINDS[kind]:
            # GDAL cuts a single uncompressed strip into blocks of its own.
            assert file.block_shapes == rasterio.open(path).block_shapes
    left, top = (round(v) for v in ~PLACE @ (transform.c, transform.f))
    assert top <= 70 and top + height >= 140 and left <= 100 and left + width >= 129
    np.testing.assert_array_equal(got, numbers()[top : top + height, left : left + width])
    assert asked == table_of(path).sizes.sum() or asked < 0.6 * table_of(path).sizes.sum()


def test_what_gdal_reads_where_is_what_the_table_says(tmp_path: Path) -> None:
    """GDAL's own idea of every block, of the original as of the copy."""
    for name, kind in KINDS.items():
        if name == "one strip":
            continue  # GDAL cuts it into blocks of its own
        path = write(tmp_path / "a.tif", **kind)
        table = table_of(path)
        with rasterio.open(path) as file:
            for row, column in np.ndindex(table.starts.shape):
                at = f"{column}_{row}"
                told = [int(file.get_tag_item(f"BLOCK_{w}_{at}", "TIFF", bidx=1)) for w in ("OFFSET", "SIZE")]
                assert told == [table.starts[row, column], table.sizes[row, column]], name


def test_a_damaged_block_is_an_error_where_it_has_a_checksum(tmp_path: Path) -> None:
    """GDAL reads each of them without a word, or nearly all."""
    path = write(tmp_path / "a.tif", **KINDS["deflate tiles"])
    table, content = table_of(path), path.read_bytes()
    start, size = int(table.starts[0, 0]), int(table.sizes[0, 0])
    block = geotiff.Copied(start, size, 0, 64)
    np.testing.assert_array_equal(
        geotiff.unpacked(table, content[start : start + size], block), numbers()[:64, :64]
    )
    for at in range(start, start + size, 97):
        broken = bytearray(content[start : start + size])
        broken[at - start] ^= 0x55
        with pytest.raises(ValueError):
            geotiff.unpacked(table, bytes(broken), block)
    for length in (0, 1, size // 2, size - 1):
        with pytest.raises(ValueError):
            geotiff.unpacked(table, content[start : start + length], block)
    bomb = zlib.compress(bytes(50_000_000))
    with pytest.raises(ValueError):
        geotiff.unpacked(table, bomb, block)


def test_only_the_directory_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", **KINDS["no compression"])
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    read = Counting(path)
    geotiff.read_block_table(read, len(read.content))
    assert read.asked.sum() < 0.05 * len(read.content)


def test_blocks_that_the_file_does_not_have_stay_without_data(tmp_path: Path) -> None:
    values = numbers()
    values[:128] = 0
    path = write(tmp_path / "a.tif", values, **KINDS["no compression"], SPARSE_OK="TRUE")
    assert (table_of(path).sizes[:2] == 0).all() and (table_of(path).sizes[2:] > 0).all()
    out, _, _ = cropped(path, tmp_path / "b.tif", slice(0, SIDE), slice(0, SIDE))
    with rasterio.open(out) as file:
        np.testing.assert_array_equal(file.read(1), values)


@pytest.mark.parametrize(
    "kind", ["no compression", "BigTIFF", "big endian", "strips", "directory at the end"]
)
def test_a_table_of_zeros_or_half_of_one_is_an_error(tmp_path: Path, kind: str) -> None:
    """As a file looks whose directory was not copied: zeros in its place, or nothing."""
    path = write(tmp_path / "a.tif", **KINDS[kind])
    table, content = table_of(path), bytearray(path.read_bytes())
    stored = b"".join(struct.pack(f"{table.order}I", v) for v in table.sizes.flat)
    at = bytes(content).find(stored) if kind != "BigTIFF" else -1
    if at >= 0:
        # The sizes alone are gone: offsets without sizes are no sparse file.
        lost = bytearray(content)
        lost[at : at + len(stored) // 2] = bytes(len(stored) // 2)
        with pytest.raises(ValueError):
            geotiff.read_block_table(partial(between, lost), len(lost))
    last = int((table.starts + table.sizes).max())
    for length in (4, 7, 30, len(content) // 2, last - 1):
        with pytest.raises(ValueError):
            geotiff.read_block_table(partial(between, content[:length]), length)


def test_every_single_damaged_byte_of_a_directory_is_survived(tmp_path: Path) -> None:
    """It is an error, is to be read whole, or does not touch pixels: nothing else comes out of the parser."""
    path = write(tmp_path / "a.tif", **KINDS["deflate tiles"])
    content, clean = path.read_bytes(), table_of(path)
    for at, value in product(range(600), (0, 255)):
        broken = content[:at] + bytes([value]) + content[at + 1 :]
        with suppress(ValueError, geotiff.Unusual):
            table = geotiff.read_block_table(partial(between, broken), len(broken))
            assert (table.starts + table.sizes <= len(content)).all()
            assert ((table.starts == 0) == (table.sizes == 0)).all()
            assert table.starts.shape == clean.starts.shape or table.shape != clean.shape


def test_files_that_must_be_read_whole_say_so(tmp_path: Path) -> None:
    path = tmp_path / "bands.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint16", count=2, height=64, width=64, transform=PLACE
    ) as file:
        file.write(np.ones((2, 64, 64), np.uint16))
    with pytest.raises(geotiff.Unusual, match="several bands"):
        table_of(path)
    path = write(tmp_path / "masked.tif", **KINDS["no compression"])
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"), rasterio.open(path, "r+") as file:
        file.write_mask(numbers() > 100)
    with pytest.raises(geotiff.Unusual, match="mask"):
        table_of(path)


def test_directories_in_a_circle_are_an_error(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.tif", **KINDS["no compression"]).read_bytes())
    (first,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[first : first + 2])
    content[first + 2 + 12 * count : first + 6 + 12 * count] = struct.pack("<I", first)
    with pytest.raises(ValueError, match="circle"):
        geotiff.read_block_table(partial(between, content), len(content))


def test_neighbours_are_asked_for_together_and_not_too_much_at_once() -> None:
    blocks = [geotiff.Copied(start, 10, 0, 1) for start in (0, 10, 25, 100, 110, 120, 130)]
    asked = [[b.start for b in group] for group in geotiff.requests(blocks, 5, 30)]
    assert asked == [[0, 10], [25], [100, 110, 120], [130]]
    assert [[b.start for b in g] for g in geotiff.requests(blocks[:3], 5, 100)] == [[0, 10, 25]]
    assert list(geotiff.requests([], 5, 30)) == []
