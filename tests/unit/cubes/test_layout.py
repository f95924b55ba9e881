"""How stores are cut: any size can be laid out, and each strip of rows is one shard."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from canopyflow.cubes.layout import CHUNK, STRIP, array_of, empty, in_strips, strips, write_template

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
