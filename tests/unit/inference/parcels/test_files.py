"""Parcel files: what is read, and what is refused by name."""

import json

import geopandas as gpd
import pandas as pd
import pytest
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box

from canopyflow.errors import DataError
from canopyflow.inference.parcels.files import check_parcels, read_parcels

A, B = box(7.0, 47.0, 7.01, 47.01), box(7.02, 47.0, 7.03, 47.02)
BOW = Polygon([(7, 47), (7.1, 47.1), (7.1, 47), (7, 47.1)])


def frame(shapes=(A, B), crs=4326, **columns):
    columns = columns or {"parcel": [f"p{i}" for i in range(len(shapes))]}
    return gpd.GeoDataFrame(columns, geometry=list(shapes), crs=crs)


def geojson(path, features, **more):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **more}))
    return path


def feature(shape, **properties):
    return {
        "type": "Feature",
        "properties": properties,
        "geometry": None if shape is None else shape.__geo_interface__,
    }


def write(table, path):
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_file(path, driver={".gpkg": "GPKG", ".geojson": "GeoJSON"}[path.suffix])
    return path


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".parquet"])
@pytest.mark.parametrize("epsg", [4326, 32632])
def test_every_format_in_its_own_coordinates(tmp_path, suffix, epsg):
    table = frame([A, MultiPolygon([B, box(7.05, 47.0, 7.06, 47.01)])]).to_crs(epsg)
    found = read_parcels(write(table, tmp_path / f"p{suffix}"))
    assert found["parcel"].tolist() == ["p0", "p1"] and found.crs.to_epsg() == 4326
    assert found.geometry[0].bounds == pytest.approx(A.bounds, abs=1e-6)


