"""Scores of matched plots: of all, with intervals over plots, and of groups."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from canopyflow.evaluation.matched import groups_of, intervals, plain, score_matchups
from canopyflow.vocabulary import QUANTILES

N, MANY, VISITS = 60, 200, 4


def honest(path, plots=N, **columns):
    """Plots whose truth is drawn from their posterior, each visited several times, labelled with errors."""
    g = np.random.default_rng(0)
    n = plots * VISITS
    mean, std, error = g.uniform(2, 5, n), g.uniform(0.2, 0.6, n), g.uniform(0.1, 0.4, n)
    value = g.normal(g.normal(mean, std), error)
    table = pd.DataFrame(
        {
            "plot_id": np.repeat([f"p{i}" for i in range(plots)], VISITS),
            "date": pd.Timestamp("2021-04-10") + pd.to_timedelta(np.tile(np.arange(VISITS) * 30, plots), "D"),
            "lon": 7.0,
            "lat": np.repeat(np.linspace(46, 48, plots), VISITS),
            "site": np.repeat(["north", "south"], n // 2),
            "group": "",
            "land_cover": np.tile(np.repeat(["wheat", "maize"], VISITS), plots // 2),
            "variable": "lai",
            "value": value,
            "error": error,
            "status": "ok",
            "mean": mean,
            "std": std,
            **{name: norm.ppf(level, mean, std) for name, level in QUANTILES.items()},
        }
    ).assign(**columns)
    table.to_parquet(path)
    return table


def test_honest_posteriors_are_scored_as_their_closed_forms(tmp_path):
    table = honest(tmp_path / "m.parquet", MANY)
    found = score_matchups(tmp_path / "m.parquet")
    wide = np.hypot(table["std"], table["error"])
    logs = -norm.logpdf(table["value"], table["mean"], wide).mean()
    lai = found.scores["lai"]
    assert lai["log_score_label"].value == pytest.approx(logs)
    # 2.0627 is the expected interval score of a standard normal: width 3.29 and 0.9 beyond.
    expected = 2 * norm.pdf(norm.ppf(0.95)) / 0.05
    assert lai["interval90_label"].value == pytest.approx(expected * wide.mean(), rel=0.1)
    assert lai["interval90"].value > lai["interval90_label"].value - lai["width90_label"].value
    assert lai["coverage90_label"].value == pytest.approx(0.9, abs=0.04) and lai["coverage90"].value < 0.87
    counts = np.array(found.pit["lai"]["label"])
    assert counts.sum() == MANY * VISITS
    # Flat: 40 in each of 20 bins, give or take.
    assert ((counts - 40) ** 2 / 40).sum() < 38.6
    exact = np.array(found.pit["lai"]["exact"])
    assert exact[[0, -1]].sum() > 1.5 * counts[[0, -1]].sum()
    assert lai["gcos_threshold_label"].value > lai["gcos_threshold"].value


def test_intervals_are_over_plots_and_not_over_rows(tmp_path):
    table = honest(tmp_path / "m.parquet")
    copies = pd.concat([table] * 3)
    copies.to_parquet(tmp_path / "copies.parquet")
    once, often = (score_matchups(tmp_path / f"{n}.parquet").scores["lai"]["mae"] for n in ("m", "copies"))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    # One name at two sites is two plots.
    honest(tmp_path / "two.parquet", plot_id="p")
    two = score_matchups(tmp_path / "two.parquet")
    assert np.isfinite(two.scores["lai"]["mae"].low)
    assert np.isnan(two.groups["site"]["north"]["lai"]["mae"].low)


def test_groups_are_scored_as_tables_of_their_own(tmp_path):
    table = honest(tmp_path / "m.parquet")
    found = score_matchups(tmp_path / "m.parquet")
    assert {by: sorted(groups) for by, groups in found.groups.items()} == {
        "site": ["north", "south"], "class": ["maize", "wheat"], "month": ["04", "05", "06", "07"],
    }  # fmt: skip
    for by, name, mine in (
        ("site", "south", table["site"] == "south"),
        ("class", "maize", table["land_cover"] == "maize"),
        ("month", "05", table["date"].dt.month == 5),
    ):
        table[mine].to_parquet(tmp_path / "part.parquet")
        alone, part = score_matchups(tmp_path / "part.parquet").scores["lai"], found.groups[by][name]["lai"]
        for metric, score in part.items():
            assert score.value == pytest.approx(alone[metric].value)
            # Clusters are drawn in another order.
            width = alone[metric].high - alone[metric].low
            assert score.high - score.low == pytest.approx(width, rel=0.2, nan_ok=True)
        assert part["n"].value == mine.sum()


def test_without_land_cover_the_group_is_the_class(tmp_path):
    table = honest(tmp_path / "m.parquet", land_cover="", group="rye")
    assert set(groups_of(table)["class"]) == {"rye"}
    bare = table.drop(columns=["land_cover", "group", "date"])
    assert {by: set(names) for by, names in groups_of(bare).items()}["month"] == {""}


def test_what_maps_with_few_statistics_say_stands(tmp_path):
    nothing = dict.fromkeys(("q25", "q50", "q75", "std"), np.nan)
    table = honest(tmp_path / "m.parquet", **nothing)
    lai = score_matchups(tmp_path / "m.parquet").scores["lai"]
    inside = (table["value"] >= table["q05"]) & (table["value"] <= table["q95"])
    assert lai["coverage90"].value == pytest.approx(inside.mean())
    assert np.isnan(lai["crps"].value) and np.isnan(lai["log_score"].value)
    assert np.isfinite(lai["interval90"].value)


def test_nothing_matched_and_plain_values(tmp_path):
    honest(tmp_path / "m.parquet", status="outside every scene")
    found = score_matchups(tmp_path / "m.parquet")
    assert (found.scores, found.pit, found.values()) == ({}, {}, {})
    honest(tmp_path / "m.parquet")
    found = score_matchups(tmp_path / "m.parquet")
    text = json.dumps([plain(found.scores), intervals(found.scores)], allow_nan=False)
    assert "rmse_constant" in text and "rmse_constant" not in json.dumps(intervals(found.scores))
