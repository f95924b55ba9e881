"""Trajectories of plots and parcels."""

import numpy as np
import pandas as pd
import pytest
from tiny_campaign import inputs, write_campaign, write_parcels

from canopyflow.evaluation.pages import series
from canopyflow.evaluation.pages.series import parcel_series, plot_series, plots_to_show, told


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_campaign(tmp_path_factory.mktemp("tiny"))


def test_a_plot_has_the_posterior_of_its_pixel_on_every_clear_date(results):
    made = inputs(results)
    measured = plots_to_show(made.tables.matchups)
    rows = plot_series(measured, made.products, 128)
    one = rows[(rows["name"] == "plot 6") & (rows["model"] == "good")]
    assert one["date"].tolist() == ["2021-05-04", "2021-05-09", "2021-05-24"]
    # Plot 6 lies in row 6 and column 6.
    np.testing.assert_allclose(one["q50"], [1.66, 2.66, 3.66], atol=2e-3)
    np.testing.assert_allclose(one["q95"] - one["q05"], 1.6, atol=2e-3)
    # The second date is masked in the first four columns.
    assert len(rows[(rows["name"] == "plot 2") & (rows["model"] == "good")]) == 2


def test_a_flagged_pixel_is_marked(results):
    made = inputs(results)
    measured = plots_to_show(made.tables.matchups)
    place = measured[measured["plot_id"] == "plot 0"].iloc[:1]
    # One pixel is flagged: row 0, column 8, eight pixels of 20 m to the east of plot 0.
    east = place.assign(lon=place["lon"] + 160 / (111_320 * np.cos(np.radians(place["lat"].iloc[0]))))
    rows = plot_series(east, {"good": made.products["good"]}, 128)
    assert rows["doubtful"].tolist() == [True, False, False]


def test_plots_with_most_matches_come_first(results, monkeypatch):
    table = inputs(results).tables.matchups["good"].copy()
    table.loc[table["plot_id"].isin(["plot 0", "plot 1"]), "status"] = "outside every scene"
    monkeypatch.setattr(series, "PLOTS", 3)
    assert set(plots_to_show({"good": table})["plot_id"]) == {"plot 2", "plot 3", "plot 4"}
    assert plots_to_show({}).empty


def test_lines_are_plain_values(results):
    made = inputs(results)
    measured = plots_to_show(made.tables.matchups)
    shown = told(plot_series(measured, made.products, 128), measured)
    assert shown["names"][0] == "plot 0" and shown["models"] == ["good", "wide"]
    assert shown["lines"]["plot 6"]["lai"]["good"][0] == ["2021-05-04", pytest.approx(0.86, abs=2e-3),
        pytest.approx(1.66, abs=2e-3), pytest.approx(2.46, abs=2e-3), 0]  # fmt: skip
    assert shown["measured"]["plot 6"]["lai"][0] == ["2021-05-04", 2.5, 0.2]
    assert told(pd.DataFrame()) is None


def test_lines_are_bounded(results, monkeypatch):
    made = inputs(results)
    measured = plots_to_show(made.tables.matchups)
    rows = plot_series(measured, made.products, 128)
    monkeypatch.setattr(series, "POINTS", 20)
    shown = told(rows, measured)
    assert sum(len(p) for of in shown["lines"].values() for m in of.values() for p in m.values()) <= 20
    assert shown["left_out"] == [f"{len(shown['names'])} of 8"]


def test_parcels_come_from_their_table(results):
    rows = parcel_series([write_parcels(results)], 128)
    shown = told(rows)
    assert shown["names"] == ["north", "south"] and shown["models"] == ["good"]
    assert shown["lines"]["south"]["lai"]["good"][-1] == ["2021-05-24", 1.7, 2.0, 2.3, 0]
    assert parcel_series([], 128).empty


def test_a_parcel_in_two_tiles_has_one_point_a_day_the_clearer(results, tmp_path):
    """Rows of both tiles stand in the table; two points of a day would make a line go up and down."""
    table = pd.read_parquet(write_parcels(results))
    less = table.assign(tile="31TGM", clear_share=0.7, q50=9.0)
    pd.concat([less, table]).to_parquet(tmp_path / "good.parquet")
    rows = parcel_series([tmp_path / "good.parquet"], 128)
    assert len(rows) == len(table) and set(rows["q50"]) == {2.0}
    assert told(rows)["names"] == ["north", "south"]


@pytest.mark.parametrize(
    ("changes", "marked"),
    [
        ({"flags": 128, "flagged_share": 0.02}, False),
        ({"flags": 128, "flagged_share": 0.3}, True),
        ({"flags": 2, "flagged_share": 0.3}, False),
        ({"clear_share": 0.4}, True),
    ],
)
def test_a_parcel_is_marked_by_how_much_of_it_is_in_doubt(results, tmp_path, changes, marked):
    pd.read_parquet(write_parcels(results)).assign(**changes).to_parquet(tmp_path / "good.parquet")
    assert set(parcel_series([tmp_path / "good.parquet"], 128)["doubtful"]) == {marked}
