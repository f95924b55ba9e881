"""Files with places: the same rows in every format, and the right place from every coordinate system."""

import json
import sqlite3

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
from shapely.geometry import LineString, MultiPoint, Point, box

from canopyflow.archive.field_tables import positions, read_table
from canopyflow.archive.positions import ToDegrees, named_system
from canopyflow.archive.vector_tables import read_vectors
from canopyflow.errors import DataError
from canopyflow.evaluation.plot_dates import read_dates

PLACES = [Point(6.5085943, 46.7231904), box(6.5173, 46.7243, 6.5175, 46.7245)]
COLUMNS = {"plot_id": ["p1", "p2"], "date": ["2021-04-13", "2021-04"], "value": [0.331, 2.0], "n": [1, None]}
CH1903 = "urn:ogc:def:crs:EPSG::4149"


def frame(places=PLACES, crs=4326):
    return geopandas.GeoDataFrame(COLUMNS, geometry=places, crs=crs)


def write(table, path):
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_file(path, driver="GPKG" if path.suffix == ".gpkg" else "GeoJSON", engine="pyogrio")
    return path


def geojson(path, geometry, **more):
    feature = {"type": "Feature", "properties": {"plot_id": "p"}, "geometry": geometry}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature], **more}))
    return path


def point(*xy):
    return {"type": "Point", "coordinates": xy}


def named(crs):
    return {"crs": {"type": "name", "properties": {"name": crs}}}


def place(table):
    return float(table["lon"].iloc[0]), float(table["lat"].iloc[0])


@pytest.mark.parametrize(
    ("name", "crs"),
    # geopandas writes GeoJSON in degrees.
    [("a.geojson", 4326), *((name, crs) for name in ("a.gpkg", "a.parquet") for crs in (4326, 2056, 32632))],
)
def test_every_format_and_system_is_the_same_table(tmp_path, name, crs):
    table = read_table(write(frame().to_crs(crs), tmp_path / name), ("plot_id", "lon", "lat"))
    assert table.index.tolist() == [1, 2]
    assert {name: table[name].tolist() for name in COLUMNS} == {
        "plot_id": ["p1", "p2"], "date": ["2021-04-13", "2021-04"], "value": ["0.331", "2"], "n": ["1", ""],
    }  # fmt: skip
    found = positions(table, tmp_path / name, warn=False)
    np.testing.assert_allclose(found["lon"], [6.5085943, 6.5174], atol=2e-7)
    np.testing.assert_allclose(found["lat"], [46.7231904, 46.7244], atol=2e-7)
    assert found["footprint"][1] == ""
    np.testing.assert_allclose(
        geopandas.GeoSeries.from_wkt([found["footprint"][2]]).total_bounds,
        [6.5173, 46.7243, 6.5175, 46.7245], atol=2e-7,
    )  # fmt: skip


def swiss(lon, lat):
    """CH1903 to WGS 84 by hand: to axes of the Earth, three numbers of swisstopo, and back."""
    a, b = 6377397.155, 6356078.963
    lon, lat = np.radians([lon, lat])
    e2 = 1 - b**2 / a**2
    n = a / np.sqrt(1 - e2 * np.sin(lat) ** 2)
    x, y, z = n * np.cos(lat) * np.cos(lon), n * np.cos(lat) * np.sin(lon), n * (1 - e2) * np.sin(lat)
    x, y, z = x + 674.374, y + 15.056, z + 405.346
    a, e2 = 6378137.0, 0.00669437999014
    p, angle = np.hypot(x, y), np.arctan2(z, np.hypot(x, y))
    for _ in range(10):
        n = a / np.sqrt(1 - e2 * np.sin(angle) ** 2)
        angle = np.arctan2(z + e2 * n * np.sin(angle), p)
    return np.degrees(np.arctan2(y, x)), np.degrees(angle)


@pytest.mark.parametrize("crs", [CH1903, "EPSG:4149", "http://www.opengis.net/def/crs/EPSG/0/4149"])
def test_degrees_of_another_datum_are_moved(tmp_path, crs, caplog):
    with caplog.at_level("INFO", logger="canopyflow"):
        found = place(
            read_vectors(geojson(tmp_path / "a.geojson", point(6.5093987, 46.7244931), **named(crs)))
        )
    assert found == pytest.approx(swiss(6.5093987, 46.7244931), abs=1e-7)
    # 157 m beside: ten pixels.
    assert found == pytest.approx((6.508594, 46.723190), abs=2e-6)
    assert "coordinates of EPSG:4149 (CH1903) transformed to WGS 84, to within 1.5 m" in caplog.text


