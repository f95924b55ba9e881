"""Where a campaign lies, in each of the ways it can say so."""

import json
from pathlib import Path

import pytest

from canopyflow.archive.areas import areas_of, around_plots
from canopyflow.errors import ArchiveError

SQUARE = [[8.0, 47.0], [9.0, 47.0], [9.0, 48.0], [8.0, 48.0], [8.0, 47.0]]
POLYGON = {"type": "Polygon", "coordinates": [SQUARE]}


def written(path: Path, content: object) -> dict[str, str]:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return {"geojson": str(path)}


@pytest.mark.parametrize(
    "content",
    [
        POLYGON,
        {"type": "Feature", "properties": {}, "geometry": POLYGON},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": POLYGON}]},
        {"type": "MultiPolygon", "coordinates": [[SQUARE]], "crs": {"properties": {"name": "EPSG:4326"}}},
    ],
)
def test_polygons_of_a_file(tmp_path: Path, content: object) -> None:
    areas = areas_of(written(tmp_path / "a.geojson", content))
    assert areas.tiles == ()
    assert areas.polygons[""].bounds == (8.0, 47.0, 9.0, 48.0)


METRES = [[2.6e6, 1.2e6], [2.7e6, 1.2e6], [2.7e6, 1.3e6], [2.6e6, 1.2e6]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no json", "is no GeoJSON"),
        ("[" * 100_000, "is no GeoJSON"),
        ([], "is no GeoJSON"),
        ({"type": "FeatureCollection"}, "is no GeoJSON"),
        ({"type": "FeatureCollection", "features": []}, "it has no polygon"),
        ({"type": "Point", "coordinates": [8, 47]}, "a Point is no polygon"),
        ({**POLYGON, "crs": {"properties": {"name": "urn:ogc:def:crs:EPSG::2056"}}}, "EPSG::2056; Geo"),
        ({"type": "Polygon", "coordinates": [METRES]}, "no degrees"),
    ],
)  # fmt: skip
def test_a_file_without_polygons_is_named(tmp_path: Path, content: object, words: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        areas_of(written(tmp_path / "a.geojson", content))
    assert str(caught.value).startswith(f"area.geojson: {tmp_path}/a.geojson: ")
    assert words in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for area in ({"geojson": "gone.geojson"}, {"plots": {"table": "gone.csv", "buffer_metres": 10}}):
        with pytest.raises(ArchiveError, match=r"area\.\w+: .*gone\.\w+.*(No such file|does not exist)"):
            areas_of(area)


def test_boxes_around_plots_join_where_they_overlap(tmp_path: Path) -> None:
    (tmp_path / "plots.csv").write_text(
        "plot_id,lon,lat,value\nb 2,8.001,47,1\na,8.0,47.0,1\na,8.0,47.0,2\nfar,9.0,47.0,1\n"
    )
    areas = areas_of({"plots": {"table": str(tmp_path / "plots.csv"), "buffer_metres": 100}})
    assert sorted(areas.polygons) == ["a", "far"]
    west, south, east, north = areas.polygons["far"].bounds
    assert (east - west) * 76_000 == pytest.approx(200, rel=0.01)
    assert (north - south) * 111_200 == pytest.approx(200, rel=0.01)
    assert areas.polygons["a"].bounds[2] - areas.polygons["a"].bounds[0] == pytest.approx(east - west + 0.001)


def test_a_chain_of_plots_becomes_one_box_in_whatever_order() -> None:
    east = {name: 8.0 + 0.002 * k for name, k in (("a", 0), ("b", 2), ("c", 1), ("d", 9))}
    places = {name: (lon, 47.0, lon, 47.0) for name, lon in east.items()}
    boxes = around_plots(places, 100.0)
    assert list(boxes) == ["a", "d"]
    assert boxes["a"].bounds[2] - boxes["a"].bounds[0] > 0.004


def test_a_box_reaches_around_all_of_a_plot(tmp_path: Path) -> None:
    square = "POLYGON ((8 47, 8.01 47, 8.01 47.01, 8 47.01, 8 47))"
    (tmp_path / "plots.csv").write_text(f"plot_id;footprint\na;{square}\n")
    (box,) = areas_of(
        {"plots": {"table": str(tmp_path / "plots.csv"), "buffer_metres": 111}}
    ).polygons.values()
    assert box.bounds == pytest.approx((7.99854, 46.999, 8.01146, 47.011), abs=2e-5)


def test_plots_as_points_of_a_geojson_and_what_is_no_plot(tmp_path: Path) -> None:
    point = {"properties": {"plot_id": 1}, "geometry": {"type": "Point", "coordinates": [8.0, 47.0]}}
    written(tmp_path / "plots.geojson", {"type": "FeatureCollection", "features": [point]})
    assert list(
        areas_of({"plots": {"table": str(tmp_path / "plots.geojson"), "buffer_metres": 9}}).polygons
    ) == ["1"]
    for text, said in (
        ("plot_id,lon\na,8\n", "no column 'lat'"),
        ("plot_id,lon,lat\na,2600000,47\n", r"row 2 \(plot a\): lon 2.6e\+06 is outside"),
        ("plot_id,lon,lat\n", "has no row"),
    ):
        (tmp_path / "plots.csv").write_text(text)
        with pytest.raises(ArchiveError, match=f"area.plots: plot table .*{said}"):
            areas_of({"plots": {"table": str(tmp_path / "plots.csv"), "buffer_metres": 9}})


def test_tiles_across_the_meridian_and_boxes() -> None:
    areas = areas_of({"mgrs_tiles": ["T32TMT", "MGRS-1WCQ"]})
    assert areas.tiles == ("01WCQ", "32TMT")
    with pytest.raises(ArchiveError, match=r"area.mgrs_tiles: .*no MGRS tile"):
        areas_of({"mgrs_tiles": ["32TIT"]})
    assert areas_of({"bbox": (179.0, -18.0, -179.0, -17.0)}).polygons[""].bounds == (
        179.0,
        -18.0,
        181.0,
        -17.0,
    )
    with pytest.raises(ArchiveError, match="is no box"):
        areas_of({"bbox": (9.0, 47.0, 8.0, 48.0)})
