"""Plot tables: what is read, converted, dropped and refused."""

import json
import logging
import os
from pathlib import Path

import pandas as pd
import pytest
from shapely.geometry import box

from canopyflow.errors import DataError
from canopyflow.evaluation.field_plots import COLUMNS, check_plots, plots_of, read_plots
from canopyflow.evaluation.measurands import MEASURANDS, factor, find
from canopyflow.vocabulary import DERIVED

REAL = Path(os.environ.get("CANOPYFLOW_REAL_DATA", Path(__file__).parents[4] / "shared/real"))
HEAD = "plot_id,date,lon,lat,variable,value,unit,uncertainty\n"


def table(folder, *rows, head=HEAD):
    path = folder / "plots.csv"
    path.write_text(head + "".join(row + "\n" for row in rows))
    return path


def test_values_arrive_in_the_units_of_the_products(tmp_path):
    path = table(
        tmp_path,
        "b,2022-05-01,9.0,47.0,LAI,3.5,m2 m-2,0.4",
        "a,2022-05-01,9.0,47.0,Ccc,1.5,g m-2,0.1",
        "a,2022-05-02,9.0,47.0,cab,45,µg/cm²,",
        "a,2022-05-03,9.0,47.0,CWC,0.8,kg m-2,",
    )
    plots = read_plots(path)
    assert tuple(plots.columns) == COLUMNS
    assert plots["plot_id"].tolist() == ["a", "a", "a", "b"]
    assert plots["variable"].tolist() == ["ccc", "cab", "cwc", "lai"]
    assert plots["value"].tolist() == pytest.approx([150.0, 45.0, 0.08, 3.5])
    assert plots["uncertainty"].iloc[[0, 3]].tolist() == pytest.approx([10.0, 0.4])
    assert plots["uncertainty"].iloc[[1, 2]].isna().all()


def test_csv_and_geojson_are_the_same_table(tmp_path):
    csv = table(tmp_path, "a,2022-05-01,9.0,47.0,LAI,3.5,1,", "b,2022-05-01,9.1,47.1,LAI,2.5,1,0.5")
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [lon, lat]},
            "properties": {
                "plot_id": name,
                "date": "2022-05-01",
                "variable": "LAI",
                "value": value,
                "unit": "1",
                "uncertainty": sigma,
            },
        }
        for name, lon, lat, value, sigma in (("a", 9.0, 47.0, 3.5, None), ("b", 9.1, 47.1, 2.5, 0.5))
    ]
    geojson = tmp_path / "plots.geojson"
    geojson.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert read_plots(geojson).equals(read_plots(csv))


def test_leaf_area_is_plant_area_unless_the_table_or_the_campaign_says_otherwise(tmp_path):
    words = {
        "LAI": "lai",
        "PAI": "lai",
        "GAI": "gai",
        "green LAI": "gai",
        "LAIe": "lai_eff",
        "fAPAR": "fapar",
    }
    path = table(tmp_path, *(f"{i},2022-05-01,9,47,{word},0.5,1," for i, word in enumerate(words)))
    plots = read_plots(path)
    assert dict(zip(plots["measurand"], plots["variable"], strict=True)) == words
    said = read_plots(path, {"lai": "GAI", "fapar": None})
    assert dict(zip(said["measurand"], said["variable"], strict=True)) == {
        word: "gai" if word == "LAI" else name for word, name in words.items() if word != "fAPAR"
    }


def test_an_unknown_measurand_is_refused_with_the_list(tmp_path):
    path = table(tmp_path, "a,2022-05-01,9,47,LAI,3,1,", "b,2022-05-01,9,47,leafiness,3,1,")
    with pytest.raises(DataError) as error:
        read_plots(path)
    for told in (
        "row 3",
        "'leafiness'",
        "PAI: plant area",
        "GAI (green area)",
        "FAPAR",
        "evaluation.measurands",
    ):
        assert told in str(error.value)
    assert len(read_plots(path, {"leafiness": None})) == 1


