"""One reader for all tables of plots: columns, places, and where plots are."""

import pandas as pd
import pytest
from shapely import from_wkt
from shapely.geometry import box

from canopyflow.archive.field_tables import column_of, positions, read_places, read_table
from canopyflow.errors import DataError

PLACE = ("plot_id", "lon", "lat")
SQUARE = "POLYGON ((6.5 46.7, 6.501 46.7, 6.501 46.701, 6.5 46.701, 6.5 46.7))"


def csv(folder, text, name="plots.csv"):
    (folder / name).write_text(text)
    return folder / name


def test_headings_in_any_case_and_by_full_name(tmp_path):
    assert [column_of(h) for h in (" Plot ID", "LONGITUDE", "lat", "Land-cover", "long", "x", "id")] == [
        "plot_id", "lon", "lat", "land_cover", "lon", None, None,
    ]  # fmt: skip
    table = read_table(csv(tmp_path, "PLOT_ID,Longitude,Latitude,crop,class\na, 6.5 ,46.7,wheat,C3\n"), PLACE)
    assert table.loc[2, ["plot_id", "lon", "lat", "land_cover"]].tolist() == ["a", "6.5", "46.7", "C3"]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("plot,lon,lat", r"no column 'plot_id'; it has plot, lon, lat .* rename 'plot' to 'plot_id'"),
        ("plot_id,lon,lta", "no column 'lat'.*rename 'lta' to 'lat'"),
        ("plot_id,easting,northing", "no column 'lon', 'lat'.*if 'easting' is in metres, give a GeoJSON"),
        ("plot_id,lon,lat [deg]", r"no column 'lat'.*rename 'lat \[deg\]' to 'lat'"),
        ("plot_id,elevation", "no column 'lon', 'lat'.*rename or add the column"),
    ],
)
def test_a_missing_column_is_named_with_the_likely_one(tmp_path, header, message):
    with pytest.raises(DataError, match=message):
        read_table(
            csv(tmp_path, f"{header}\n1,2,3\n".replace("1,2,3", ",".join("123"[: header.count(",") + 1]))),
            PLACE,
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.csv", "does not exist"),
        ("a.xlsx", "of this kind are not read .* save the sheet as CSV"),
        ("a.shp", "export it as GeoPackage"),
        ("a.csv.gz", "unpack it"),
        ("a.dat", "use one of .csv"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, name, message):
    if name != "nothing.csv":
        csv(tmp_path, "plot_id,lon,lat\na,6.5,46.7\n", name)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / name, PLACE)


@pytest.mark.parametrize("path", ["https:/example.org/a.csv", "/vsicurl/http://a/b.gpkg", "s3:/b/a.parquet"])
def test_nothing_is_fetched(path):
    from pathlib import Path

    with pytest.raises(DataError, match="is no local file"):
        read_table(Path(path), PLACE)


def test_a_footprint_is_a_place(tmp_path):
    path = csv(tmp_path, f'plot_id,footprint\na,"{SQUARE}"\n')
    found = positions(read_table(path, PLACE), path)
    assert found.loc[2, ["lon", "lat"]].tolist() == pytest.approx([6.5005, 46.7005])
    assert from_wkt(found["footprint"][2]).equals(box(6.5, 46.7, 6.501, 46.701))
    path = csv(tmp_path, f'plot_id,lon,lat,footprint\na,6.5001,46.7001,"{SQUARE}"\nb,6.51234,46.71234,\n')
    found = positions(read_table(path, PLACE), path)
    assert found["lon"].tolist() == [6.5001, 6.51234] and found["footprint"][3] == ""


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f'a,6.6,46.7,"{SQUARE}"', r"row 2 \(plot a\): lon 6.6, lat 46.7 lies outside of its footprint"),
        ("a,6.5,46.7,square", r"row 2 \(plot a\): footprint 'square' .* give a polygon as WKT"),
        ("a,6.5,46.7,POINT (6 46)", "is a Point, and no polygon"),
        ('a,,,"POLYGON ((26e5 12e5, 27e5 12e5, 27e5 13e5, 26e5 12e5))"', "at no longitude and latitude"),
        ('a,,,"POLYGON ((260 46, 261 46, 261 47, 260 46))"', "footprint: lon 260 is outside"),
        ("a,,,", "lon '' is not a number"),
    ],
)
def test_a_footprint_that_is_none(tmp_path, row, message):
    path = csv(tmp_path, f"plot_id,lon,lat,footprint\n{row}\n")
    with pytest.raises(DataError, match=message):
        positions(read_table(path, PLACE), path)


def test_places_reach_around_all_rows_of_a_plot(tmp_path):
    path = csv(
        tmp_path, f'plot_id;lon;lat;footprint\nb;6,6;46,6;\na;6,4;46,71;\na;;;"{SQUARE}"\n', "plots.csv"
    )
    assert read_places(path) == {
        "a": (6.4, 46.7, 6.501, 46.71),
        "b": (6.6, 46.6, 6.6, 46.6),
    }
    with pytest.raises(DataError, match="row 3 has no plot_id"):
        read_places(csv(tmp_path, "plot_id,lon,lat\na,6.5,46.7\n,6.5,46.7\n"))
    with pytest.raises(DataError, match="has no row"):
        read_places(csv(tmp_path, "plot_id,lon,lat\n"))


def test_parquet_has_the_same_columns(tmp_path):
    pd.DataFrame({"Plot_ID": [1], "LON": [6.5], "lat": [46.7], "crop": ["rye"]}).to_parquet(
        tmp_path / "a.parquet"
    )
    table = read_table(tmp_path / "a.parquet", PLACE)
    assert table.loc[1, ["plot_id", "lon", "lat", "land_cover"]].tolist() == ["1", "6.5", "46.7", "rye"]
    pd.DataFrame({"lon": [1], "LON": [6.5], "lat": [46.7], "plot_id": [1]}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match="two columns say 'lon': 'lon', 'LON'"):
        read_table(tmp_path / "b.parquet", PLACE)
