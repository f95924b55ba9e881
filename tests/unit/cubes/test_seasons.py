"""Season cubes: which pixels, which dates, what of them; in pieces of a tile."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_months import month_stores, numbers_of

from canopyflow.cubes import passes as of_passes
from canopyflow.cubes import seasons
from canopyflow.cubes.blocks import allowed_pixels
from canopyflow.cubes.layout import grid_of_store
from canopyflow.cubes.passes import TilePasses
from canopyflow.cubes.seasons import SeasonRule, cut_seasons, open_seasons
from canopyflow.cubes.stores import open_scenes
from canopyflow.errors import DataError
from canopyflow.vocabulary import BANDS

ROWS, COLUMNS = 24, 30
RULE: dict[str, Any] = {
    "block_metres": 50.0,
    "fractions": (0.6, 0.2, 0.2),
    "months": (1, 12),
    "min_dates": 2,
    "max_seasons": 10_000,
    "seed": 3,
}


def clear(seed: int, share: float = 0.6) -> np.ndarray:
    return np.random.default_rng(100 + seed).random((ROWS, COLUMNS)) < share


@pytest.fixture
def months(tmp_path: Path) -> list[tuple[Path, Path]]:
    """March with two passes, May with one, of 2022; and May of 2021."""
    made = []
    for month, days in (("2022-03", (4, 9)), ("2022-05", (18,)), ("2021-05", (1, 11))):
        series = [
            (f"{month}-{day:02}T10:30", ("S2A", "S2B")[day % 2], numbers_of(day, ROWS, COLUMNS), clear(day))
            for day in days
        ]
        made.append(month_stores(tmp_path, month, series))
    return made


def cut(stores: list[tuple[Path, Path]], out: Path, split: str = "train", **changes: Any) -> Any:
    scenes, masks = zip(*stores, strict=True)
    cut_seasons(scenes, masks, out, SeasonRule(split, **(RULE | changes)))
    return open_seasons(out)


def test_a_season_holds_every_pass_of_its_year_and_what_was_clear_of_it(
    months: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    found = cut(months, tmp_path / "train.zarr", min_dates=1)
    assert found["reflectance"].dims == ("season", "date", "band")
    assert found["reflectance"].shape[1:] == (3, 10) and found["band"].values.tolist() == list(BANDS)
    of_2022 = found["year"].values == 2022
    assert 0 < of_2022.sum() < len(of_2022)
    assert (found["day"].values[of_2022] == [62, 67, 137]).all()
    # The other year has a pass less: it is padded.
    assert (found["day"].values[~of_2022, :2] == [120, 130]).all()
    assert not found["valid"].values[~of_2022, 2].any()
    assert (found["platform"].values[of_2022] == [0, 1, 0]).all()
    for season in np.flatnonzero(of_2022):
        y, x = int(found["row"][season]), int(found["column"][season])
        for date, day in enumerate((4, 9, 18)):
            assert bool(found["valid"][season, date]) == clear(day)[y, x]
            if clear(day)[y, x]:
                expected = numbers_of(day, ROWS, COLUMNS)[:, y, x] * np.float32(1e-4)
                np.testing.assert_allclose(found["reflectance"][season, date], expected, rtol=1e-6)
                np.testing.assert_allclose(found["angles"][season, date], [40, 5, 100], atol=1e-3)


def test_what_is_not_clear_leaves_no_trace(months: list[tuple[Path, Path]], tmp_path: Path) -> None:
    found = cut(months, tmp_path / "train.zarr")
    hidden = ~found["valid"].values
    assert hidden.any()
    assert np.isnan(found["reflectance"].values[hidden]).all() and (found["angles"].values[hidden] == 0).all()


def test_splits_share_no_ground_and_seasons_have_enough_dates(
    months: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    with open_scenes(months[0][0]) as store:
        grid = grid_of_store(store)
    for split in ("train", "validation", "test"):
        found = cut(months, tmp_path / f"{split}.zarr", split)
        allowed = allowed_pixels(grid, split, block_metres=50.0, fractions=(0.6, 0.2, 0.2), seed=3)
        assert allowed[found["row"].values, found["column"].values].all()
        assert (found["valid"].values.sum(1) >= 2).all()
        assert set(found["split"].values.tolist()) <= {split}
        expected = sum(
            int((allowed & (sum(clear(d).astype(int) for d in days) >= 2)).sum())
            for days in ((4, 9, 18), (1, 11))
        )
        assert found.sizes["season"] == expected > 0


def test_some_are_chosen_at_random_whatever_the_order_and_the_blocks(
    months: list[tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cut(months, tmp_path / "all.zarr")
    few = cut(months, tmp_path / "few.zarr", max_seasons=40)
    assert few.sizes["season"] == 40
    # All over the tile, and of both years.
    assert set(few["year"].values.tolist()) == {2021, 2022}
    assert np.ptp(few["row"].values) > ROWS / 2 and np.ptp(few["column"].values) > COLUMNS / 2
    np.testing.assert_array_equal(few["row"], whole["row"][:40])
    monkeypatch.setattr(seasons, "CHUNK", 7)
    other = cut(months[::-1], tmp_path / "other.zarr", max_seasons=40)
    assert (tmp_path / "few.zarr/zarr.json").read_bytes() == (tmp_path / "other.zarr/zarr.json").read_bytes()
    assert other.identical(few)


def test_blocks_are_read_one_pass_at_a_time(
    months: list[tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a tile of any size and a year of any number of passes need the memory of one block."""
    asked: list[tuple[int, int]] = []
    read = of_passes.SceneBlocks.numbers

    def counted(self: Any, time: int, rows: slice, columns: slice) -> Any:
        found = read(self, time, rows, columns)
        asked.append(found.shape[1:])
        return found

    monkeypatch.setattr(of_passes.SceneBlocks, "numbers", counted)
    monkeypatch.setattr(seasons, "CHUNK", 8)
    cut(months, tmp_path / "train.zarr")
    assert asked and max(height * width for height, width in asked) <= 64