@pytest.mark.parametrize(
    ("measurands", "message"),
    [
        ({"LAI": "leafiness"}, "'LAI' cannot be 'leafiness'"),
        ({"GLAI": "gai"}, "has no variable 'GLAI'.*it has LAI"),
    ],
)
def test_what_a_campaign_says_of_measurands_is_checked(tmp_path, measurands, message):
    with pytest.raises(DataError, match=message):
        read_plots(table(tmp_path, "a,2022-05-01,9,47,LAI,3,1,"), measurands)


def test_sites_and_groups_are_kept(tmp_path):
    head = HEAD.replace("uncertainty", "uncertainty,site,group")
    plots = read_plots(table(tmp_path, "a,2022-05-01,9,47,LAI,3,1,,Witzwil, wheat", head=head))
    assert plots.loc[0, ["site", "group"]].tolist() == ["Witzwil", "wheat"]
    assert read_plots(table(tmp_path, "a,2022-05-01,9,47,LAI,3,1,")).loc[0, ["site", "group"]].tolist() == [
        "",
        "",
    ]


def test_other_variables_are_dropped_with_one_line(tmp_path, caplog):
    path = table(
        tmp_path,
        "a,2022-05-01,9.01234,47.01234,BBCH,30,1,",
        "a,2022-05-01,9.01234,47.01234,LAI,,1,",
        "a,2022-05-01,9.01234,47.01234,LAI,3,1,",
    )
    with caplog.at_level(logging.INFO, logger="canopyflow"):
        assert len(read_plots(path)) == 1
    assert len(caplog.records) == 1
    assert "BBCH (1)" in caplog.text


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("p7,2022-05-01,9,47,LAI,45,m2 m-2,", ["row 2", "p7", "lai", "45"]),
        ("p7,2022-05-01,9,47,LAI,-1,m2 m-2,", ["row 2", "p7", "lai", "-1"]),
        ("p7,2022-05-01,9,47,CCC,3,furlong,", ["row 2", "p7", "ccc", "furlong", "3"]),
        ("p7,2022-05-01,9,47,CCC,100,ug cm-2 leaf,", ["p7", "ccc", "leaf", "ground"]),
        ("p7,2022-05-01,9,47,CCC,100,,", ["p7", "ccc", "unit ''"]),
        ("p7,2022-05-01,9,47,cab,4500,ug cm-2,", ["p7", "cab", "4500"]),
        ("p7,the first of May,9,47,LAI,3,1,", ["row 2", "p7", "the first of May"]),
        ("p7,2022-05-01,509000,5260000,LAI,3,1,", ["row 2", "p7", "lon", "509000"]),
        ("p7,2022-05-01,9,x,LAI,3,1,", ["row 2", "p7", "lat", "'x'"]),
        ("p7,2022-05-01,9,47,LAI,dense,1,", ["row 2", "p7", "value", "dense"]),
        ("p7,2022-05-01,9,47,LAI,3,1,some", ["row 2", "p7", "uncertainty", "some"]),
    ],
)
def test_what_cannot_be_right_is_named(tmp_path, row, words):
    with pytest.raises(DataError) as error:
        read_plots(table(tmp_path, row))
    for word in words:
        assert word in str(error.value)


