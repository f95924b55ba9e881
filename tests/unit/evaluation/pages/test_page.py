"""The page: all of a campaign in one file, for every kind of campaign, and the same bytes twice."""

import json
import re
from dataclasses import replace

import pandas as pd
import pytest
from tiny_campaign import ASKED, inputs, write_campaign, write_parcels

from canopyflow.errors import DataError
from canopyflow.evaluation.pages import page
from canopyflow.evaluation.pages.page import COPERNICUS, licences, write_page
from canopyflow.inference.parcels.columns import NAIVE


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_campaign(tmp_path_factory.mktemp("tiny"))


def written(inputs, folder, name="index"):
    names = ("html", "flags", "csv", "rst")
    write_page(inputs, *(folder / f"{name}.{ending}" for ending in names))
    return (folder / f"{name}.html").read_text(encoding="utf-8")


def parts(text):
    return re.findall(r'<section id="(\w+)"', text)


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_the_page_holds_all_parts_and_asks_no_network(results, tmp_path):
    text = written(inputs(results, parcels=[write_parcels(results)]), tmp_path)
    assert parts(text) == [
        "asked", "verdict", "maps", "plots", "parcels", "calibration", "scenes", "provenance", "licences",
    ]  # fmt: skip
    assert "Take good: of 3 models" in text
    assert "Contains modified Copernicus Sentinel data 2021" in text
    assert "c0ffee" in text and "g" * 64 in text
    assert not re.search(r"(src|href)=[\"'](?!#|data:)", text)
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert (tmp_path / "index.rst").read_text().startswith("**Take good")
    assert pd.read_csv(tmp_path / "index.csv")["model"].tolist() == ["good", "prior", "wide"]
    assert pd.read_csv(tmp_path / "index.flags")["clear"].sum() > 0


def test_twice_gives_the_same_bytes(results, tmp_path):
    assert written(inputs(results), tmp_path, "a") == written(inputs(results), tmp_path, "b")


def test_names_from_files_are_text_and_no_markup(results, tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    matchups = {
        name: table.assign(plot_id=table["plot_id"] + evil)
        for name, table in inputs(results).tables.matchups.items()
    }
    made = inputs(results)
    scenes = [dict(row, problem=evil, item=evil) for row in made.tables.scenes]
    tables = replace(made.tables, matchups=matchups, scenes=scenes)
    asked = {**ASKED, "facts": [["area", evil]]}
    text = written(replace(made, tables=tables, asked=asked), tmp_path)
    assert "<img" not in text
    assert evil in data_of(text)["plots"]["names"][0]


def test_a_campaign_of_simulations_has_a_page(tmp_path):
    made = inputs(write_campaign(tmp_path, plots=0), products={})
    tables = replace(made.tables, scenes=None)
    text = written(replace(made, tables=tables, asked={**ASKED, "years": ""}, run={}), tmp_path)
    assert parts(text) == ["asked", "verdict", "calibration", "provenance", "licences"]
    assert "A campaign of simulations" in text and "Copernicus" not in text
    assert (tmp_path / "index.flags").read_text().startswith("model,tile,month,clear")


def test_the_page_says_that_simulated_seasons_do_not_compare(results, tmp_path):
    """Beside the table of the verdict, and below the curves of calibration."""
    made = inputs(results)
    text = written(replace(made, tables=replace(made.tables, seasons={"wide"})), tmp_path)
    note = "the simulations of a model of seasons are seasons of its own prior"
    assert text.count(note) == 2 and note not in written(made, tmp_path)


def test_plots_that_found_no_pixel_are_said_on_the_page(tmp_path):
    text = written(inputs(write_campaign(tmp_path, status="outside every scene")), tmp_path)
    assert "NO FIELD PLOT FOUND A PIXEL" in text
    assert "24 outside every scene" in text
    assert data_of(text)["matchups"] == {}


def test_statistics_without_an_interval_still_make_a_page(results, tmp_path):
    """Maps of the median alone have no lines of plots, and nothing breaks."""
    from synthetic_product import write_product

    store = write_product(
        tmp_path / "p" / "32TMT" / "2021-05.zarr", ["2021-05-04T10:30"], statistics=("q50",)
    )
    text = written(inputs(results, products={"good": [store]}), tmp_path)
    assert data_of(text)["maps"]["words"] == ["median", "q50"]
    assert "plots" not in parts(text)


@pytest.mark.parametrize("share", [float("nan"), None])
def test_shares_that_nobody_knows_are_left_out(tmp_path, share):
    """NaN is no JSON for a browser: one of them would leave the page empty."""
    made = inputs(write_campaign(tmp_path))
    path = made.scores["good"]
    scores = json.loads(path.read_text())
    scores["scores"]["plots"]["lai"]["coverage90_label"] = share
    scores["calibration"]["coverage"]["lai"]["0.5"] = share
    path.write_text(json.dumps(scores))
    text = written(made, tmp_path)
    assert "NaN" not in text.split('id="data">')[1].split("</script>")[0]
    shown = data_of(text)["calibration"]["lai"]["good"]
    assert shown["plots"] == [] and 0.5 not in [level for level, _ in shown["simulations"]]


def test_parcels_of_the_table_that_extract_writes_are_shown(tmp_path):
    """In the columns and types that the workflow gives them, outlines included."""
    import geopandas as gpd
    from shapely.geometry import box

    from canopyflow.inference.parcels.tables import read_part, write_part, write_tables

    results = write_campaign(tmp_path)
    rows = pd.read_parquet(write_parcels(results))
    outlines = gpd.GeoDataFrame(
        {"parcel": ["north", "south"]}, geometry=[box(6, 46, 6.1, 46.1)] * 2, crs="EPSG:4326"
    )
    part, table = results / "parcels/part.parquet", results / "parcels/good.parquet"
    write_part(rows.assign(edge_share=0.0, **dict.fromkeys(NAIVE, 2.0)), part)
    write_tables([read_part(part)], outlines, [table])
    text = written(inputs(results, parcels=[table]), tmp_path)
    shown = data_of(text)["parcels"]
    assert shown["names"] == ["north", "south"] and shown["models"] == ["good"]
    assert shown["lines"]["north"]["lai"]["good"][0] == ["2021-05-04", 1.7, 2, 2.3, 0]


def test_a_page_that_is_too_large_is_refused(results, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match="the page would be"):
        written(inputs(results), tmp_path)
    assert not (tmp_path / "index.html").exists()


def test_many_scenes_are_bounded_with_problems_first(results, tmp_path, monkeypatch):
    made = inputs(results)
    monkeypatch.setattr(page, "SCENES", 2)
    scenes = [*made.tables.scenes, dict(made.tables.scenes[0], item="x", problem="B04: truncated")]
    text = written(replace(made, tables=replace(made.tables, scenes=scenes)), tmp_path)
    assert "2 scenes of 4, those with a problem or a doubt first" in text
    assert "B04: truncated" in text


def test_licences_name_copernicus_where_its_data_were_read():
    notice = COPERNICUS.format(years="2021")
    assert licences(ASKED)[0].startswith(f"Scenes and maps: {notice}")
    made_up = licences({**ASKED, "synthetic": True})[0]
    assert made_up.startswith("Scenes: synthetic") and notice in made_up
    assert not any("Copernicus" in text for text in licences({**ASKED, "years": ""}))
