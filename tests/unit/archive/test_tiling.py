"""Tiles and acquisitions by geometry, against what real archives hold."""

from datetime import date

import pytest
from shapely.geometry import box

from canopyflow.archive.footprint import around
from canopyflow.archive.mgrs import bounds_of, epsg_of
from canopyflow.archive.tiling import acquisitions, tiles_of


@pytest.mark.parametrize(
    ("area", "tiles"),
    [
        ((1.38, 43.55, 1.504, 43.64), {"31TCJ"}),  # Toulouse
        ((8.678, 47.439, 8.692, 47.455), {"32TMT"}),  # Strickhof
        ((6.478, 46.711, 6.522, 46.7295), {"32TLS"}),
        ((-61.5, -10.6, -61.4, -10.5), {"20LPP", "20LPQ"}),
        ((179.95, -17.0, 180.05, -16.9), {"60KZF", "60KZG", "01KAB"}),
        ((15.6, 78.2, 15.7, 78.25), {"33XWG"}),  # Longyearbyen
        ((20.0, 78.2, 20.1, 78.25), {"33XXG", "33XYG"}),
        ((5.3, 60.35, 5.35, 60.4), {"32VKM", "32VKN", "32VLM", "32VLN"}),  # Bergen
    ],
)
def test_an_area_touches_the_tiles_that_are_there(area, tiles):
    found = tiles_of(box(*area), 20)
    assert tiles & found.keys()
    for tile, grid in found.items():
        assert grid.epsg == epsg_of(tile)
        west, south, east, north = bounds_of(tile)
        assert grid.bounds[0] >= west - 20 and grid.bounds[3] <= north + 20
        assert grid.bounds[2] <= east + 20 and grid.bounds[1] >= south - 20
        assert all(0 < side < 6000 for side in grid.shape)


def test_the_grid_covers_the_area_and_no_more():
    (grid,) = tiles_of(box(1.38, 43.55, 1.504, 43.64), 20).values()
    assert 490 < grid.shape[0] < 560 and 490 < grid.shape[1] < 560


def test_a_whole_tile_touches_itself_and_its_neighbours():
    inner = around(bounds_of("32TMT"), 32632).buffer(-0.2)
    assert "32TMT" in tiles_of(inner, 60)
    assert len(tiles_of(around(bounds_of("32TMT"), 32632), 60)) == 9


def test_acquisitions_follow_days_satellites_and_latitude():
    assert acquisitions(0.0, date(2021, 3, 1), date(2021, 3, 31)) == {"2021-03": 6}
    toulouse = acquisitions(43.6, date(2021, 3, 1), date(2021, 7, 31))
    assert list(toulouse) == [f"2021-0{month}" for month in range(3, 8)]
    assert sum(toulouse.values()) == 45
    assert acquisitions(0.0, date(2016, 12, 30), date(2017, 1, 31)) == {"2016-12": 1, "2017-01": 3}
    assert sum(acquisitions(65.0, date(2021, 6, 1), date(2021, 6, 30)).values()) > 12