def test_a_comma_at_the_end_of_each_row_is_no_column(tmp_path):
    row = "a,2022-05-01,9.0,47.0,LAI,3.5,1,0.5"
    plain = read_plots(table(tmp_path, row, row.replace("a,", "b,")))
    assert read_plots(table(tmp_path, f"{row},", f"{row.replace('a,', 'b,')},")).equals(plain)
    with pytest.raises(DataError, match="line 2: 9 fields where the header has 8"):
        read_plots(table(tmp_path, f"{row},more", f"{row},more"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,2022-05,9.0,47.0,LAI,3.5,1,", "date '2022-05' is a month and not a day"),
        ("a,2022-05-01,9.0,47.0,LAI,3.5,1,-0.5", "row 2 .plot a.: uncertainty -0.5 is below zero"),
    ],
)
def test_a_month_is_no_date_and_no_uncertainty_is_negative(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read_plots(table(tmp_path, row))


def test_a_column_in_another_unit_than_it_says_is_refused(tmp_path):
    rows = [f"p{i},2022-05-0{i},9,47,CCC,{i},ug cm-2," for i in range(1, 5)]
    with pytest.raises(DataError, match="all 4 values of ccc"):
        read_plots(table(tmp_path, *rows))


def test_missing_column_is_named_beside_what_is_there(tmp_path):
    path = table(tmp_path, "a,2022-05-01,9,LAI,3,1", head="plot_id,date,lon,variable,value,unit\n")
    with pytest.raises(DataError, match="no column 'lat'; it has plot_id, date, lon, variable"):
        read_plots(path)


def test_checked_table_is_the_same_table(tmp_path):
    path = table(tmp_path, "b,2022-05-01,9.0,47.0,LAI,3.1,1,0.4", "a,2022-05-01,9.0,47.0,Ccc,1.5,g m-2,")
    check_plots(path, tmp_path / "plots.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "plots.parquet"), read_plots(path))


def test_plots_outside_of_the_area_are_told_before_anything_runs(tmp_path, caplog):
    area = box(8.9, 46.9, 9.1, 47.1)
    inside, swapped = "a,2022-05-01,9.0,47.0,LAI,3.1,1,", "b,2022-05-01,47.0,9.0,LAI,3.1,1,"
    out = tmp_path / "plots.parquet"
    with pytest.raises(DataError, match=r"no plot lies in the campaign's area.*'b'.*lon and lat are swapped"):
        check_plots(table(tmp_path, swapped), out, area=area)
    with pytest.raises(DataError, match=r"no plot lies.*check `area`"):
        check_plots(table(tmp_path, inside), out, area=box(1, 1, 2, 2))
    assert not out.exists()
    check_plots(table(tmp_path, inside, swapped), out, area=area)
    assert "1 of 2 measurements lie outside the area" in caplog.text
    assert "plot b, at lon 47, lat 9, would lie inside with lon and lat swapped" in caplog.text
    # Across the 180th meridian longitudes of areas go on.
    check_plots(table(tmp_path, "c,2022-05-01,-179.9,47.0,LAI,3.1,1,"), out, area=box(179, 46, 181, 48))


def test_no_table_and_no_rows(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_plots(tmp_path / "nothing.csv")
    assert len(read_plots(table(tmp_path))) == 0


def test_semicolons_commas_and_parquet_are_the_same_table(tmp_path):
    rows = "a,2022-05-01,9.01234,47.01234,LAI,3.5,m2 m-2,0.5", "b,2022-05-02,9.1234,47.12345,Ccc,150,mg m-2,"
    plain = read_plots(table(tmp_path, *rows))
    european = (HEAD + "\n".join(rows)).replace(",", ";").replace(".", ",")
    (tmp_path / "e.csv").write_text("# from the field\n" + european, encoding="utf-16")
    assert read_plots(tmp_path / "e.csv").equals(plain)
    pd.read_csv(table(tmp_path, *rows), parse_dates=["date"]).to_parquet(tmp_path / "plots.parquet")
    assert read_plots(tmp_path / "plots.parquet").equals(plain)
    assert plots_of(tmp_path / "plots.parquet").equals(plain)


def test_kinds_of_plots_and_footprints_are_kept(tmp_path):
    head = HEAD.replace("uncertainty", "crop,footprint")
    square = "POLYGON ((9 47, 9.001 47, 9.001 47.001, 9 47.001, 9 47))"
    rows = f'a,2022-05-01,,,LAI,3,1,wheat,"{square}"', "b,2022-05-01,9.01234,47.01234,LAI,3,1,rye,"
    plots = read_plots(table(tmp_path, *rows, head=head))
    assert plots["land_cover"].tolist() == ["wheat", "rye"]
    assert plots.loc[0, ["lon", "lat"]].tolist() == pytest.approx([9.0005, 47.0005])
    assert plots["footprint"].tolist()[1] == "" and "POLYGON ((9" in plots["footprint"][0]
    check_plots(tmp_path / "plots.csv", tmp_path / "plots.parquet")
    assert plots_of(tmp_path / "plots.parquet").equals(plots)


def test_a_table_with_units_was_not_checked_yet_whatever_else_it_has(tmp_path):
    """Columns of the same names do not make percent parts of one."""
    row = "a,2022-05-01,9.01234,47.01234,FCOVER,35,%,"
    checked = read_plots(table(tmp_path, row))
    raw = checked.assign(value=35.0, unit="%")
    raw.to_parquet(tmp_path / "plots.parquet")
    assert plots_of(tmp_path / "plots.parquet")["value"].tolist() == pytest.approx([0.35])


@pytest.mark.parametrize(
    ("rows", "remedy"),
    [
        (["a,2022-05-01,9,47,LIA,3,1,"], "did you mean 'lai'"),
        (["a,2022-05-01,9,47,green leaf area indx,3,1,"], "did you mean 'green leaf area index'"),
        (["a,2022-05-01,9,47,CCC,3,g m2,"], "did you mean 'g m-2'"),
        (["a,2022-05-01,9,47,LAI,-9999,1,"], "leave the field empty where nothing was measured"),
        (["a,2022-05-01,9,47,FAPAR,45,1,"], "is it in '%'"),
        ([f"a,2022-05-0{i},9,47,FAPAR,0.{i},%," for i in (1, 2, 3)], "these look like parts of 1"),
        ([",2022-05-01,9,47,LAI,3,1,"], "name each plot"),
        (["a,2022-05-01,0,0,LAI,3,1,"], "give the position"),
    ],
)
def test_the_likely_remedy_is_told(tmp_path, rows, remedy):
    with pytest.raises(DataError, match=rf"plots.csv, row 2.*{remedy}"):
        read_plots(table(tmp_path, *rows))


@pytest.mark.parametrize(
    ("rows", "warning"),
    [
        (
            ["a,2022-05-01,9.01,47.01,LAI,3,1,"],
            "are rounded (first: 9.01, 47.01): a plot may lie 674 m beside",
        ),
        (
            ["a,2022-05-01,9.01234,47.01234,LAI,3,1,"] * 2,
            "row 1 (plot a): the same measurement stands in a row",
        ),
        (["a,2012-05-01,9.01234,47.01234,LAI,3,1,"], "2012-05-01 is before the first image"),
        (
            ["a,2022-05-01,9.01234,47.01234,LAI,3,1,", "a,2022-05-02,9.01234,48.01234,LAI,3,1,"],
            "plot a lies 111.2 km from where another row has it",
        ),
    ],
)
def test_what_may_be_wrong_is_told(tmp_path, caplog, rows, warning):
    exact = "a,2022-05-01,9.01234,47.01234,LAI,3,1,"
    read_plots(table(tmp_path, exact))
    assert not caplog.text
    read_plots(table(tmp_path, *rows))
    assert warning in caplog.text.replace("row 3", "row 1")
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "unit", ["ug cm-2", "µg cm⁻²", "ug/cm2", "ug cm^-2", "ug cm**-2", "ug cm-2 leaf", "UG/CM² of leaf"]
)
def test_spellings_of_one_unit(unit):
    assert factor(MEASURANDS["cab"], unit) == 1.0


def test_names_in_any_case():
    assert find("LAI") is MEASURANDS["lai"]
    assert find("n") is MEASURANDS["N"]
    assert find(" green_LAI ") is find("green-lai") is MEASURANDS["gai"]
    assert find("leaf area index") is find("PAI") is MEASURANDS["lai"]
    assert {variable.name for variable in DERIVED} <= set(MEASURANDS)
    assert find("BBCH") is None


@pytest.mark.real
@pytest.mark.parametrize("name", ["insitu.csv", "insitu.geojson"])
def test_swiss_wheat(name):
    path = REAL / "swiss_wheat_2022" / name
    if not path.exists():
        pytest.skip(f"no real data at {REAL}; set CANOPYFLOW_REAL_DATA")
    plots = read_plots(path)
    assert plots["variable"].value_counts().to_dict() == {"lai": 293, "ccc": 87, "cab": 29}
    assert plots.loc[plots["variable"] == "ccc", "value"].max() == pytest.approx(820.95, abs=0.01)
    assert plots["uncertainty"].isna().all()
