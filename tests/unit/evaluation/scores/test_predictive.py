"""The distribution of a measurement: closed forms, and what a product's quantiles leave open."""

import numpy as np
import pytest
from scipy.stats import norm

from canopyflow.evaluation.scores.predictive import BINS, Predictive, interval_scores, pit_histogram
from canopyflow.vocabulary import QUANTILES

MEAN, STD = np.array([1.0, 4.0, -2.0]), np.array([0.5, 1.0, 0.01])
MEASURED = np.array([1.4, 1.9, -2.0])


def normal(error=0.0, names=tuple(QUANTILES)):
    return Predictive.of({name: norm.ppf(QUANTILES[name], MEAN, STD) for name in names}, error)


def crps_of_normal(y, mean, std):
    z = (y - mean) / std
    return std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))


@pytest.mark.parametrize("error", [0.0, 0.02, 0.7])
@pytest.mark.parametrize("names", [tuple(QUANTILES), ("q05", "q50", "q95")])
def test_a_normal_posterior_with_normal_error_is_a_wider_normal(error, names):
    law, wide = normal(error, names), np.hypot(STD, error)
    # The nodes lack the outermost half per cent on each side.
    np.testing.assert_allclose(law.probability(MEASURED), norm.cdf(MEASURED, MEAN, wide), atol=6e-3)
    np.testing.assert_allclose(law.crps(MEASURED), crps_of_normal(MEASURED, MEAN, wide), rtol=0.01)
    for level in (0.5, 0.8, 0.9, 0.95):
        np.testing.assert_allclose(law.width(level), 2 * wide * norm.ppf(0.5 + level / 2), rtol=0.02)
        inside = np.abs(MEASURED - MEAN) <= wide * norm.ppf(0.5 + level / 2)
        assert law.inside(MEASURED, level).tolist() == inside.tolist()


def test_quantiles_are_met_exactly_and_read_off_between_and_beyond():
    """A lognormal, which is bent in normal scores: ends of 80 and 95 % within a percent and a half of their
    level."""
    of = {name: np.exp(0.5 * norm.ppf([level])) for name, level in QUANTILES.items()}
    law = Predictive.of(of)
    for name, level in QUANTILES.items():
        np.testing.assert_allclose(law.quantile(level), of[name], rtol=1e-12)
        np.testing.assert_allclose(law.probability(of[name]), level, rtol=1e-9)
    for level in (0.1, 0.9, 0.025, 0.975):
        assert norm.cdf(2 * np.log(law.quantile(level))) == pytest.approx(level, abs=0.015)


def test_the_ends_of_an_interval_belong_to_it():
    ends = norm.ppf([0.05, 0.95], MEAN[0], STD[0])
    law = Predictive(*(lambda p: (p.levels, p.values[:, [0, 0]], p.error[:2]))(normal()))
    assert law.inside(ends, 0.9).tolist() == [1, 1]
    assert law.inside(ends + np.array([-1e-6, 1e-6]), 0.9).tolist() == [0, 0]


def test_a_posterior_on_one_point():
    law = Predictive.of({name: np.full(3, 0.1) for name in QUANTILES})
    assert law.inside(np.array([0.1, 0.2, 0.0]), 0.5).tolist() == [1, 0, 0]
    assert law.probability(np.array([0.1, 0.2, 0.0])).tolist() == [0.5, 1.0, 0.0]
    np.testing.assert_allclose(law.crps(np.array([0.1, 0.2, 0.0])), [0, 0.1, 0.1], atol=1e-12)
    # One side on the bound: half of the posterior is zero, and zero is inside of every interval.
    bound = {name: np.array([value]) for name, value in zip(QUANTILES, (0, 0, 0, 0.5, 1.0), strict=True)}
    assert Predictive.of(bound).inside(np.array([0.0]), 0.1).tolist() == [1]
    assert Predictive.of(bound).inside(np.array([0.9]), 0.5).tolist() == [0]


def test_without_quantiles_it_is_normal_and_without_anything_nan():
    law = Predictive.of({"mean": MEAN, "std": STD})
    np.testing.assert_allclose(law.quantile(0.975), norm.ppf(0.975, MEAN, STD))
    nothing = Predictive.of({"mean": MEAN, "q50": MEAN}, 0.1)
    assert np.isnan(nothing.crps(MEASURED)).all() and np.isnan(nothing.inside(MEASURED, 0.9)).all()
    some = {name: np.array([1.0, np.nan]) + level for name, level in QUANTILES.items()}
    assert np.isfinite(Predictive.of(some, 0.1).crps(np.ones(2))).tolist() == [True, False]
    assert np.isfinite(Predictive.of(some).width(0.9)).tolist() == [True, False]


def test_moments_are_those_of_the_posterior_and_stretching_leaves_the_error():
    mean, deviation = normal(0.3).moments()
    np.testing.assert_allclose(mean, MEAN, atol=1e-12)
    np.testing.assert_allclose(deviation, STD)
    law = normal(0.3).stretched(np.array([2.0, 1.0, 5.0]), mean)
    np.testing.assert_allclose(law.width(0.9), 2 * norm.ppf(0.95) * np.hypot(STD * [2, 1, 5], 0.3), rtol=0.02)
    np.testing.assert_allclose(law.exact().quantile(0.5), MEAN)