def test_months_out_of_the_window_are_not_looked_at(months: list[tuple[Path, Path]], tmp_path: Path) -> None:
    found = cut(months, tmp_path / "train.zarr", months=(5, 9), min_dates=1)
    assert set(found["day"].values[found["year"].values == 2022].ravel().tolist()) == {137, 0}


def test_a_cube_may_be_empty(months: list[tuple[Path, Path]], tmp_path: Path) -> None:
    found = cut(months, tmp_path / "train.zarr", min_dates=4)
    assert found.sizes["season"] == 0 and found["reflectance"].dtype == np.float32


def test_a_datatake_that_is_there_twice_is_one_pass(tmp_path: Path) -> None:
    """Two observations of one datatake would make a posterior too sure."""
    left = np.zeros((4, 4), bool)
    left[:, :3] = True
    numbers = [numbers_of(k, 4, 4) for k in range(3)]
    series = [
        ("2022-05-01T10:30", "S2A", numbers[0], left),
        ("2022-05-01T10:31", "S2A", numbers[1], np.ones((4, 4), bool)),
        ("2022-05-01T10:50", "S2B", numbers[2], np.zeros((4, 4), bool)),
    ]
    tile = TilePasses([month_stores(tmp_path, "2022-05", series)], BANDS, 2022)
    assert [(each.day, each.platform) for each in tile.passes] == [(120, "S2A"), (120, "S2B")]
    assert [len(items) for items in tile.items] == [2, 1]
    whole = slice(0, 4)
    seen = tile.seen(0, whole, whole)
    assert seen is not None and seen.known.all()
    np.testing.assert_array_equal(seen.numbers, np.where(left, numbers[0], numbers[1]))
    assert tile.seen(1, whole, whole) is None


def test_stores_that_do_not_belong_together_are_refused(
    months: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    everywhere = np.ones((5, 5), bool)
    other = month_stores(
        tmp_path / "b", "2022-04", [("2022-04-01T10:30", "S2A", numbers_of(0, 5, 5), everywhere)]
    )
    with pytest.raises(DataError, match="do not lie on the grid"):
        cut([*months, other], tmp_path / "out.zarr")
    with pytest.raises(DataError, match="give one mask per scene store"):
        cut_seasons([months[0][0]], [], tmp_path / "out.zarr", SeasonRule("train", **RULE))
    with pytest.raises(DataError, match="no scene store"):
        TilePasses([], BANDS, 2022)
    with pytest.raises(DataError, match="lack band B01"):
        TilePasses(months[:1], ("B01",), 2022)
