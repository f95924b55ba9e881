"""The command line, run as a user runs it."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from untrained import untrained_bundle

from canopyflow.config.files import DEMO
from canopyflow.vocabulary import BANDS


def canopyflow(*arguments, fails=False):
    done = subprocess.run(
        [sys.executable, "-c", "from canopyflow.cli import app; app()", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """An untrained model, saved."""
    folder = tmp_path_factory.mktemp("models") / "untrained"
    return untrained_bundle(folder, family="truncated_normal", platforms=("S2A",))


def test_scores_are_recorded_for_a_model_that_is_named(tmp_path):
    said = canopyflow("models", "--record", "a set", tmp_path / "scores.json", fails=True)
    assert "scores are recorded for one model" in said


def test_families_are_listed():
    output = canopyflow("families")
    assert "truncated_normal" in output
    assert "nsf" in output


@pytest.mark.slow
def test_simulated_spectra_go_straight_into_predict(tmp_path, bundle):
    spectra, posterior = tmp_path / "spectra.parquet", tmp_path / "posterior.csv"
    canopyflow("simulate", spectra, "--n", 50, "--sensor", "S2A", "--seed", 3)
    canopyflow("predict", spectra, "--model", bundle, "--out", posterior, "--samples", 40)
    table = pd.read_csv(posterior)
    assert table["id"].tolist() == pd.read_parquet(spectra)["id"].tolist()
    assert (table["lai_q05"] <= table["lai_q95"]).all()
    assert {"ccc_mean", "cwc_std", "fit", "flags"} <= set(table.columns)


def test_an_unknown_law_is_refused_with_all_there_are(tmp_path):
    output = canopyflow("simulate", tmp_path / "x.parquet", "--prior", "fields", fails=True)
    assert "did you mean 'field'? known: atbd, field, prosail-vae, uniform" in output


@pytest.mark.slow
def test_a_model_is_scored_on_a_table_of_labels(tmp_path, bundle):
    spectra, scores = tmp_path / "spectra.parquet", tmp_path / "scores.json"
    canopyflow("simulate", spectra, "--n", 30, "--sensor", "S2A", "--seed", 3)
    labels = ["--measured", "lai=lai", "--model", bundle, "--samples", 40]
    output = canopyflow("score", spectra, *labels, "--out", scores, "--rows", tmp_path / "rows.csv")
    metrics = json.loads(scores.read_text())["scores"]["untrained"]["lai"]
    assert metrics["n"]["value"] == 30 and "cover 90" in output
    assert len(pd.read_csv(tmp_path / "rows.csv")) == 30
    exact = ["--label-error", 0, 0, "--out", scores]
    canopyflow("score", spectra, *labels, *exact)
    metrics = json.loads(scores.read_text())["scores"]["untrained"]["lai"]
    assert metrics["crps_label"] == metrics["crps"]
    assert "'leaves'" in canopyflow("score", spectra, *labels, "--measured", "gai=leaves", fails=True)


def test_an_error_is_one_line_and_no_traceback(tmp_path, bundle):
    pd.DataFrame({"id": ["a"], "platform": ["S2A"], "B02": [0.05]}).to_csv(tmp_path / "pixels.csv")
    output = canopyflow(
        "predict", tmp_path / "pixels.csv", "--model", bundle, "--out", tmp_path / "o.csv", fails=True
    )
    assert "Traceback" not in output
    assert len(output.strip().splitlines()) == 1
    assert "B03" in output


def test_a_campaign_file_is_checked(tmp_path):
    import yaml

    good, bad, cut = (tmp_path / f"{name}.yaml" for name in ("good", "bad", "cut"))
    good.write_text(yaml.safe_dump(DEMO))
    season = {"models": {"season": {"family": "nsf", "dynamics": "season_gp"}}}
    cut.write_text(yaml.safe_dump(DEMO | season))
    bad.write_text(yaml.safe_dump({**DEMO, "familys": ["nsf"]}))
    assert canopyflow("config", "check", good).strip().endswith("is in order")
    first, second = canopyflow("config", "check", cut).strip().splitlines()
    assert first.endswith("is in order") and second.startswith("note: the season of 2021 is cut by period")
    output = canopyflow("config", "check", bad, fails=True)
    assert "familys: unknown key; did you mean 'families'?" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_predict_refines_on_request(bundle, tmp_path):
    row = {"id": "a", "platform": "S2A", **dict.fromkeys(BANDS, 0.2)}
    row |= {"sun_zenith": 40.0, "view_zenith": 5.0, "relative_azimuth": 100.0}
    pd.DataFrame([row]).to_csv(tmp_path / "in.csv", index=False)
    given = ("predict", tmp_path / "in.csv", "--model", bundle, "--out", tmp_path / "out.csv")
    refining = ("--refine", "importance", "--proposals", 200, "--least-ess", 200)
    canopyflow(*given, *refining)
    (result,) = pd.read_csv(tmp_path / "out.csv").to_dict("records")
    assert 1 <= result["ess"] < 200
    assert result["flags"] & 8
    assert "refinement 'some' is unknown" in canopyflow(*given, "--refine", "some", fails=True)
