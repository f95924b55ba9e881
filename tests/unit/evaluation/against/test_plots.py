"""Which pixel and which day a field plot is compared with."""

import numpy as np
import pandas as pd
import pyproj
import pytest
from synthetic_product import EPSG, NORTH, PIXEL, WEST, write_product

from canopyflow.atomic import content_digest
from canopyflow.evaluation.against.plots import NOT_ESTIMATED, OUTSIDE, match_plots
from canopyflow.evaluation.field_plots import check_plots
from canopyflow.evaluation.label_error import LabelError

TO_LONLAT = pyproj.Transformer.from_crs(EPSG, 4326, always_xy=True)


def at(row, column, dy=0.5, dx=0.5):
    """Longitude and latitude inside a pixel; (dy, dx) = (0.5, 0.5) is its centre."""
    return TO_LONLAT.transform(WEST + PIXEL * (column + dx), NORTH - PIXEL * (row + dy))


def plots(folder, *rows):
    """Rows of (plot_id, date, (lon, lat), variable)."""
    frame = pd.DataFrame(
        [
            (p, d, lon, lat, v, 50.0 if v == "ccc" else 2.0, "ug cm-2" if v == "ccc" else "1")
            for p, d, (lon, lat), v in rows
        ],
        columns=["plot_id", "date", "lon", "lat", "variable", "value", "unit"],
    )
    frame.to_csv(folder / "plots.csv", index=False)
    return folder / "plots.csv"


def match(folder, table, products, max_days=3):
    out = folder / "matchups.parquet"
    match_plots(table, products, out, max_days=max_days, model="nsf")
    return pd.read_parquet(out).set_index("plot_id")


@pytest.mark.parametrize(("dy", "dx"), [(0.5, 0.5), (0.02, 0.02), (0.98, 0.98)])
def test_the_pixel_that_contains_the_plot(tmp_path, dy, dx):
    store = write_product(tmp_path / "p.zarr", ["2022-05-03T10:30:00"])
    table = plots(
        tmp_path, ("a", "2022-05-03", at(2, 5, dy, dx), "lai"), ("c", "2022-05-03", at(2, 5, dy, dx), "ccc")
    )
    rows = match(tmp_path, table, [store])
    assert rows.loc["a", "status"] == "ok"
    assert rows.loc["a", "mean"] == pytest.approx(1.025, abs=1e-4)
    assert rows.loc["a", "q95"] == pytest.approx(1.825, abs=1e-4)
    assert rows.loc["c", "mean"] == pytest.approx(10.25, abs=7e-3)
    assert rows.loc["a", "acquired"] == pd.Timestamp("2022-05-03T10:30")
    assert rows.loc["a", "days"] == 0


def test_statistics_that_were_not_mapped_stay_empty(tmp_path):
    store = write_product(tmp_path / "p.zarr", ["2022-05-03T10:30:00"], statistics=("q95", "std"))
    rows = match(tmp_path, plots(tmp_path, ("a", "2022-05-03", at(2, 5), "lai")), [store])
    assert rows.loc["a", "status"] == "ok"
    assert rows.loc["a", ["q95", "std"]].tolist() == pytest.approx([1.825, 0.5], abs=1e-4)
    assert rows.loc["a", ["mean", "q05", "q25", "q50", "q75"]].isna().all()


def test_the_error_of_a_label_is_its_own_or_that_of_the_rule(tmp_path):
    store = write_product(tmp_path / "p.zarr", ["2022-05-03T10:30:00"])
    table = plots(tmp_path, ("a", "2022-05-03", at(2, 5), "lai"), ("b", "2022-05-03", at(2, 5), "ccc"))
    frame = pd.read_csv(table).assign(uncertainty=[0.7, np.nan])
    frame.to_csv(table, index=False)
    rows = match(tmp_path, table, [store])
    assert rows["error"].to_dict() == pytest.approx({"a": 0.7, "b": 45 * np.hypot(0.15, 0.12 * 50 / 45)})
    frame.assign(uncertainty=np.nan).to_csv(table, index=False)
    match_plots(table, [store], tmp_path / "m.parquet", max_days=3, model="nsf", error=LabelError(0.3, 0.1))
    rows = pd.read_parquet(tmp_path / "m.parquet").set_index("plot_id")
    assert rows["error"].to_dict() == pytest.approx(
        {"a": np.hypot(0.3, 0.2), "b": 45 * np.hypot(0.3, 5 / 45)}
    )


