"""Learned summaries of seasons are judged by the truth, beside those of draws."""

import numpy as np
import pytest
import torch
from seasons import clouded, learning_seasons, some_seasons

from canopyflow.models import season_check
from canopyflow.models.season_check import COST, COVERED, _shares
from canopyflow.models.statistics import statistics_of_draws


def truths(count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """What is true (n, 2), and the posterior that it was drawn from: normal about a known mean (n, 2)."""
    g = np.random.default_rng(0)
    mean = g.normal(size=(count, 2))
    return (mean + g.normal(size=mean.shape)).astype(np.float32), mean


def told(mean: np.ndarray, width: float = 1.0) -> np.ndarray:
    """Statistics (n, 2, 7) of a normal law about ``mean``."""
    draws = width * np.sort(np.random.default_rng(1).normal(size=2000)).astype(np.float32)
    return (statistics_of_draws(draws[None, None]) + 0.0 * mean[..., None]) + np.array([1, 0, 1, 1, 1, 1, 1])[
        None, None
    ] * mean[..., None]


def test_summaries_as_good_as_the_posterior_pass() -> None:
    truth, mean = truths()
    found = _shares(told(mean), told(mean), truth, ("lai", "cab"), "of seasons", COST)
    assert len(found) == 2 and all(value < 1.0 for value in found.values())
    assert sorted(found.values()) == pytest.approx([0.0, 1.0 / COST])
    # Nearer to nine in ten than draws that are too wide: no fault.
    (_, cost), (_, beyond) = _shares(told(mean), told(mean, 1.5), truth, ("lai", "cab"), "", COST).items()
    assert cost < 1.0 / COST and beyond < 0.0


def test_an_error_is_told_by_name_with_what_it_costs() -> None:
    truth, mean = truths()
    off = mean + np.array([0.0, 0.5])
    cost, covered = _shares(told(off), told(mean), truth, ("lai", "cab"), "on dates seen", COST).items()
    assert cost[0].startswith("cab on dates seen costs 1.") and cost[1] > 1.0
    assert covered[0].startswith("cab on dates seen is covered 0.8")
    # A normal law half a deviation off covers 1 - Φ(-1.645 + .5) - Φ(-1.645 - .5) = .858.
    assert covered[1] == pytest.approx((0.9 - 0.858) / COVERED, abs=0.25)


def test_intervals_that_are_too_narrow_do_not_pass_even_if_the_median_is_right() -> None:
    truth, mean = truths()
    found = _shares(told(mean, 0.7), told(mean), truth, ("lai", "cab"), "of seasons", COST)
    assert max(found.values()) > 1.0 and any("is covered 0.7" in text for text in found)


def test_a_model_is_judged_on_seen_and_other_dates_and_on_seasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(season_check, "DRAWN", 5)
    model = learning_seasons()
    sample = some_seasons(model.generative, 8)
    assert model.head is not None and sample.truth is not None
    g = torch.Generator().manual_seed(0)
    drawn = type(sample)(clouded(sample.seen, [1, 4]), sample.truth, sample.noise_free)
    found = model.head.beside_draws(model, drawn, g)
    assert found is not None and len(found) == 6 and all(np.isfinite(v) for v in found.values())
    for place in ("on dates seen", "on dates not seen", "of seasons"):
        assert sum(place in text for text in found) == 2
    clear = model.head.beside_draws(model, sample, g)
    assert clear is not None and len(clear) == 4
