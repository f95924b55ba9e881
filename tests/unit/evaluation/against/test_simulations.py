"""Calibration on held-back simulations, where the posterior is known."""

import numpy as np
import pytest
import torch
from linear_model import NOISE, LinearModel, write_linear

from canopyflow.errors import DataError
from canopyflow.evaluation.against import simulations as calibration
from canopyflow.vocabulary import DERIVED, VARIABLES


@pytest.fixture
def simulations(tmp_path):
    return write_linear(tmp_path / "test.zarr")


def run(monkeypatch, simulations, model, **options):
    monkeypatch.setattr(calibration, "model_of", lambda folder: model)
    settings = {"n": 2000, "samples": 199, "seed": 0} | options
    return calibration.evaluate_simulations(simulations.parent, simulations, **settings)


def test_an_exact_posterior_is_calibrated(monkeypatch, simulations):
    result = run(monkeypatch, simulations, LinearModel())
    for scored in (result["scores"], result["coverage"], result["ranks"]):
        assert list(scored) == [variable.name for variable in (*VARIABLES, *DERIVED)]
    for name in ("N", "cab", "rsoil", "ccc", "fapar"):
        for level, share in result["coverage"][name].items():
            assert share == pytest.approx(float(level), abs=0.045), (name, level)
        assert sum(result["ranks"][name]) == 2000
        assert max(abs(c - 100) for c in result["ranks"][name]) < 45
    exact = NOISE / np.sqrt(1 + NOISE**2)
    assert result["scores"]["N"]["rmse"] == pytest.approx(exact, rel=0.06)
    assert result["scores"]["N"]["width90"] == pytest.approx(2 * 1.645 * exact, rel=0.03)
    # Of a normal posterior that is right: its entropy, and 4.125 standard deviations.
    entropy = 0.5 * np.log(2 * np.pi * np.e) + np.log(exact)
    assert result["scores"]["N"]["log_score"] == pytest.approx(entropy, abs=0.06)
    assert result["scores"]["N"]["interval90"] == pytest.approx(4.125 * exact, rel=0.06)
    assert result["scores"]["rsoil"]["r2"] == pytest.approx(0.0, abs=0.02)


def test_a_posterior_too_sure_of_itself_is_found_out(monkeypatch, simulations):
    result = run(monkeypatch, simulations, LinearModel(scale=0.5))
    assert result["scores"]["N"]["coverage90"] < 0.7
    ranks = result["ranks"]["N"]
    assert ranks[0] > 200 < ranks[-1]


def test_same_seed_same_scores_and_the_caller_keeps_its_random_state(monkeypatch, simulations):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = run(monkeypatch, simulations, LinearModel(), n=300)
    assert torch.rand(1) == expected
    assert run(monkeypatch, simulations, LinearModel(), n=300) == first
    assert run(monkeypatch, simulations, LinearModel(), n=300, seed=1) != first


def test_simulations_without_a_band_or_platform_of_the_model(monkeypatch, simulations):
    model = LinearModel()
    model.bands = ("B02", "B8A")
    with pytest.raises(DataError, match="band B8A"):
        run(monkeypatch, simulations, model)
    model = LinearModel()
    model.platforms = ("S2A", "S2C")
    with pytest.raises(DataError, match="platform S2B"):
        run(monkeypatch, simulations, model)


def test_coverage_is_exact_for_few_draws():
    rng = np.random.default_rng(1)
    truth, draws = rng.standard_normal(40_000), rng.standard_normal((19, 40_000))
    scores, coverage, _ = calibration.calibrate(truth, draws, "lai")
    assert coverage["0.9"] == scores["coverage90"] == pytest.approx(0.9, abs=0.006)


def test_ranks_of_a_perfect_posterior_are_flat_for_any_number_of_draws():
    rng = np.random.default_rng(2)
    for k in (5, 47, 100):
        counts = calibration.rank_histogram(rng.random(40_000), rng.random((k, 40_000)))
        assert sum(counts) == 40_000
        assert max(counts) / min(counts) < 1.2