def test_plot_in_a_product_of_one_pixel(tmp_path):
    store = write_product(tmp_path / "p.zarr", ["2022-05-03T10:30:00"], shape=(1, 1))
    table = plots(
        tmp_path,
        ("corner", "2022-05-03", at(0, 0, 0.95, 0.95), "lai"),
        ("beside", "2022-05-03", at(0, 0, 0.5, 1.05), "lai"),
    )
    assert match(tmp_path, table, [store])["status"].to_dict() == {"corner": "ok", "beside": OUTSIDE}


def test_nearest_clear_day_and_the_earlier_of_two(tmp_path):
    masked = np.zeros((4, 4, 6), bool)
    masked[1, 0, 0] = True
    days = ["2022-05-01T10:30:00", "2022-05-03T10:30:00", "2022-05-05T10:30:00", "2022-05-09T10:30:00"]
    store = write_product(tmp_path / "p.zarr", days, masked=masked)
    table = plots(
        tmp_path,
        ("cloudy", "2022-05-03", at(0, 0), "lai"),
        ("clear", "2022-05-03", at(1, 1), "lai"),
        ("after", "2022-05-08", at(1, 1), "lai"),
    )
    rows = match(tmp_path, table, [store])
    assert rows.loc["clear", "item"].endswith("2022-05-03")
    assert (rows.loc["cloudy", "item"][-10:], rows.loc["cloudy", "days"]) == ("2022-05-01", -2)
    assert rows.loc["after", "days"] == 1


def test_ties_go_to_the_earlier_day_then_the_tile_then_the_item(tmp_path):
    """Whatever the order of stores, of acquisitions in a store, and of the names of those that lose."""
    days = ["2022-05-01T10:30:00", "2022-05-05T10:20:00", "2022-05-05T10:30:00"]
    west = write_product(tmp_path / "a.zarr", days, tile="32TMT", items=["z", "y", "x"])
    north = write_product(tmp_path / "b.zarr", days, tile="32TMU", items=["c", "b", "a"])
    table = plots(
        tmp_path,
        ("day", "2022-05-03", at(1, 1), "lai"),
        ("item", "2022-05-05", at(1, 1), "lai"),
        ("later", "2022-05-04", at(1, 1), "lai"),
    )
    for products in ([west, north], [north, west]):
        rows = match(tmp_path, table, products)
        assert rows["tile"].tolist() == ["32TMT"] * 3
        assert rows["item"].to_dict() == {"day": "z", "item": "x", "later": "x"}
        assert rows["days"].to_dict() == {"day": -2, "item": 0, "later": 1}
    # The earlier day weighs more than the tile.
    early = write_product(tmp_path / "c.zarr", days[:1], tile="32TZZ", items=["zz"])
    late = write_product(tmp_path / "d.zarr", days[1:], tile="32TAA", items=["aa", "ab"])
    rows = match(tmp_path, table, [early, late])
    assert rows["item"].to_dict() == {"day": "zz", "item": "aa", "later": "aa"}


def test_unmatched_rows_stay_and_say_why(tmp_path):
    masked = np.zeros((1, 4, 6), bool)
    masked[0, 0, 0] = True
    store = write_product(tmp_path / "p.zarr", ["2022-05-03T10:30:00"], masked=masked)
    table = plots(
        tmp_path,
        ("elsewhere", "2022-05-03", (9.5, 46.0), "lai"),
        ("beside", "2022-05-03", at(1, 6), "lai"),
        ("cloudy", "2022-05-03", at(0, 0), "lai"),
        ("late", "2022-05-07", at(1, 1), "lai"),
        ("inclusive", "2022-05-06", at(1, 1), "lai"),
        ("other", "2022-05-03", at(1, 1), "N"),
    )
    status = match(tmp_path, table, [store])["status"].to_dict()
    late = "no clear acquisition within 3 days"
    assert status == {
        "elsewhere": OUTSIDE,
        "beside": OUTSIDE,
        "cloudy": late,
        "late": late,
        "inclusive": "ok",
        "other": NOT_ESTIMATED,
    }