@pytest.mark.parametrize("crs", ["EPSG:4326", "urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:EPSG::4326"])
def test_degrees_of_wgs_84_stay_and_longitude_comes_first(tmp_path, crs):
    table = read_vectors(geojson(tmp_path / "a.geojson", point(6.5093987, 46.7244931), **named(crs)))
    assert place(table) == (6.5093987, 46.7244931)


@pytest.mark.parametrize(
    ("geometry", "more", "message"),
    [
        (point(6.5, 46.7), named("urn:ogc:def:crs:LOCAL::1"), "coordinate system 'urn.*' is unknown"),
        (point(6.5, 46.7), named("+proj=longlat +nadgrids=/etc/passwd"), "is unknown"),
        (point(6.5, 46.7), named("EPSG:4978"), "coordinates of EPSG:4978.* cannot be placed on the globe"),
        (point(6.5, 46.7), {"crs": None}, "does not say of which coordinate system"),
        (
            point(6.5, 46.7),
            {"crs": {"type": "link", "properties": {"href": "http://a"}}},
            "does not say of which",
        ),
        (
            point(46.7, 6.5),
            named(CH1903),
            "row 1: 46.7, 6.5 of EPSG:4149 .*lies outside.* x and y are swapped",
        ),
        (
            point(2.6, 1.2),
            named("EPSG:2056"),
            "row 1: .*coordinates are of another system than the file says",
        ),
        (None, {}, "row 1 has no geometry"),
        (point(), {}, "row 1 has no geometry"),
        ({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, {}, "row 1 is a LineString"),
        ({"type": "Pont", "coordinates": [1, 2]}, {}, "row 1: its geometry is none"),
        (
            {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]},
            {},
            "row 1: its geometry is no valid polygon: Self-intersection",
        ),
    ],
)
def test_what_has_no_place_is_refused(tmp_path, geometry, more, message):
    with pytest.raises(DataError, match=message):
        read_vectors(geojson(tmp_path / "a.geojson", geometry, **more))


def test_what_is_no_geojson(tmp_path):
    for text in ("{", "[]", '{"type": "FeatureCollection"}', '{"type": "Topology", "objects": {}}'):
        (tmp_path / "a.geojson").write_text(text)
        with pytest.raises(DataError, match="is not a GeoJSON"):
            read_vectors(tmp_path / "a.geojson")


def test_one_point_of_several_is_a_point_and_heights_are_left(tmp_path):
    assert place(read_vectors(geojson(tmp_path / "a.geojson", point(6.5, 46.7, 400)))) == (6.5, 46.7)
    table = read_vectors(write(frame([MultiPoint([(6.5, 46.7)]), PLACES[1]]), tmp_path / "a.gpkg"))
    assert place(table) == (6.5, 46.7)
    write(frame([MultiPoint([(6.5, 46.7), (6, 46)]), PLACES[1]]), tmp_path / "b.gpkg")
    with pytest.raises(DataError, match="row 1 is a MultiPoint"):
        read_vectors(tmp_path / "b.gpkg")


def test_columns_that_say_another_place_than_the_geometry_are_told(tmp_path, caplog):
    table = frame().assign(Longitude=[6.5085943, 6.5174], lat=[46.7231904, 46.7344])
    read = read_vectors(write(table, tmp_path / "a.gpkg"))
    assert "row 2: its columns say lon 6.5174, lat 46.7344, 1113 m from its geometry" in caplog.text
    assert place(read) == (6.5085943, 46.7231904)
    assert "Longitude" not in read


def test_layers_and_other_databases(tmp_path):
    path = tmp_path / "a.gpkg"
    frame().to_file(path, layer="wheat", driver="GPKG")
    pd.DataFrame({"a": [1]}).to_sql("notes", sqlite3.connect(path))
    assert len(read_vectors(path)) == 2
    frame().to_file(path, layer="maize", driver="GPKG")
    with pytest.raises(DataError, match=r"has 2 layers with places .'wheat', 'maize'.*export one layer"):
        read_vectors(path)
    for content in (b"<OGRVRTDataSource/>", b"SQLite format 3\0" + bytes(100)):
        (tmp_path / "b.gpkg").write_bytes(content)
        with pytest.raises(DataError, match="is no GeoPackage"):
            read_vectors(tmp_path / "b.gpkg")
    with pytest.raises(DataError, match="does not say of which"):
        read_vectors(write(frame(crs=None), tmp_path / "c.gpkg"))
    frame([LineString([(0, 0), (1, 1)]), PLACES[1]]).to_file(tmp_path / "d.gpkg", driver="GPKG")
    with pytest.raises(DataError, match="row 1 is a LineString"):
        read_vectors(tmp_path / "d.gpkg")


