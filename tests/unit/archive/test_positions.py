"""Numbers and places: what they may be where they cannot be right."""

import numpy as np
import pandas as pd
import pyproj
import pytest
from shapely.geometry import MultiPolygon, Point, Polygon, box

from canopyflow.archive.positions import (
    ToDegrees,
    check_degrees,
    footprint_of,
    numbers_of,
    place_of,
    warn_of_rounding,
)
from canopyflow.errors import DataError


def where(row):
    return f"row {row}"


def cells(*text):
    return pd.DataFrame({"lon": text, "value": text}, index=range(2, 2 + len(text)), dtype=object)


def test_numbers_as_they_are_written():
    found = numbers_of(cells(" 3 ", "-0.5", "1e-3", ".5", "2.", "−4"), "value", where)
    assert found.tolist() == [3, -0.5, 1e-3, 0.5, 2, -4]
    assert np.isnan(numbers_of(cells("", "NA", "-", "null"), "value", where, optional=True)).all()
    assert numbers_of(cells()[:0], "value", where).tolist() == []


@pytest.mark.parametrize(
    ("column", "text", "remedy"),
    [
        ("value", "dense", "correct the row"),
        ("value", "", "correct the row"),
        ("value", "inf", "correct the row"),
        ("value", "1_000", "correct the row"),
        ("value", "0x1F", "correct the row"),
        ("value", "1e999", "correct the row"),
        ("value", "<0.1", "a limit is no value"),
        ("value", "1'234.5", "without marks between thousands"),
        ("value", "1.234,5", "without marks between thousands"),
        ("value", "3.2 ± 0.4", "uncertainty into its own column"),
        ("lon", "6°30'31\"E", "degrees with decimals"),
        ("lon", "6.5 E", "degrees with decimals"),
    ],
)
def test_what_is_no_number_is_named_with_what_it_may_be(column, text, remedy):
    with pytest.raises(DataError, match=rf"row 3: {column} .* is not a number .*{remedy}"):
        numbers_of(cells("1", text), column, where)


@pytest.mark.parametrize(
    ("lon", "lat", "message"),
    [
        (509000.0, 5260000.0, "lon 509000 is outside ±180 degrees .* a GeoJSON.* is transformed"),
        (46.7, 120.5, "lat 120.5 is outside ±90 degrees .*lon and lat may be swapped"),
        (190.0, 46.7, "lon 190 .* WGS 84 longitude"),
        (0.0, 0.0, "lon 0, lat 0 is a place in the Gulf of Guinea"),
    ],
)
def test_positions_that_are_none(lon, lat, message):
    with pytest.raises(DataError, match=f"row 1: {message}"):
        check_degrees(pd.Series([7.0, lon]), pd.Series([47.0, lat]), where)


@pytest.mark.parametrize(
    ("x", "y", "metres"),
    [
        # Half a step to each side: 0.05 and 0.05 cos(60°) degrees.
        ("6.5", "60.3", 6223),
        ("6.51", "60.30", 622),
        ("6.512", "60.301", 62),
        ("6.5123", "60.3", None),
        ("6.5123", "60.3012", None),
    ],
)
def test_rounded_degrees_are_told_in_metres(tmp_path, caplog, x, y, metres):
    warn_of_rounding([x], [y], np.array([60.0]), tmp_path / "a.csv")
    assert (f"may lie {metres} m beside" in caplog.text) if metres else not caplog.text


def test_some_round_numbers_among_exact_ones_are_chance(tmp_path, caplog):
    x = ["6.51", *(f"6.{k}" for k in range(51234, 51254))]
    warn_of_rounding(x, ["47.12"] * 21, np.full(21, 47.0), tmp_path / "a.csv")
    assert not caplog.text


def test_footprints_are_polygons():
    assert footprint_of(box(6, 46, 6.5, 46.5)).startswith("POLYGON ((6.5")
    assert place_of(Point(6, 46)) == (6, 46)
    assert place_of(box(6, 46, 7, 47)) == (6.5, 46.5)
    for shape, message in (
        (Point(1, 2), "is a Point"),
        (box(-179, 0, 179, 1), "around the globe"),
        (MultiPolygon([box(3, 44, 4, 45), box(93, 0, 94, 1)]), "reaches over 91 degrees of longitude"),
        (Polygon([(0, 0), (1, 1), (0, 0), (1, 1)]), "is no valid polygon"),
        (box(0, 89, 1, 91), "no longitude and latitude"),
    ):
        with pytest.raises(ValueError, match=message):
            footprint_of(shape)


def test_systems_without_a_place_on_the_globe(tmp_path):
    local = pyproj.CRS('LOCAL_CS["our site",UNIT["metre",1]]')
    with pytest.raises(DataError, match="'our site' cannot be placed"):
        ToDegrees(local, tmp_path)
    with pytest.raises(DataError, match="does not say"):
        ToDegrees(None, tmp_path)
    moon = pyproj.CRS("IAU_2015:30100")
    with pytest.raises(DataError, match="no transformation leads from"):
        ToDegrees(moon, tmp_path)
    # Degrees of which nobody knows where they lie: PROJ alone would take them for degrees of WGS 84.
    with pytest.raises(DataError, match=r"no transformation leads from EPSG:4001 .Unknown datum"):
        ToDegrees(pyproj.CRS("EPSG:4001"), tmp_path)


def test_heights_beside_a_system_are_left_out(tmp_path):
    to = ToDegrees(pyproj.CRS("EPSG:2056+5728"), tmp_path)
    assert to(np.array([[2600000.0, 1200000.0]]))[0] == pytest.approx([7.438632, 46.951083], abs=1e-5)