def test_overlapping_tiles_nearest_day_wins_then_the_name(tmp_path):
    west = write_product(
        tmp_path / "x" / "p.zarr", ["2022-05-03T10:30:00", "2022-05-06T10:30:00"], tile="32TMT"
    )
    east = write_product(
        tmp_path / "a" / "p.zarr",
        ["2022-05-03T10:30:00", "2022-05-05T10:30:00"],
        tile="32TNT",
        west=WEST + 2 * PIXEL,
    )
    table = plots(tmp_path, ("tie", "2022-05-03", at(1, 3), "lai"), ("near", "2022-05-05", at(1, 3), "lai"))
    rows = match(tmp_path, table, [east, west])
    assert rows.loc["tie", "tile"] == "32TMT"
    assert rows.loc["near", "tile"] == "32TNT"
    assert rows.loc["near", "mean"] == pytest.approx(1 + 0.1 + 0.01 + 0.001, abs=1e-4)


def test_same_table_whatever_the_order_of_products_and_rows(tmp_path):
    products = [
        write_product(tmp_path / f"{t}.zarr", ["2022-05-03T10:30:00"], tile=t) for t in ("32TMT", "32TNT")
    ]
    rows = [
        ("b", "2022-05-03", at(1, 3), "lai"),
        ("a", "2022-05-02", at(1, 3), "lai"),
        ("z", "2022-05-02", (9, 40), "lai"),
    ]
    digests = []
    for i, (some, there) in enumerate([(rows, products), (rows[::-1], products[::-1])]):
        folder = tmp_path / str(i)
        folder.mkdir()
        table = plots(tmp_path, *some)
        match_plots(table, there, folder / "m.parquet", max_days=3, model="nsf")
        digests.append(content_digest(folder))
    assert digests[0] == digests[1]


def test_a_checked_table_gives_the_same_matchups(tmp_path):
    store = write_product(tmp_path / "p.zarr", ["2022-05-03T10:30:00"])
    table = plots(tmp_path, ("a", "2022-05-03", at(2, 5), "lai"), ("b", "2022-05-03", at(40, 5), "ccc"))
    check_plots(table, tmp_path / "plots.parquet")
    first, second = (match(tmp_path, path, [store]) for path in (table, tmp_path / "plots.parquet"))
    pd.testing.assert_frame_equal(first, second)


def test_no_products_at_all(tmp_path):
    rows = match(tmp_path, plots(tmp_path, ("a", "2022-05-03", at(1, 1), "lai")), [])
    assert rows["status"].tolist() == [OUTSIDE]


def test_between_two_acquisitions_statistics_are_linear_in_time(tmp_path):
    """Means are 1.x + time/10: a day of five after the first of two is a fifth of the way."""
    times = ["2022-05-01T10:30:00", "2022-05-06T10:30:00"]
    masked = np.zeros((2, 4, 6), bool)
    masked[1, 3] = True
    store = write_product(tmp_path / "p.zarr", times, masked=masked, items=["early", "late"])
    table = plots(
        tmp_path,
        ("between", "2022-05-02", at(2, 5), "lai"),
        ("on the day", "2022-05-01", at(2, 5), "lai"),
        ("one side", "2022-05-02", at(3, 5), "lai"),
        ("before all", "2022-04-29", at(2, 5), "lai"),
    )
    out = tmp_path / "matchups.parquet"
    rows = match_plots(table, [store], out, max_days=5, model="nsf", time="linear").set_index("plot_id")
    assert rows["status"].eq("ok").all()
    assert rows.loc["between", "mean"] == pytest.approx(1.025 + 0.1 / 5, abs=1e-3)
    assert rows.loc["between", "q95"] == pytest.approx(1.825 + 0.1 / 5, abs=1e-3)
    assert rows.loc["between", ["item", "days"]].tolist() == ["early + late", -1.0]
    assert (
        rows.loc["on the day", "item"]
        == rows.loc["one side", "item"]
        == rows.loc["before all", "item"]
        == "early"
    )
    plain = match_plots(table, [store], out, max_days=5, model="nsf").set_index("plot_id")
    assert plain.loc["between", "mean"] == pytest.approx(1.025, abs=1e-3)