def test_plain_parquet_is_all_text(tmp_path):
    table = pd.DataFrame(
        {
            "plot_id": [20220501.0, None],
            "date": pd.to_datetime(["2021-04-13T00:00", "2021-04-14T10:30"]),
            "lon": [6.5085943, 6.5],
            "lat": np.array([46.7, 46.5], "float32"),
            "day": pd.to_datetime(["2021-04-13", None]).date,
        }
    )
    table.to_parquet(tmp_path / "a.parquet")
    read = read_vectors(tmp_path / "a.parquet")
    assert read.index.tolist() == [1, 2]
    assert read["plot_id"].tolist() == ["20220501", ""]
    assert read["date"].tolist() == ["2021-04-13T00:00:00", "2021-04-14T10:30:00"]
    assert (read["lon"][1], read["lat"][2]) == ("6.5085943", "46.5")
    assert read["day"].tolist() == ["2021-04-13", ""]
    (tmp_path / "b.parquet").write_text("no")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_vectors(tmp_path / "b.parquet")
    with pytest.raises(DataError, match="does not say of which"):
        read_vectors(write(frame(crs=None), tmp_path / "c.parquet"))


def test_decimal_commas_and_days_of_a_database(tmp_path):
    table = frame().assign(value=["0,331", "2"], date=pd.to_datetime(["2021-04-13", "2021-04-14"]))
    table["visit"] = pd.to_datetime(["2021-04-13T10:30+02:00", None], utc=True)
    read = read_table(write(table, tmp_path / "a.gpkg"), ())
    assert read["value"].tolist() == ["0.331", "2"]
    days = read_dates(read["date"], str).tolist()
    assert days == [pd.Timestamp("2021-04-13"), pd.Timestamp("2021-04-14")]
    assert read_dates(read["visit"][:1], str).tolist() == [pd.Timestamp("2021-04-13T08:30")]
    assert read["visit"][2] == ""


@pytest.mark.parametrize("code", ["EPSG:3857", "EPSG:25832", "EPSG:4258", "OGC:CRS84h"])
def test_common_systems(code, tmp_path):
    to = ToDegrees(named_system(code, tmp_path), tmp_path)
    there = np.array([[6.5085943, 46.7231904]])
    xy = pyproj.Transformer.from_crs(4326, to.system, always_xy=True).transform(*there[0])
    np.testing.assert_allclose(to(np.array([xy])), there, atol=1e-7)
    to.check(np.array([xy]), ["row 1"])


def test_rounded_metres_are_told_and_exact_ones_not(tmp_path, caplog):
    write(frame([Point(509000, 5174500), Point(509123, 5174987)], 32632), tmp_path / "a.gpkg")
    read_vectors(tmp_path / "a.gpkg")
    assert (
        "1 of 2 places are rounded (first: 509000.0, 5174500.0): a plot may lie 502 m beside" in caplog.text
    )
    caplog.clear()
    write(frame([Point(509010.5, 5174500), Point(509123, 5174987)], 32632), tmp_path / "b.gpkg")
    read_vectors(tmp_path / "b.gpkg")
    assert "rounded" not in caplog.text


def test_content_that_is_broken_inside_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    frame().to_parquet(path)
    table = pq.read_table(path)
    place = table.schema.get_field_index("geometry")
    broken = pa.array([b"xx"] * len(table), pa.binary())
    pq.write_table(table.set_column(place, "geometry", broken), path)
    with pytest.raises(DataError, match="cannot be read as Parquet: ParseException"):
        read_vectors(path)
    (tmp_path / "a.geojson").write_text("[" * 100_000)
    with pytest.raises(DataError, match="is not a GeoJSON collection"):
        read_vectors(tmp_path / "a.geojson")


def test_features_without_properties_keep_their_places(tmp_path):
    """A table without columns has rows all the same."""
    bare = {"type": "Feature", "properties": None}
    features = [bare | {"geometry": point(6.5, 46.7)}, bare | {"geometry": point(6.6, 46.7)}]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert read_vectors(tmp_path / "a.geojson")["lon"].tolist() == ["6.5", "6.6"]
