"""Polygons across the 180th meridian and around the poles."""

import pytest
from shapely.geometry import box

from canopyflow.archive.footprint import (
    around,
    bbox_of,
    box_of,
    boxes_around,
    common,
    geojson_of_ring,
    joined,
    polygon_of_ring,
    polygons_of,
    touch,
)

UNCUT = [(179.0, -18.0), (-179.0, -18.0), (-179.0, -17.0), (179.0, -17.0), (179.0, -18.0)]
CUT = {
    "type": "MultiPolygon",
    "coordinates": [
        [[[179, -18], [180, -18], [180, -17], [179, -17], [179, -18]]],
        [[[-180, -18], [-179, -18], [-179, -17], [-180, -17], [-180, -18]]],
    ],
}


@pytest.mark.parametrize(
    "outline",
    [
        polygon_of_ring(UNCUT),
        joined(polygons_of(CUT)),
        box_of([179, -18, -179, -17]),
        box_of([179, -18, 0, -179, -17, 9]),
    ],
    ids=["not cut", "cut", "bbox", "bbox of six"],
)
def test_every_way_to_write_a_polygon_across_the_meridian_is_the_same_polygon(outline):
    assert outline.area == pytest.approx(2.0)
    assert touch(outline, box(179.5, -17.6, 179.6, -17.5)) and touch(
        outline, box(-179.6, -17.6, -179.5, -17.5)
    )
    assert not touch(outline, box(-1, -18, 1, -17)) and not touch(outline, box(178, -18, 178.9, -17))
    assert bbox_of(outline) == [179, -18, -179, -17]
    assert boxes_around(outline) == [(-180, -18, -179, -17), (179, -18, 180, -17)]
    assert common(box(-181, -18, -179, -17.5), outline).area == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ring", "bounds"),
    [
        # A box around the world is not the short way across the meridian.
        ([(-180, -90), (180, -90), (180, 90), (-180, 90), (-180, -90)], (-180, -90, 180, 90)),
        ([(-180, 80), (180, 80), (180, 90), (-180, 90), (-180, 80)], (-180, 80, 180, 90)),
        # Around a pole that the ring names, and around one that it does not.
        (
            [(-180, 85), (-60, 84), (60, 85), (180, 85), (180, 90), (-180, 90), (-180, 85)],
            (-180, 84, 180, 90),
        ),
        ([(-135, -85), (135, -85), (45, -85), (-45, -85), (-135, -85)], (-495, -90, -135, -85)),
    ],
)
def test_rings_around_the_world_and_the_poles(ring, bounds):
    outline = polygon_of_ring(ring)
    assert outline.bounds == bounds
    low, high = (88.0, 89.0) if bounds[3] == 90 else (-89.0, -88.0)
    assert all(touch(outline, box(lon, low, lon + 1, high)) for lon in (-179, -60, 10, 170))
    assert bbox_of(outline)[::2] == [-180, 180]


def test_a_ring_that_is_none_is_refused():
    with pytest.raises(ValueError, match="3 points"):
        polygon_of_ring([(0, 0), (1, 1), (0, 0)])
    with pytest.raises(ValueError, match="a LineString is no polygon"):
        list(polygons_of({"type": "LineString", "coordinates": []}))
    with pytest.raises(ValueError, match="bbox of 5"):
        box_of([0, 0, 1, 1, 1])


def test_holes_and_collections_count():
    ring = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
    hole = [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]
    (polygon,) = polygons_of(
        {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": [ring, hole]}]}
    )
    assert polygon.area == pytest.approx(15.0)
    assert not touch(polygon, box(1.2, 1.2, 1.8, 1.8))


def test_geojson_of_an_ordinary_ring_is_the_ring():
    ring = [(8.0, 47.0), (9.0, 47.1), (9.0, 48.0), (8.0, 48.0), (8.0, 47.0)]
    geometry, bbox = geojson_of_ring(ring, 7)
    assert geometry == {"type": "Polygon", "coordinates": [[list(point) for point in ring]]}
    assert bbox == [8.0, 47.0, 9.0, 48.0]


def test_an_edge_on_the_meridian_is_not_across_it():
    geometry, bbox = geojson_of_ring([(179, 0), (-180, 0), (-180, 1), (179, 1), (179, 0)], 7)
    assert geometry["type"] == "Polygon" and bbox == [179, 0, 180, 1]


def test_islands_far_apart_do_not_ask_for_the_ocean_between():
    islands = joined([box(-28, 38, -27, 39), box(-27.2, 38.5, -25, 39), box(-9, 37, -8, 40)])
    assert boxes_around(islands) == [(-28, 38, -25, 39), (-9, 37, -8, 40)]


def test_bounds_in_a_projection_across_the_meridian():
    west, south, east, north = around((300_000, 7_390_200, 409_800, 7_500_000), 32601).bounds
    assert 178 < west < 179 and 180.9 < east < 181 and 66 < south < north < 68