def test_a_geojson_that_names_a_system_is_in_it(tmp_path):
    swiss = frame([A]).to_crs(2056)
    named = {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2056"}}}
    path = geojson(tmp_path / "p.geojson", [feature(swiss.geometry[0], parcel="a")], **named)
    assert read_parcels(path).geometry[0].bounds == pytest.approx(A.bounds, abs=1e-6)
    named["crs"]["properties"]["name"] = "urn:ogc:def:crs:EPSG::999999"
    with pytest.raises(DataError, match="999999' is unknown"):
        read_parcels(geojson(path, [feature(A, parcel="a")], **named))


def test_metres_without_a_system_are_refused(tmp_path):
    path = geojson(tmp_path / "p.geojson", [feature(box(5e5, 5e6, 5.1e5, 5.1e6), parcel="a")])
    with pytest.raises(DataError, match="'a' lies at no longitude and latitude"):
        read_parcels(path)
    with pytest.raises(DataError, match=r"parcels: .* does not say of which coordinate system"):
        read_parcels(write(frame(crs=None), tmp_path / "p.parquet"))


def test_names_by_property_and_whole_numbers_as_such(tmp_path):
    table = frame(id=[2.0, 10.0], plot=["x", "y"])
    path = write(table, tmp_path / "p.gpkg")
    assert read_parcels(path)["parcel"].tolist() == ["10", "2"]
    assert read_parcels(path, "plot")["parcel"].tolist() == ["x", "y"]
    with pytest.raises(DataError, match="no property 'field'; it has id, plot"):
        read_parcels(path, "field")


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ([], "has no parcel"),
        ([feature(A, crop="wheat")], "no property 'parcel' or 'parcel_id' or 'id'; it has crop"),
        ([feature(A, parcel="a"), feature(B, parcel="a")], "parcel 'a' stand there more"),
        ([feature(A, parcel="a"), feature(B, parcel="")], "'feature 2' has no parcel"),
        ([feature(None, parcel="b"), feature(None, parcel="c")], r"'b' has no geometry \(and 1 more\)"),
        ([feature(Polygon(), parcel="a")], "'a' has no geometry"),
        ([feature(Point(7, 47), parcel="a")], "'a' is a Point, and no polygon — .*; points belong into"),
        ([feature(LineString([(7, 47), (8, 47)]), parcel="a")], "'a' is a LineString"),
        ([feature(BOW, parcel="bow")], "'bow' is no valid polygon: Self-inter"),
        ([feature(box(7, 95, 8, 96), parcel="a")], "'a' lies at no longitude"),
        ([{"type": "Polygon", "coordinates": []}], "is not a GeoJSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, features, said):
    with pytest.raises(DataError, match=said):
        read_parcels(geojson(tmp_path / "p.geojson", features))


def test_files_of_other_kinds_and_places_are_refused(tmp_path):
    path = tmp_path / "p.shp"
    path.write_text("x")
    for wrong, said in (
        (path, "of no kind that is read"),
        (tmp_path / "none.gpkg", "is no file of this machine"),
        (tmp_path.joinpath("/vsicurl/http://localhost:1/p.geojson"), "is no file of this machine"),
    ):
        with pytest.raises(DataError, match=said):
            read_parcels(wrong)
    for name, said in (
        ("text.gpkg", "is no GeoPackage"),
        ("text.parquet", "cannot be read as Parquet"),
        ("text.geojson", "is not a GeoJSON"),
    ):
        (tmp_path / name).write_text(
            "<OGRVRTDataSource><SrcDataSource>/etc/passwd</SrcDataSource></OGRVRTDataSource>"
        )
        with pytest.raises(DataError, match=f"parcels: .*{said}"):
            read_parcels(tmp_path / name)
    for layer in ("one", "two"):
        frame().to_file(tmp_path / "layers.gpkg", layer=layer, driver="GPKG")
    with pytest.raises(DataError, match=r"has 2 layers with places \('one', 'two'\)"):
        read_parcels(tmp_path / "layers.gpkg")


def test_parcels_are_held_against_the_area_first(tmp_path, caplog):
    path = write(frame(), tmp_path / "p.geojson")
    out = tmp_path / "out.parquet"
    with caplog.at_level("WARNING"):
        check_parcels(path, out, area=box(6.9, 46.9, 7.015, 47.1))
    assert "parcel 'p1' lie outside the area" in caplog.text
    assert gpd.read_parquet(out)["parcel"].tolist() == ["p0", "p1"]
    with pytest.raises(
        DataError, match=r"no parcel of .* lies in the campaign's area.*'p0', is around 7\.0050, 47\.0050"
    ):
        check_parcels(path, out, area=box(0, 0, 1, 1))
    with pytest.raises(DataError, match="longitude and latitude are swapped"):
        check_parcels(path, out, area=box(46.9, 6.9, 47.1, 7.1))


def test_a_table_without_outlines_is_refused(tmp_path):
    pd.DataFrame({"parcel": ["a"]}).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(DataError, match="has no outlines"):
        read_parcels(tmp_path / "p.parquet")


def test_the_feature_s_own_id_names_a_parcel_unless_a_property_does(tmp_path):
    features = [{"id": "x", **feature(A)}, {"id": "y", **feature(B, id=7)}]
    assert read_parcels(geojson(tmp_path / "p.geojson", features))["parcel"].tolist() == ["7", "x"]


def test_across_the_180th_meridian_a_parcel_is_in_one_piece(tmp_path):
    """Degrees jump there; a parcel that is written with the jump would lie around the globe."""
    across = box(179.99, -17.0, 180.01, -16.99)
    metres = frame([across]).to_crs(32701)
    cut = frame([MultiPolygon([box(179.99, -17.0, 180.0, -16.99), box(-180.0, -17.0, -179.99, -16.99)])])
    for number, table in enumerate((frame([across]), metres, cut)):
        found = read_parcels(write(table, tmp_path / f"p{number}.gpkg"))
        assert found.geometry[0].bounds == pytest.approx(across.bounds, abs=1e-3)
    path = geojson(tmp_path / "p.geojson", [feature(box(-179.99, -17, 179.99, -16.99), parcel="a")])
    with pytest.raises(DataError, match="'a' reaches around the globe: is it cut at the 180th"):
        read_parcels(path)


def test_metres_outside_of_their_system_name_the_parcel(tmp_path):
    path = write(frame([box(7.0, 47.0, 7.01, 47.01)]).set_crs(2056, allow_override=True), tmp_path / "p.gpkg")
    with pytest.raises(DataError, match=r"p\.gpkg, 'p0': 7\.005, 47\.005 of EPSG:2056"):
        read_parcels(path)
