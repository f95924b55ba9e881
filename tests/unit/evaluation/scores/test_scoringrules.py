"""Every score against another implementation: the package `scoringrules`."""

import sys

import numpy as np
import pytest
import torch
from scipy.stats import norm

from canopyflow.evaluation.scores import metrics
from canopyflow.evaluation.scores.joint import energy_score
from canopyflow.evaluation.scores.predictive import _HERMITE, Predictive, interval_score
from canopyflow.vocabulary import QUANTILES

G = np.random.default_rng(0)
N = 50
MEAN, STD = G.uniform(1, 5, N), G.uniform(0.3, 0.9, N)
TRUTH = G.normal(MEAN, 2 * STD)
DRAWS = G.normal(MEAN, STD, (40, N))
SUMMARY = {name: norm.ppf(level, MEAN, STD) for name, level in QUANTILES.items()}


@pytest.fixture(scope="module")
def sr():
    """Without its compiled backend, which takes longer to import than all of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "numba", None)
        import scoringrules
    return scoringrules


def test_crps_of_draws(sr):
    theirs = sr.crps_ensemble(TRUTH, DRAWS, m_axis=0, estimator="fair", backend="numpy")
    assert metrics.crps_from_samples(TRUTH, DRAWS) == pytest.approx(theirs.mean())


def test_crps_of_quantiles_is_twice_the_integral_of_their_quantile_scores(sr):
    levels = [0.0, *sorted(QUANTILES.values()), 1.0]
    losses = [sr.quantile_score(TRUTH, SUMMARY[name], level) for name, level in QUANTILES.items()]
    integral = np.trapezoid([0 * TRUTH, *losses, 0 * TRUTH], levels, axis=0)
    ours = metrics.crps_from_quantiles(TRUTH, {level: SUMMARY[name] for name, level in QUANTILES.items()})
    assert ours == pytest.approx(2 * integral.mean())


@pytest.mark.parametrize("error", [0.0, 0.3])
def test_crps_of_a_measurement(sr, error):
    theirs = sr.crps_normal(TRUTH, MEAN, np.hypot(STD, error), backend="numpy")
    np.testing.assert_allclose(Predictive.of(SUMMARY, error).crps(TRUTH), theirs, rtol=0.03, atol=1e-3)


@pytest.mark.parametrize("error", [0.0, 0.1, 2.0])
def test_log_score(sr, error):
    theirs = sr.logs_normal(TRUTH, MEAN, np.hypot(STD, error), backend="numpy")
    np.testing.assert_allclose(Predictive.of(SUMMARY, error).log_score(TRUTH), theirs, rtol=1e-9)


def test_log_score_of_a_bent_posterior_with_error(sr):
    """The mean over 40 points is a mixture of normals."""
    bent = {name: np.exp(0.5 * norm.ppf(level)) * MEAN for name, level in QUANTILES.items()}
    law = Predictive.of(bent, 5.0)
    points, weights = _HERMITE
    theirs = sr.logs_mixnorm(
        TRUTH, law._at_scores(points).T, np.full((N, len(points)), 5.0),
        np.broadcast_to(weights / weights.sum(), (N, len(points))), backend="numpy",
    )  # fmt: skip
    np.testing.assert_allclose(law.log_score(TRUTH), theirs, rtol=1e-9)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_interval_score(sr, level):
    low, high = norm.ppf([[0.5 - level / 2], [0.5 + level / 2]], MEAN, STD)
    theirs = sr.interval_score(TRUTH, low, high, 1 - level)
    np.testing.assert_allclose(interval_score(TRUTH, low, high, level), theirs)
    np.testing.assert_allclose(Predictive.of(SUMMARY).interval_score(TRUTH, level), theirs)
    assert metrics.interval90(TRUTH, SUMMARY["q05"], SUMMARY["q95"]) == pytest.approx(
        sr.interval_score(TRUTH, SUMMARY["q05"], SUMMARY["q95"], 0.1).mean()
    )


def test_energy_score(sr):
    truth, draws = G.normal(size=(N, 3)), G.normal(size=(40, N, 3))
    theirs = sr.es_ensemble(truth, draws, m_axis=0, v_axis=-1, estimator="fair", backend="numpy")
    ours = energy_score(torch.from_numpy(draws), torch.from_numpy(truth))
    assert ours == pytest.approx(theirs.mean())
