"""Scores against values worked out by hand or known in closed form."""

import math

import numpy as np
import pytest

from canopyflow.evaluation.scores import metrics

TRUTH = np.array([1.0, 2.0, 3.0, np.nan])
ESTIMATE = np.array([2.0, 2.0, 1.0, 9.0])


def test_point_scores_leave_out_nan_pairs():
    assert metrics.score(TRUTH, {"mean": ESTIMATE}, "lai")["n"] == 3
    assert metrics.rmse(TRUTH, ESTIMATE) == pytest.approx(math.sqrt(5 / 3))
    assert metrics.bias(TRUTH, ESTIMATE) == pytest.approx(-1 / 3)
    assert metrics.mae(TRUTH, ESTIMATE) == pytest.approx(1.0)
    assert metrics.r2(TRUTH, ESTIMATE) == pytest.approx(1 - 5 / 2)


def test_bias_is_estimate_minus_truth():
    assert metrics.bias(np.zeros(2), np.ones(2)) == 1.0


def test_constant_predictor_is_what_r2_is_measured_against():
    truth = np.array([1.0, 3.0, 8.0])
    constant = np.full(3, truth.mean())
    assert metrics.r2(truth, constant) == pytest.approx(0.0)
    assert metrics.rmse(truth, constant) == pytest.approx(metrics.rmse_constant(truth))


def test_nothing_left_gives_nan_and_no_warning():
    empty = np.full(3, np.nan)
    summary = dict.fromkeys(("mean", *metrics.QUANTILES), empty)
    scores = metrics.score(empty, summary, "lai")
    assert scores.pop("n") == 0
    assert all(math.isnan(value) for value in scores.values())


def test_coverage_counts_the_edges_as_inside():
    lower, upper = np.zeros(4), np.ones(4)
    assert metrics.coverage(np.array([0.0, 1.0, 1.1, np.nan]), lower, upper) == pytest.approx(2 / 3)
    assert metrics.width(lower, upper) == 1.0


# CRPS of a standard Gaussian forecast at its centre: (sqrt(2) - 1) / sqrt(pi).
# Gneiting & Raftery 2007, eq. 21.
EXACT = (math.sqrt(2) - 1) / math.sqrt(math.pi)


def test_crps_of_samples_against_the_closed_form():
    draws = np.random.default_rng(0).standard_normal((200_000, 1))
    assert metrics.crps_from_samples(np.zeros(1), draws) == pytest.approx(EXACT, abs=3e-3)


def test_crps_of_samples_is_fair_with_two_draws():
    rng = np.random.default_rng(1)
    few = metrics.crps_from_samples(np.zeros(200_000), rng.standard_normal((2, 200_000)))
    assert few == pytest.approx(EXACT, abs=5e-3)


def test_crps_of_five_quantiles_is_near_the_closed_form_and_ranks():
    z = {0.05: -1.6449, 0.25: -0.6745, 0.5: 0.0, 0.75: 0.6745, 0.95: 1.6449}
    truth = np.random.default_rng(2).standard_normal(50_000)

    def crps(scale, shift):
        return metrics.crps_from_quantiles(
            truth, {p: np.full_like(truth, shift + scale * q) for p, q in z.items()}
        )

    assert crps(1.0, 0.0) == pytest.approx(1 / math.sqrt(math.pi), rel=0.06)
    assert crps(1.0, 0.0) < min(crps(0.4, 0.0), crps(2.5, 0.0), crps(1.0, 0.7))


def test_interval_score_is_the_width_and_ten_times_what_is_outside():
    truth, low, high = np.array([2.0, 5.0, 0.5, np.nan]), np.full(4, 1.0), np.full(4, 4.0)
    assert metrics.interval90(truth, low, high) == pytest.approx((3 + 23 + 13) / 3)


def test_gcos_with_label_error_asks_95_of_100_labels_of_an_estimate_that_just_meets_it():
    """Errors of the estimate with half the requirement as standard deviation, and of the label on top."""
    rng = np.random.default_rng(0)
    truth = np.full(200_000, 4.0)
    estimate = rng.normal(truth, 0.4)
    assert metrics.gcos_share(truth, estimate) == pytest.approx(0.9545, abs=0.002)
    # The requirement is taken at the label, which spreads; at the truth it would be met by 0.9545.
    label = rng.normal(truth, 0.3)
    assert metrics.gcos_share(label, estimate, 0.3) == pytest.approx(0.9545, abs=0.003)
    assert metrics.gcos_share(label, estimate) < 0.9
    assert math.isnan(metrics.gcos_share(np.array([np.nan]), np.array([1.0])))
    assert "gcos_threshold" in metrics.score(truth, {"mean": estimate}, "gai")
    assert "gcos_threshold" not in metrics.score(truth, {"mean": estimate}, "ccc")


def test_gcos_share_uses_the_absolute_floor_for_sparse_canopies():
    truth = np.array([0.2, 0.2, 4.0, 4.0])
    estimate = np.array([0.29, 0.35, 4.7, 5.0])
    assert metrics.gcos_share(truth, estimate) == 0.5


@pytest.mark.parametrize(
    "names", [("mean",), ("q05", "q50", "q95"), ("q50",), (), ("mean", *metrics.QUANTILES)]
)
def test_pooled_scores_are_those_of_all_pairs_whatever_statistics_there_are(names):
    """Two parts: in one the intervals cover every truth, in the other none."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 2, 60)
    every = {"mean": truth + 0.1} | {name: truth + p - 0.5 for name, p in metrics.QUANTILES.items()}
    summary = {name: np.where(np.arange(60) < 20, every[name], every[name] + 9) for name in names}
    whole = metrics.score(truth, summary, "lai")
    parts = [
        metrics.score_part(truth[some], {name: value[some] for name, value in summary.items()}, "lai")
        for some in (slice(0, 20), slice(20, 60))
    ]
    assert metrics.pooled(parts) == pytest.approx(whole, nan_ok=True)
    assert whole["n"] == (60 if names else 0)
    if "q05" in names:
        assert whole["coverage90"] == pytest.approx(1 / 3)
