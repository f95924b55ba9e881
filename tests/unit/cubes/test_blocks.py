"""Blocks: every place belongs to one split, in whatever projection it is seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from scipy.spatial import KDTree

from canopyflow.archive.grid import Grid
from canopyflow.cubes import blocks
from canopyflow.cubes.blocks import (
    EQUAL_AREA,
    SPLITS,
    allowed_pixels,
    block_draw,
    block_indices,
    split_of_blocks,
)
from canopyflow.errors import DataError

FRACTIONS = (0.6, 0.2, 0.2)


def centres(grid: Grid, allowed: np.ndarray, epsg: int) -> np.ndarray:
    y, x = np.nonzero(allowed)
    transform = Transformer.from_crs(grid.epsg, epsg, always_xy=True)
    return np.stack(transform.transform(grid.x[x], grid.y[y]), axis=1)


@settings(max_examples=15, deadline=None)
@given(st.floats(-60, 72), st.integers(0, 2**31), st.sampled_from([200.0, 450.0]), st.floats(0, 9.99))
def test_splits_of_overlapping_zones_stay_more_than_a_pixel_apart(
    latitude: float, seed: int, block: float, shift: float
) -> None:
    """Two lattices at 12 degrees east, turned against each other; a training and a test pixel never overlap.

    Half a diagonal is 7.1 m, so centres 14.2 m apart cannot share ground.
    """
    grids = []
    for zone in (32, 33):
        epsg = (32600 if latitude >= 0 else 32700) + zone
        x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(12.0, latitude)
        west, north = 10 * (x // 10) + (shift if zone == 33 else 0), 10 * (y // 10)
        grids.append(Grid(epsg, (west - 600, north - 600, west + 600, north + 600), 10.0))
    options = {"block_metres": block, "fractions": (0.5, 0.0, 0.5), "seed": seed}
    train = np.concatenate([centres(g, allowed_pixels(g, "train", **options), grids[0].epsg) for g in grids])
    test = np.concatenate([centres(g, allowed_pixels(g, "test", **options), grids[0].epsg) for g in grids])
    if len(train) and len(test):
        assert KDTree(train).query(test)[0].min() > 14.2


def test_interpolated_projection_is_exact_where_it_matters() -> None:
    grid = Grid(32632, (600000.0, 5200000.0, 605120.0, 5205120.0), 10.0)
    column, row = block_indices(grid, 1000.0)
    x, y = np.meshgrid(grid.x, grid.y)
    easting, northing = Transformer.from_crs(32632, EQUAL_AREA, always_xy=True).transform(x, y)
    wrong = (column[1:-1, 1:-1] != np.floor(easting / 1000)) | (row[1:-1, 1:-1] != np.floor(northing / 1000))
    assert wrong.mean() < 1e-4


def test_splits_share_nothing_and_keep_their_fractions() -> None:
    grid = Grid(32632, (600000.0, 5200000.0, 604000.0, 5204000.0), 10.0)
    parts = [allowed_pixels(grid, split, block_metres=200.0, fractions=FRACTIONS, seed=1) for split in SPLITS]
    assert np.sum(parts, axis=0).max() == 1
    assert np.mean(np.sum(parts, axis=0)) > 0.7
    columns, rows = np.meshgrid(np.arange(-200, 200), np.arange(-200, 200))
    shares = np.bincount(split_of_blocks(7, columns, rows, FRACTIONS).ravel()) / columns.size
    np.testing.assert_allclose(shares, FRACTIONS, atol=0.01)


def test_draws_are_uniform_uncorrelated_and_fixed_for_ever() -> None:
    columns, rows = np.meshgrid(np.arange(300), np.arange(-150, 150))
    draws = block_draw(0, columns, rows)
    assert draws.mean() == pytest.approx(0.5, abs=0.01)
    assert abs(np.corrcoef(draws[:, 1:].ravel(), draws[:, :-1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(draws.ravel(), block_draw(1, columns, rows).ravel())[0, 1]) < 0.02
    # A campaign cut last year must be split the same way today.
    places = [(0, 0, 0), (0, -1, 5), (9, 1234, -77)]
    assert [round(float(block_draw(s, c, r)), 6) for s, c, r in places] == [0.138709, 0.935789, 0.555925]


def test_one_split_may_have_everything() -> None:
    assert (split_of_blocks(0, np.arange(100), 3, (1.0, 0.0, 0.0)) == 0).all()
    assert (split_of_blocks(0, np.arange(100), 3, (0.0, 0.0, 1.0)) == 2).all()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.floats(0, 9.99), st.sampled_from(SPLITS)
)
def test_strips_do_not_change_what_is_allowed(
    rows: int, columns: int, strip: int, shift: float, split: str
) -> None:
    west, north = 600_000 + shift, 5_200_000.0
    grid = Grid(32632, (west, north - 10 * rows, west + 10 * columns, north), 10.0)
    options = {"block_metres": 110.0, "fractions": (0.5, 0.2, 0.3), "seed": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "STRIP", 1000)
        whole = allowed_pixels(grid, split, **options)
        patch.setattr(blocks, "STRIP", strip)
        np.testing.assert_array_equal(allowed_pixels(grid, split, **options), whole)


def test_unusable_choices_are_refused() -> None:
    grid = Grid(32632, (0.0, 0.0, 100.0, 100.0), 10.0)
    with pytest.raises(DataError, match="all border"):
        allowed_pixels(grid, "train", block_metres=20.0, fractions=FRACTIONS, seed=0)
    with pytest.raises(DataError, match="not three shares"):
        allowed_pixels(grid, "train", block_metres=200.0, fractions=(0.0, 0.0, 0.0), seed=0)
