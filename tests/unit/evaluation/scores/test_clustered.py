"""Intervals and tests over clusters of rows."""

from itertools import product

import numpy as np
import pytest

from canopyflow.evaluation.scores.clustered import bootstrap, codes, paired


def interval_of_mean(values, cluster, draws=4000):
    rows = {"x": values, "n": np.ones_like(values)}
    return bootstrap(rows, cluster, {"mean": lambda s: s["x"] / s["n"]}, seed=0, draws=draws)["mean"]


def test_rows_alone_have_the_interval_of_a_mean():
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = interval_of_mean(values, np.arange(400))
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)


def test_copies_of_a_row_are_no_new_rows():
    """Ten copies of each row, in one cluster: the interval is that of the rows without their copies."""
    values = np.random.default_rng(1).normal(3, 2, 100)
    alone, copied = (interval_of_mean(np.repeat(values, k), np.repeat(np.arange(100), k)) for k in (1, 10))
    np.testing.assert_allclose(alone, copied)
    independent = interval_of_mean(np.repeat(values, 10), np.arange(1000))
    assert independent.high - independent.low < 0.4 * (copied.high - copied.low)


def test_one_cluster_has_no_interval():
    found = interval_of_mean(np.array([1.0, 2.0]), np.zeros(2, int))
    assert found.value == 1.5 and np.isnan([found.low, found.high]).all()


def test_p_of_few_clusters_is_the_share_of_all_sign_flips():
    first, second = np.array([3.0, 2.0, 5.0, 1.0, 4.0]), np.array([1.0, 1.5, 5.5, 0.0, 4.0])
    cluster = np.array([0, 0, 1, 2, 3])
    sums = [2.5, -0.5, 1.0, 0.0]
    far = [abs(np.dot(s, sums)) >= 3.0 for s in product([-1, 1], repeat=4)]
    found = paired(first, second, cluster, seed=0)
    assert found.p == pytest.approx(np.mean(far)) and found.clusters == 4
    assert found.value == pytest.approx(0.6)


def test_p_is_uniform_without_a_difference_and_small_with_one():
    """Rows of a cluster differ alike: tested as if independent, p would be far too small."""
    g = np.random.default_rng(3)
    cluster, ps = np.repeat(np.arange(20), 10), []
    for _ in range(200):
        common = np.repeat(g.normal(0, 1, 20), 10)
        ps.append(paired(common + g.normal(0, 0.3, 200), np.zeros(200), cluster, seed=0, draws=200).p)
    assert np.mean(np.array(ps) < 0.1) == pytest.approx(0.1, abs=0.05)
    assert np.mean(ps) == pytest.approx(0.5, abs=0.07)
    better = paired(np.repeat(g.normal(1, 1, 20), 10), np.zeros(200), cluster, seed=0)
    assert better.p < 0.01 and better.low > 0


def test_rows_that_one_of_both_lacks_do_not_count():
    found = paired(np.array([2.0, np.nan, 4.0]), np.array([1.0, 1.0, 1.0]), np.arange(3), seed=0)
    assert found.value == 2.0 and found.clusters == 2 and found.p == 0.5
    assert np.isnan(paired(np.array([2.0]), np.array([1.0]), np.zeros(1, int), seed=0).p)
    assert np.isnan(paired(np.array([np.nan]), np.array([1.0]), np.zeros(1, int), seed=0).value)


def test_codes_count_groups():
    assert codes(np.array(["b", "a", "b"])).tolist() == [1, 0, 1]
    assert codes([10, 9, 10]).tolist() == [0, 1, 0]
