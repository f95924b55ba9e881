"""Coupling keeps every pixel's posterior, and gives the mean the spread that the correlation says."""

import numpy as np
import pytest

from canopyflow.inference.parcels.coupling import area_mean, coupled, own_scores
from canopyflow.inference.parcels.extract import statistics

K = 4000


@pytest.fixture
def draws():
    return np.random.default_rng(3).gamma(2.0, size=(500, 7))


@pytest.mark.parametrize("rho", [0.0, 0.4, 1.0])
def test_every_pixel_keeps_its_draws_bit_for_bit(draws, rho):
    out = coupled(draws, rho, own_scores(*draws.shape, seed=1))
    np.testing.assert_array_equal(np.sort(out, axis=0), np.sort(draws, axis=0))


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.8, 1.0])
def test_of_normal_posteriors_the_mean_has_the_spread_of_the_closed_form(rho):
    n, sigma = 12, 0.7
    draws = 2.0 + sigma * np.random.default_rng(0).standard_normal((K, n))
    found = area_mean(draws, np.ones(n), rho, own_scores(K, n, seed=5)).std()
    expected = sigma * np.sqrt(rho + (1.0 - rho) / n)
    assert found == pytest.approx(expected, rel=0.03)


def test_with_weights_too():
    weights, rho = np.array([1.0, 0.25, 0.5, 0.1]), 0.5
    draws = np.random.default_rng(0).standard_normal((K, 4))
    share = weights / weights.sum()
    expected = np.sqrt(rho + (1 - rho) * (share**2).sum())
    assert area_mean(draws, weights, rho, own_scores(K, 4, seed=2)).std() == pytest.approx(expected, rel=0.03)


def test_with_correlation_one_quantiles_of_the_mean_are_means_of_the_quantiles(draws):
    weights = np.linspace(0.2, 1.0, 7)
    mean = area_mean(draws, weights, 1.0, own_scores(*draws.shape, seed=1))
    expected = np.quantile(draws, (0.05, 0.5, 0.95), axis=0) @ (weights / weights.sum())
    np.testing.assert_allclose(np.quantile(mean, (0.05, 0.5, 0.95)), expected, rtol=1e-12)
    said = statistics(draws, weights, 1.0, own_scores(*draws.shape, seed=1))
    assert (said["q05"], said["q95"]) == pytest.approx((said["averaged_q05"], said["averaged_q95"]))


def test_with_correlation_zero_pixels_are_as_independent_as_their_draws(draws):
    said = statistics(draws, np.ones(7), 0.0, own_scores(*draws.shape, seed=1))
    wide = said["averaged_q95"] - said["averaged_q05"]
    assert said["q95"] - said["q05"] == pytest.approx(
        said["independent_q95"] - said["independent_q05"], rel=0.1
    )
    assert said["q95"] - said["q05"] < 0.5 * wide


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_one_pixel_is_its_own_posterior(rho):
    draws = np.random.default_rng(0).gamma(2.0, size=(200, 1))
    said = statistics(draws, np.array([0.3]), rho, own_scores(200, 1, seed=9))
    assert said["mean"] == pytest.approx(draws.mean())
    assert said["q05"] == pytest.approx(np.quantile(draws, 0.05))
    assert said["averaged_q95"] == said["independent_q95"] == pytest.approx(said["q95"])
