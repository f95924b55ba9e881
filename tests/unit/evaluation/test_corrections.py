"""Intervals corrected by labels of other sites: exact answers, and that no site has seen itself."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from canopyflow.config.evaluation import Evaluation
from canopyflow.errors import CanopyflowError
from canopyflow.evaluation.corrections import METHODS, Labels, correct, corrected
from canopyflow.evaluation.scores.predictive import LEVELS, Predictive
from canopyflow.vocabulary import QUANTILES


def labels(n=3000, places=12, factor=2.0, error=0.3, kinds=1, seed=0):
    """Normal posteriors that are too narrow by ``factor`` (per kind), labels with an error."""
    g = np.random.default_rng(seed)
    site, group = np.arange(n) % places, (np.arange(n) // places) % kinds
    mean, std = g.uniform(1, 5, n), g.uniform(0.2, 0.6, n)
    wide = std * np.asarray(factor)[group] if kinds > 1 else std * factor
    measured = g.normal(g.normal(mean, wide), error)
    law = Predictive.of({"mean": mean, "std": std}, np.full(n, error))
    return Labels(measured, law, site, group, np.arange(n) // 3)


def covered(of, law):
    return [law.inside(of.measured, level).mean() for level in LEVELS]


def factors(before, after):
    return (after.values[-1] - after.values[0]) / (before.values[-1] - before.values[0])


def test_variance_finds_the_factor_beside_the_error_of_labels():
    of = labels()
    law = corrected(of, METHODS["variance"])
    np.testing.assert_allclose(factors(of.law, law), 2.0, rtol=0.05)
    np.testing.assert_allclose(law.moments()[0], of.law.moments()[0])
    np.testing.assert_array_equal(law.error, of.law.error)
    assert covered(of, of.law)[2] < 0.8
    np.testing.assert_allclose(covered(of, law), LEVELS, atol=0.02)


def test_variance_of_exact_labels_is_that_of_their_scores():
    """Without label error the most probable factor is the root mean square of errors in standard
    deviations."""
    of = labels(n=300, places=3, error=0.0)
    law = corrected(of, METHODS["variance"])
    for place in range(3):
        others = of.site != place
        mean, std = of.law.moments()
        z = (of.measured - mean)[others] / std[others]
        np.testing.assert_allclose(factors(of.law, law)[~others], np.sqrt(np.mean(z**2)), rtol=1e-4)


def test_a_posterior_that_is_too_wide_is_drawn_in():
    of = labels(n=600, places=5, factor=0.4)
    for method in METHODS.values():
        assert corrected(of, method).width(0.9).mean() < of.law.width(0.9).mean()


def test_conformal_covers_whatever_the_posterior():
    """Posteriors of a wrong shape, too narrow by three: labels of a Student distribution with three
    degrees."""
    of = labels(places=5)
    g = np.random.default_rng(1)
    mean, std = of.law.moments()
    of = Labels(mean + 3.0 * std * g.standard_t(3, len(mean)), of.law, of.site, of.group, of.plot)
    law = corrected(of, METHODS["conformal"])
    np.testing.assert_allclose(covered(of, law), LEVELS, atol=0.015)
    assert (np.diff(law.values, axis=0) >= 0).all() and (law.error == 0).all()
    # One factor of the variance cannot: tails are of another shape.
    assert max(abs(np.subtract(covered(of, corrected(of, METHODS["variance"])), LEVELS))) > 0.02


def test_conformal_takes_the_order_statistic_of_the_other_sites():
    """Of 100 scores 1/100, 2/100, ... the 90 % interval takes the 91st, as 0.9 · 101 rounds up to."""
    n = 100
    law = Predictive.of({name: np.full(n + 1, norm.ppf(p)) for name, p in QUANTILES.items()}, 0.0)
    half = norm.ppf(0.95)
    measured = np.append(half * np.arange(1, n + 1) / n, 0.0)
    site = np.append(np.zeros(n, int), 1)
    of = Labels(measured, law, site, np.zeros(n + 1, int), np.arange(n + 1))
    found = METHODS["conformal"](of.measured[:n], law.rows(np.arange(n)), law.rows(np.array([n])))
    assert found.quantile(0.95)[0] == pytest.approx(half * 91 / 100)


@pytest.mark.parametrize("method", list(METHODS))
def test_no_site_is_corrected_by_its_own_labels(method):
    """The labels of one site are put far away: its own intervals stay as they are, all others change."""
    of = labels(n=120, places=4)
    moved = np.where(of.site == 2, of.measured + 50.0, of.measured)
    before, after = (
        corrected(Labels(m, of.law, of.site, of.group, of.plot), METHODS[method])
        for m in (of.measured, moved)
    )
    same = (before.values == after.values).all(0)
    assert same[of.site == 2].all() and not same[of.site != 2].any()


@pytest.mark.slow
def test_each_group_has_its_own_factor_and_small_ones_that_of_all():
    of = labels(kinds=2, factor=(1.0, 3.0))
    k = factors(of.law, corrected(of, METHODS["variance"]))
    np.testing.assert_allclose(k[of.group == 0], 1.0, rtol=0.08)
    np.testing.assert_allclose(k[of.group == 1], 3.0, rtol=0.08)
    few = np.where(np.arange(len(of.site)) < 15, 1, 0)
    k = factors(of.law, corrected(Labels(of.measured, of.law, of.site, few, of.plot), METHODS["variance"]))
    alone = factors(
        of.law, corrected(Labels(of.measured, of.law, of.site, few * 0, of.plot), METHODS["variance"])
    )
    np.testing.assert_allclose(k[few == 1], alone[few == 1])


def matchups(path, of, **columns):
    n = len(of.measured)
    mean, std = of.law.moments()
    frame = pd.DataFrame(
        {
            "variable": "gai", "status": "ok", "value": of.measured, "error": of.law.error,
            "mean": mean, "std": std,
            "site": [f"s{i}" for i in of.site], "group": "", "plot_id": of.plot, "lon": 9.0, "lat": 47.0,
            **{name: norm.ppf(p, mean, std) for name, p in QUANTILES.items()},
        } | columns,
        index=range(n),
    )  # fmt: skip
    frame.to_parquet(path)
    return path


def test_scores_and_tests_of_a_matchup_table(tmp_path):
    of = labels(n=600)
    found = correct(matchups(tmp_path / "m.parquet", of), ["conformal", "variance"])
    for method in ("conformal", "variance"):
        scores = found["scores"][method]["gai"]
        assert scores["coverage90_label"] == pytest.approx(0.9, abs=0.03)
        assert scores["rmse"] == pytest.approx(np.sqrt(np.mean((of.law.moments()[0] - of.measured) ** 2)))
    assert "coverage90" in found["scores"]["variance"]["gai"]
    assert "coverage90" not in found["scores"]["conformal"]["gai"]
    assert {(t["method"], t["loss"]) for t in found["tests"]} == {
        (m, loss) for m in METHODS for loss in ("crps", "interval90")
    }
    for test in found["tests"]:
        assert test["clusters"] == 200 and test["high"] < 0 and test["p"] < 0.01
    json.dumps(found, allow_nan=False)


@pytest.mark.slow
def test_a_right_posterior_is_not_said_to_be_better_corrected(tmp_path):
    ps = []
    for seed in range(12):
        of = labels(n=150, places=5, factor=1.0, seed=seed)
        found = correct(matchups(tmp_path / "m.parquet", of), ["variance"])
        [p] = [t["p"] for t in found["tests"] if t["loss"] == "crps" and t["value"] < 0] or [1.0]
        ps.append(p)
    assert np.mean(np.array(ps) < 0.05) <= 0.15


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"site": "only"}, "labels of 1 sites, fewer than 3"),
        ({"site": ""}, "labels of 1 sites, fewer than 3"),
        ({"site": ["a"] * 590 + ["b"] * 5 + ["c"] * 5}, "a site has 10 labels at other sites"),
        ({"error": 0.0, "std": 0.0, **dict.fromkeys(QUANTILES, 3.0)}, "have no width, which no factor"),
        ({"q25": np.nan, "q50": np.nan, "std": np.nan}, "the maps lack the statistics"),
    ],
)
def test_too_little_to_learn_from_is_said(tmp_path, columns, reason):
    found = correct(matchups(tmp_path / "m.parquet", labels(n=600), **columns), ["variance"])
    assert reason in found["refused"]["gai"] and found["scores"] == {"variance": {}} and not found["tests"]


def test_without_a_method_or_a_match_nothing_is_corrected(tmp_path):
    path = matchups(tmp_path / "m.parquet", labels(n=60), status="outside every scene")
    assert correct(path, ["variance"]) == correct(path, []) == {"scores": {}, "tests": [], "refused": {}}


def test_a_campaign_knows_the_methods_by_name():
    for method in METHODS:
        assert Evaluation(plots="p.csv", corrections=[method]).corrections == (method,)
    with pytest.raises((ValueError, CanopyflowError)):
        Evaluation(plots="p.csv", corrections=["bayes"])
