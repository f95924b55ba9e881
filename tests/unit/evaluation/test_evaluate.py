"""Scores from every source, over seeds and workers, and the tables made of them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from linear_model import LinearModel, write_linear
from synthetic_product import write_product, write_truth
from untrained import untrained_bundle

from canopyflow.evaluation.against import reference, reference_posterior
from canopyflow.evaluation.against import simulations as calibration
from canopyflow.evaluation.against.reference_posterior import Pixels, ReferenceOptions, write_reference
from canopyflow.evaluation.evaluate import Files, evaluate
from canopyflow.evaluation.figures.calibration_curves import draw_coverage
from canopyflow.evaluation.figures.comparison import draw_comparison
from canopyflow.evaluation.pages.comparison import METRICS, compare, format_table
from canopyflow.evaluation.pages.models import compare_models
from canopyflow.evaluation.score import Scoring, score_seed
from canopyflow.evaluation.tables import GROUP
from canopyflow.inference.allocation import Allocation, spread
from canopyflow.models.simulate import Survey, simulate
from canopyflow.vocabulary import BANDS

PLATFORMS = ("S2A", "S2B")


@pytest.fixture
def simulations(tmp_path):
    return write_linear(tmp_path / "test.zarr")


def matchups(path, rows=20):
    value = np.linspace(1, 5, rows)
    frame = pd.DataFrame(
        {
            "variable": "lai",
            "value": value,
            "status": "ok",
            "mean": value + 0.5,
            "std": 0.3,
            "q05": value - 0.5,
            "q25": value + 0.2,
            "q50": value + 0.5,
            "q75": value + 0.8,
            "q95": value + 1.0,
            "uncertainty": np.nan,
            "error": 0.5,
            "site": "",
            "group": "",
            "plot_id": [f"p{i}" for i in range(rows)],
            "lon": 9.0,
            "lat": 47.0,
            "date": pd.to_datetime(["2022-05-01", "2022-06-01"] * (rows // 2)),
            "land_cover": ["wheat", "wheat", "maize", ""] * (rows // 4),
        }
    )
    frame.loc[0, ["status", "mean"]] = ["outside every scene", 99.0]
    frame.to_parquet(path)
    return path


def seed_file(path, simulations, seed=0):
    """What ``score_seed`` writes, without a reference posterior."""
    result = calibration.evaluate_simulations(simulations.parent, simulations, n=400, samples=99, seed=seed)
    against = {"simulations": result.pop("joint")}
    scores = result.pop("scores")
    path.write_text(
        json.dumps({"bundle_sha256": "b", "calibration": result, "scores": scores, "against": against})
    )
    return path


def test_seeds_are_joined_to_mean_and_spread(monkeypatch, tmp_path, simulations):
    monkeypatch.setattr(calibration, "model_of", lambda folder: LinearModel(1.0))
    seeds = [seed_file(tmp_path / f"seed{i}.json", simulations, seed=i) for i in range(3)]
    result = evaluate(
        "nsf", seeds=seeds, products=[], matchups=None, truth=None,
        out=Files(tmp_path / "nsf.json", tmp_path / "nsf.csv", tmp_path / "groups.csv"),
    )  # fmt: skip
    each = [json.loads(path.read_text())["scores"]["lai"]["rmse"] for path in seeds]
    assert result["scores"]["simulations"]["lai"]["rmse"] == pytest.approx(np.mean(each))
    assert result["spread"]["lai"]["rmse"] == pytest.approx(np.std(each, ddof=1))
    costs = [tmp_path / "nsf" / f"seed{i}.json" for i in range(3)]
    costs[0].parent.mkdir()
    for i, path in enumerate(costs):
        path.write_text(json.dumps({"parameters": 7.0, "seconds_per_million": 10.0 + i}))
    compare_models([tmp_path / "nsf.json"], costs, tmp_path / "f.csv", tmp_path / "f.html")
    row = pd.read_csv(tmp_path / "f.csv").iloc[0]
    assert (row["seeds"], row["seconds_per_million"], row["seconds_per_million_sd"]) == (3, 11.0, 1.0)
    assert row["lai_rmse"] == pytest.approx(np.mean(each), rel=1e-5)
    assert np.isnan(row["c2st"])
    assert "11 ± 1" in (tmp_path / "f.html").read_text(encoding="utf-8")


def test_evaluate_and_compare_from_end_to_end(monkeypatch, tmp_path, simulations):
    store = write_product(tmp_path / "products" / "32TMT" / "2022-05.zarr", ["2022-05-01T10:00"])
    write_truth(tmp_path / "truth", "S2A_32TMT_2022-05-01", "lai", np.full((4, 6), 1.0))
    files = []
    for family, scale in (("truncated_normal", 0.5), ("nsf", 1.0)):
        monkeypatch.setattr(calibration, "model_of", lambda folder, scale=scale: LinearModel(scale))
        files.append(tmp_path / f"{family}.json")
        evaluate(
            family,
            seeds=[seed_file(tmp_path / "seed0.json", simulations)],
            products=[store],
            matchups=matchups(tmp_path / "m.parquet"),
            truth=tmp_path / "truth",
            corrections=["variance"],
            out=Files(files[-1], tmp_path / f"{family}.csv", tmp_path / f"{family}_groups.csv"),
        )
    plots = json.loads(files[0].read_text())["scores"]["plots"]["lai"]
    assert (plots["n"], plots["coverage50"], plots["coverage90"]) == (19, 0.0, 1.0)
    assert plots["rmse"] == pytest.approx(0.5)
    # Labels half a unit below posteriors whose quartiles are 0.3 away: outside, unless it is their error.
    assert plots["coverage50_label"] == 1.0
    assert plots["crps_label"] < plots["crps"] and plots["width90_label"] > plots["width90"]
    assert json.loads(files[0].read_text())["corrections"]["refused"] == {
        "lai": "labels of 1 sites, fewer than 3"
    }
    long = pd.read_csv(tmp_path / "nsf.csv")
    assert list(long.columns) == ["model", "source", "variable", "metric", "value", "low", "high"]
    assert long["value"].notna().all()
    r2 = long[(long["source"] == "plots") & (long["metric"] == "r2")].iloc[0]
    assert r2["low"] < r2["value"] < r2["high"]
    assert long.loc[long["source"] != "plots", ["low", "high"]].isna().all(None)
    groups = pd.read_csv(tmp_path / "nsf_groups.csv", dtype={"group": str})
    assert list(groups.columns) == list(GROUP)
    counted = groups[groups["metric"] == "n"].set_index(["by", "group"])["value"]
    # The first row has no match.
    assert counted.to_dict() == {
        ("site", "around p1"): 19, ("class", "maize"): 5, ("class", "wheat"): 9, ("month", "05"): 9,
        ("month", "06"): 10,
    }  # fmt: skip
    assert sum(json.loads(files[0].read_text())["pit"]["plots"]["lai"]["label"]) == 19

    table = compare(files, tmp_path / "table.csv", tmp_path / "table.html")
    assert list(table.columns) == ["source", "variable", "model", *METRICS]
    assert table["source"].unique().tolist() == ["simulations", "maps", "plots"]
    lai = table[(table["source"] == "simulations") & (table["variable"] == "lai")]
    assert lai["model"].tolist() == ["nsf", "truncated_normal"]
    text = format_table(tmp_path / "table.csv")
    assert "Field plots" in text and "truncated_normal" in text
    assert "µg cm⁻²" in (tmp_path / "table.html").read_text(encoding="utf-8")
    before = (tmp_path / "table.csv").read_bytes()
    compare(files[::-1], tmp_path / "table.csv", tmp_path / "table.html")
    assert (tmp_path / "table.csv").read_bytes() == before


def test_a_campaign_without_a_clear_pixel_is_scored_on_simulations(
    monkeypatch, tmp_path, simulations, caplog
):
    masked = np.ones((1, 4, 6), bool)
    store = write_product(tmp_path / "32TMT" / "2022-05.zarr", ["2022-05-01T10:00"], masked=masked)
    write_truth(tmp_path / "truth", "S2A_32TMT_2022-05-01", "lai", np.full((4, 6), 1.0))
    monkeypatch.setattr(calibration, "model_of", lambda folder: LinearModel(1.0))
    with caplog.at_level("INFO", logger="canopyflow"):
        evaluate(
            "nsf",
            seeds=[seed_file(tmp_path / "seed0.json", simulations)],
            products=[store],
            matchups=None,
            truth=tmp_path / "truth",
            out=Files(tmp_path / "nsf.json", tmp_path / "nsf.csv", tmp_path / "groups.csv"),
        )
    assert "nsf on maps, lai: no clear pixel to compare" in caplog.text
    assert "nan" not in caplog.text
    maps = json.loads((tmp_path / "nsf.json").read_text())["scores"]["maps"]["lai"]
    assert maps.pop("n") == 0
    assert set(maps.values()) == {None}
    compare([tmp_path / "nsf.json"], tmp_path / "table.csv", tmp_path / "table.html")
    assert "–" in format_table(tmp_path / "table.csv")
    assert pd.read_csv(tmp_path / "groups.csv").empty
    draw_comparison(tmp_path / "table.csv", tmp_path / "families.png")
    draw_coverage(tmp_path / "nsf.json", tmp_path / "coverage.png")


@pytest.mark.slow
def test_references_and_scores_do_not_depend_on_the_number_of_workers(tmp_path, monkeypatch):
    simulate(
        tmp_path / "test.zarr", Survey((20, 40), (0, 5)), n=150, bands=BANDS, platforms=PLATFORMS, seed=0,
        options={"prior": "uniform"},
    )  # fmt: skip
    bundle = untrained_bundle(tmp_path / "seed0")
    # Two groups, hence two tasks.
    monkeypatch.setattr(reference_posterior, "_GROUP", 1)
    # A cost is no part of what has to be the same.
    monkeypatch.setattr(reference, "_TIMED", 16)
    with spread(Allocation(1)) as one, spread(Allocation(2)) as two:
        for name, over in (("one", one), ("two", two)):
            write_reference(
                tmp_path / name, Pixels("simulations", tmp_path / "test.zarr", 2), ReferenceOptions(100, 1),
                bands=BANDS, platforms=PLATFORMS, over=over,
                generative_options={"prior": "uniform", "noise": {"additive_independent": 0.2}},
            )  # fmt: skip
        assert contents(tmp_path / "one") == contents(tmp_path / "two")
        # The chains of this test are too short to be believed, and are to be scored nevertheless.
        zarr.open_group(tmp_path / "one", mode="r+")["reliable"][:] = True
        for name, over in (("one", one), ("two", two)):
            score_seed(
                bundle,
                Scoring(n=150, samples=50, seed=0),
                simulations=tmp_path / "test.zarr",
                references={"simulated": tmp_path / "one"},
                out=tmp_path / f"{name}.json",
                cost_out=tmp_path / "cost.json",
                over=over,
            )
    scores = json.loads((tmp_path / "one.json").read_text())
    assert scores["against"]["simulated"]["pixels"] == 2
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