def test_many_rows_are_scored_in_pieces():
    n = 700
    law = Predictive.of({"mean": np.tile(MEAN, n), "std": np.tile(STD, n)}, 0.2)
    np.testing.assert_allclose(law.crps(np.tile(MEASURED, n)), np.tile(normal(0.2).crps(MEASURED), n))


def test_labels_with_their_error_are_covered_as_promised():
    """Truth from the posterior, labels with noise: counted, the error makes coverage nominal; left out, too
    low."""
    g = np.random.default_rng(0)
    n, error = 20_000, g.uniform(0.1, 0.6, 20_000)
    mean, std = g.uniform(1, 5, n), g.uniform(0.2, 0.8, n)
    label = g.normal(g.normal(mean, std), error)
    law = Predictive.of({"mean": mean, "std": std}, error)
    for level in (0.5, 0.8, 0.9, 0.95):
        assert law.inside(label, level).mean() == pytest.approx(level, abs=0.012)
        assert law.exact().inside(label, level).mean() < level - 0.05
    assert law.crps(label).mean() < law.exact().crps(label).mean()


@pytest.mark.parametrize("error", [0.0, 0.001, 0.02, 0.5, 0.7, 5.0])
def test_log_score_of_a_normal_posterior_with_normal_error(error):
    law, wide = normal(error), np.hypot(STD, error)
    for y in (MEASURED, MEAN + 4 * wide, MEAN - 6 * wide):
        np.testing.assert_allclose(law.log_score(y), -norm.logpdf(y, MEAN, wide), rtol=1e-9)


def test_interval_score_of_a_normal_posterior():
    law = normal()
    low, high = norm.ppf([[0.05], [0.95]], MEAN, STD)
    expected = high - low + 20 * np.clip(low - MEASURED, 0, None) + 20 * np.clip(MEASURED - high, 0, None)
    np.testing.assert_allclose(law.interval_score(MEASURED, 0.9), expected)
    wide = np.hypot(STD, 0.5)
    low, high = norm.ppf([[0.25], [0.75]], MEAN, wide)
    expected = high - low + 4 * np.clip(low - MEASURED, 0, None) + 4 * np.clip(MEASURED - high, 0, None)
    np.testing.assert_allclose(normal(0.5).interval_score(MEASURED, 0.5), expected, rtol=0.03)


def test_the_density_of_a_bent_posterior_integrates_to_one():
    of = {name: np.exp(norm.ppf([level])) for name, level in QUANTILES.items()}
    y = np.linspace(-30, 60, 20_001)
    for error in (0.0, 0.05, 0.5, 5.0):
        one = Predictive.of(of, error)
        law = Predictive(one.levels, np.repeat(one.values, len(y), 1), np.full(len(y), error))
        assert np.trapezoid(np.exp(-law.log_score(y)), y) == pytest.approx(1.0, abs=3e-3)
        # Probabilities are the integral of the density.
        below = np.trapezoid(np.where(y < 2, np.exp(-law.log_score(y)), 0), y)
        assert below == pytest.approx(one.probability(np.array([2.0]))[0], abs=7e-3)


def test_log_score_of_a_posterior_without_width():
    point = Predictive.of({name: np.full(2, 0.1) for name in QUANTILES}, np.array([0.0, 0.5]))
    found = point.log_score(np.array([0.1, 0.1]))
    assert np.isnan(found[0]) and found[1] == pytest.approx(-norm.logpdf(0, 0, 0.5))
    # Half of a posterior on its bound: a density there has a limit, and is finite on both sides.
    bound = {name: np.full(3, value) for name, value in zip(QUANTILES, (0, 0, 0, 0.5, 1.0), strict=True)}
    assert np.isfinite(Predictive.of(bound).log_score(np.array([-0.01, 0.0, 2.0]))).all()
    # The honest answer has the better score in the mean.
    scores = interval_scores(np.array([0.1, 0.1]), point)
    assert scores["log_score"] == pytest.approx(found[1])


def test_probabilities_of_right_posteriors_are_uniform_and_of_narrow_ones_are_not():
    g = np.random.default_rng(0)
    n = 20_000
    mean, std, error = g.uniform(1, 5, n), g.uniform(0.2, 0.8, n), g.uniform(0.1, 0.6, n)
    label = g.normal(g.normal(mean, std), error)
    law = Predictive.of({"mean": mean, "std": std}, error)
    counts = np.array(pit_histogram(law.probability(label)))
    assert counts.sum() == n and len(counts) == BINS
    assert ((counts - n / BINS) ** 2 / (n / BINS)).sum() < 43.8  # chi-squared of 19, p = 0.001
    narrow = np.array(pit_histogram(law.exact().probability(label)))
    assert narrow[0] > 2 * n / BINS < narrow[-1]
    assert pit_histogram(np.array([0.0, 1.0, np.nan])) == [1, *[0] * (BINS - 2), 1]
