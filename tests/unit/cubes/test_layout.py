"""How stores are cut: any size can be laid out, and each strip of rows is one shard."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from canopyflow.cubes.layout import (
    CHUNK,
    STRIP,
    array_of,
    empty,
    in_one_shard,
    in_strips,
    strips,
    write_template,
)
from canopyflow.cubes.shards import ChunkEncoder, ShardWriter

WHOLE_TILE = (12, 10, 10_980, 10_980)
sides = st.one_of(st.integers(0, 3 * STRIP), st.sampled_from([1, CHUNK, STRIP, 5490, 10_980]))


@given(
    sides,
    sides,
    st.lists(st.integers(1, 10), max_size=1),
    st.sampled_from([CHUNK, STRIP]),
    st.sampled_from([64, CHUNK]),
)
def test_shards_hold_whole_chunks_and_a_strip_of_rows_each(
    rows: int, columns: int, between: list[int], height: int, side: int
) -> None:
    tiles = in_strips((3, *between, rows, columns), height, side)
    assert all(shard % chunk == 0 for shard, chunk in zip(tiles["shards"], tiles["chunks"], strict=True))
    assert tiles["chunks"][:-2] == tiles["shards"][:-2] == (1, *between)
    assert tiles["shards"][-1] >= columns and max(tiles["chunks"][-2:]) <= side
    for strip in strips(rows, height):
        assert strip.start % tiles["shards"][-2] == 0
        assert strip.stop == rows or strip.stop - strip.start == tiles["shards"][-2]


@pytest.mark.parametrize("cut", ["in one piece", "by dask"])
def test_a_whole_tile_has_a_template(tmp_path: Path, cut: str) -> None:
    """29 GB of reflectance and 1.4 GB of classes, of which nothing is written; dask's own pieces of 128 MiB
    would be refused."""
    dims, plane = ("time", "band", "y", "x"), (WHOLE_TILE[0], *WHOLE_TILE[2:])
    lazy = {
        "reflectance": (dims, empty(WHOLE_TILE, np.float32)),
        "scl": (("time", "y", "x"), empty(plane, np.uint8)),
    }
    if cut == "by dask":
        lazy = {name: (dims, array.rechunk("auto")) for name, (dims, array) in lazy.items()}
    encoding = {
        "reflectance": {"dtype": "uint16", "_FillValue": 0, **in_strips(WHOLE_TILE)},
        "scl": in_strips(plane),
    }
    store = write_template(tmp_path / "store", xr.Dataset(lazy), encoding)
    reflectance = array_of(store, "reflectance")
    assert reflectance.shape == WHOLE_TILE
    assert (reflectance.chunks, reflectance.shards) == ((1, 10, 512, 512), (1, 10, 1024, 11_264))
    assert array_of(store, "scl").shards == (1, 1024, 11_264)
    assert len(list((tmp_path / "store").rglob("*"))) < 10


def test_a_strip_is_one_file(tmp_path: Path) -> None:
    shape = (2, 11, 10)
    values = np.arange(1, 221, dtype=np.uint8).reshape(shape)
    store = write_template(
        tmp_path / "store",
        xr.Dataset({"a": (("time", "y", "x"), empty(shape, np.uint8))}),
        {"a": in_strips(shape, 8, 4)},
    )
    for time in range(2):
        for rows in strips(11, 8):
            array_of(store, "a")[time, rows] = values[time, rows]
    assert np.array_equal(array_of(store, "a")[:], values)
    files = [path for path in (tmp_path / "store/a/c").rglob("*") if path.is_file()]
    assert len(files) == 4


@pytest.mark.parametrize("fill", [65535, np.nan, 0])
def test_a_shard_appended_chunk_by_chunk_is_what_zarr_writes(tmp_path: Path, fill: float) -> None:
    """Chunk by chunk the same bytes, in another order; chunks of nothing but the fill value are left out."""
    shape = (3, 2, 37, 50)
    kind = {65535: np.uint16, 0: np.uint8}.get(fill, np.float32)
    values = np.random.default_rng(0).integers(0, 200, shape).astype(kind)
    values[1, :, :16, 16:32] = values[2, :, 32:] = fill
    tiles = in_one_shard(shape, 16)
    assert tiles == {"chunks": (1, 2, 16, 16), "shards": (3, 2, 48, 64)}
    ds = xr.Dataset({"a": (("time", "s", "y", "x"), empty(shape, kind))})
    groups = [
        write_template(tmp_path / name, ds, {"a": {**tiles, "fill_value": kind(fill)}}) for name in "pq"
    ]
    array_of(groups[0], "a")[...] = values
    encoder, writer = ChunkEncoder(array_of(groups[1], "a")), ShardWriter(tmp_path / "q", "a")
    absent = 0
    for t, y, x in np.ndindex(3, 3, 4):
        chunk = np.full(encoder.shape, encoder.fill, kind)
        piece = values[t, :, 16 * y : 16 * (y + 1), 16 * x : 16 * (x + 1)]
        chunk[0, :, : piece.shape[1], : piece.shape[2]] = piece
        data = encoder.encode(chunk)
        absent += data is None
        if data is not None:
            writer.append((t, 0, y, x), data)
    writer.close()
    assert absent == 5
    np.testing.assert_array_equal(array_of(groups[1], "a")[...], values)
    theirs, ours = (_chunks(tmp_path / name / "a/c/0/0/0/0", 36) for name in "pq")
    assert theirs == ours and theirs.count(b"") == 5


def _chunks(path: Path, count: int) -> list[bytes]:
    """The encoded chunks of a shard, in order of their places; b"" for one that is left out."""
    data = path.read_bytes()
    index = np.frombuffer(data[-16 * count - 4 : -4], "<u8").reshape(-1, 2).tolist()
    return [b"" if offset == 2**64 - 1 else data[offset : offset + length] for offset, length in index]


def test_an_array_of_nothing_but_fill_values_has_no_file(tmp_path: Path) -> None:
    ds = xr.Dataset({"a": (("time", "y", "x"), empty((0, 5, 6), np.uint16))})
    group = write_template(
        tmp_path / "s", ds, {"a": {**in_one_shard((0, 5, 6), 4), "fill_value": np.uint16(7)}}
    )
    ShardWriter(tmp_path / "s", "a").close()
    assert array_of(group, "a")[...].shape == (0, 5, 6)
    assert not (tmp_path / "s/a/c").exists()
