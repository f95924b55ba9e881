"""The page of models: costs, scores and distances, side by side."""

import json

import pandas as pd

from canopyflow.evaluation.pages.models import BLOCKS, COLUMNS, compare_models


def test_the_page_of_families_shows_every_column_once():
    order = list(COLUMNS)
    shown = [c for first, last in BLOCKS.values() for c in order[order.index(first) : order.index(last) + 1]]
    assert shown == order


def test_field_plots_have_their_blocks_where_they_measured_something(tmp_path):
    plots = {
        "gai": {"rmse": 1.12, "bias": -0.4, "crps_label": 0.6, "coverage90": 0.42, "coverage90_label": None}
    }
    result = {"model": "nsf", "seeds": 2, "scores": {"simulations": {}, "plots": plots}, "spread": {}}
    (tmp_path / "a.json").write_text(json.dumps(result | {"against": {}, "against_spread": {}}))
    (tmp_path / "nsf").mkdir()
    (tmp_path / "nsf/seed0.json").write_text(json.dumps({"parameters": 7.0}))
    compare_models(
        [tmp_path / "a.json"], [tmp_path / "nsf/seed0.json"], tmp_path / "t.csv", tmp_path / "t.html"
    )
    row = pd.read_csv(tmp_path / "t.csv").iloc[0]
    assert (row["gai_plots_rmse"], row["gai_plots_coverage90"]) == (1.12, 0.42)
    assert pd.isna(row["gai_plots_coverage90_label"]) and pd.isna(row["lai_plots_rmse"])
    page = (tmp_path / "t.html").read_text()
    assert "Green area on field plots" in page and "Leaf area on field plots" not in page
    assert "<td>1.120</td><td>-0.400</td><td>0.600</td><td>0.42</td></tr>" in page
