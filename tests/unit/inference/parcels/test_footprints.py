"""Shares of pixels are exact."""

import numpy as np
import pytest
import shapely
from pyproj import Transformer
from shapely.geometry import MultiPolygon, Polygon, box

from canopyflow.archive.grid import Grid
from canopyflow.inference.parcels import footprints
from canopyflow.inference.parcels.footprints import circle, footprint_of, near_grid, projected

GRID = Grid(32632, (500_000.0, 5_199_900.0, 500_120.0, 5_200_000.0), 20.0)


def at(x, y):
    """Metres from the corner of the grid in the north-west, y downwards."""
    return 500_000.0 + x, 5_200_000.0 - y


def square(x0, y0, x1, y1):
    return box(*at(x0, y1), *at(x1, y0))


def image(shape):
    out = np.zeros(GRID.shape)
    out[shape.rows, shape.columns] = shape.weights
    return out


def test_shares_of_a_box_that_cuts_pixels():
    found = image(footprint_of(square(10, 5, 50, 40), GRID))
    expected = np.zeros(GRID.shape)
    expected[0, :3] = np.array([0.5, 1.0, 0.5]) * 0.75
    expected[1, :3] = [0.5, 1.0, 0.5]
    np.testing.assert_allclose(found, expected)


def test_shares_of_a_triangle_sum_to_its_area():
    shape = footprint_of(Polygon([at(0, 0), at(37, 0), at(0, 51)]), GRID)
    assert shape.weights.sum() == pytest.approx(0.5 * 37 * 51 / 400) == pytest.approx(shape.area)


def test_a_hole_and_parts_that_lie_apart():
    ring = square(0, 0, 60, 60).difference(square(20, 20, 40, 40))
    found = image(footprint_of(MultiPolygon([*shapely.get_parts(ring), square(100, 80, 120, 100)]), GRID))
    assert found[1, 1] == 0 and found[:3, :3].sum() == 8 and found[4, 5] == 1


def test_what_lies_outside_of_the_grid_counts_for_the_area_alone():
    shape = footprint_of(square(-100, 0, 20, 20), GRID)
    assert (len(shape), shape.weights.sum(), shape.area) == (1, 1.0, 6.0)
    assert len(footprint_of(square(-100, -100, -50, -50), GRID)) == 0


def test_a_large_area_is_looked_at_few_rows_at_a_time(monkeypatch):
    polygon = Polygon([at(3, 2), at(117, 11), at(60, 97)])
    whole = footprint_of(polygon, GRID)
    monkeypatch.setattr(footprints, "_AT_ONCE", 7)
    parts = footprint_of(polygon, GRID)
    for name in ("rows", "columns", "weights"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_degrees_are_projected_and_those_far_away_left_out():
    to_degrees = Transformer.from_crs(32632, 4326, always_xy=True)
    here = shapely.transform(square(10, 5, 50, 40), lambda p: np.stack(to_degrees.transform(*p.T), axis=1))
    away = shapely.affinity.translate(here, 5.0)
    turned = shapely.affinity.translate(here, 360.0)
    shapes = np.array([away, here, turned], dtype=object)
    assert near_grid(shapes, GRID).tolist() == [1, 2]
    assert footprint_of(projected(here, GRID), GRID).weights.sum() == pytest.approx(35 * 40 / 400, rel=1e-5)


def test_a_circle_has_its_area():
    lon, lat = Transformer.from_crs(32632, 4326, always_xy=True).transform(*at(60, 50))
    assert footprint_of(circle(lon, lat, 30.0, GRID), GRID).weights.sum() == pytest.approx(
        np.pi * 900 / 400, rel=1e-3
    )
