"""Files of one layer, written together from strips."""

import hashlib

import numpy as np
import pytest
import rasterio

from canopyflow.archive.grid import Grid
from canopyflow.products.cog import Numbers, Sheet, Tally, multihash, write_cogs

GRID = Grid(32632, (500_000.0, 5_199_000.0, 501_000.0, 5_200_000.0), 20.0)


def sheets(folder, *names):
    return [Sheet(folder / f"{name}.tif", name, f"title of {name}", "m2 m-2") for name in names]


def test_planes_go_into_files_of_their_own_and_each_strip_is_asked_for_once(tmp_path):
    values = np.arange(2 * 50 * 50, dtype=np.int16).reshape(2, 50, 50)
    asked = []

    def strips():
        for first in (0, 20, 40):
            asked.append(first)
            yield values[:, first : first + 20]

    tallies = write_cogs(
        sheets(tmp_path, "a", "b"), strips(), GRID, numbers=Numbers(np.int16, -1, 0.5, 2.0), tags={"x": "y"}
    )
    assert asked == [0, 20, 40]
    for i, name in enumerate("ab"):
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            assert (file.read(1) == values[i]).all()
            assert (file.scales, file.offsets, file.nodata) == ((0.5,), (2.0,), -1)
            assert file.tags()["x"] == "y" and file.tags(1)["long_name"] == f"title of {name}"
        assert (tallies[i].least, tallies[i].most) == (values[i].min(), values[i].max())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.tif"]


def test_a_plane_without_values_has_no_file(tmp_path):
    values = np.full((2, 50, 50), -1, np.int16)
    values[0, 3, 3] = 7
    tallies = write_cogs(sheets(tmp_path, "a", "b"), [values], GRID, numbers=Numbers(np.int16, -1))
    assert [tally.count for tally in tallies] == [1, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_statistics_are_those_of_all_strips_however_they_are_cut(dtype):
    rng = np.random.default_rng(0)
    values = rng.integers(-32768, 32767, (64, 64)).astype(dtype)
    values[:5] = 32767 if dtype == np.int16 else np.nan
    numbers = Numbers(dtype, 32767 if dtype == np.int16 else np.nan)
    whole, cut = Tally(numbers), Tally(numbers)
    whole.add(values)
    for first in range(0, 64, 7):
        cut.add(values[first : first + 7])
    assert whole.tags() == cut.tags()
    there = values[5:].astype(float)
    assert float(whole.tags()["STATISTICS_MEAN"]) == pytest.approx(there.mean(), rel=1e-6)
    assert float(whole.tags()["STATISTICS_STDDEV"]) == pytest.approx(there.std(), rel=1e-6)
    assert whole.tags()["STATISTICS_VALID_PERCENT"] == f"{100 * 59 / 64:.4g}"


def test_flags_are_counted_by_number_and_have_no_mean():
    tally = Tally(Numbers(np.uint8))
    tally.add(np.array([[0, 1], [1, 130]], np.uint8))
    assert tally.histogram == {0: 1, 1: 2, 130: 1} and tally.tags() == {}


def test_a_multihash_names_its_function_and_length(tmp_path):
    (tmp_path / "x").write_bytes(b"a" * 3_000_000)
    assert multihash(tmp_path / "x") == "1220" + hashlib.sha256(b"a" * 3_000_000).hexdigest()
