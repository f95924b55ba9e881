"""Convergence of chains: theory, and numbers measured with arviz."""

import math

import numpy as np
import pytest

from canopyflow.samplers._diagnosis import diagnose


def test_diagnoses_agree_with_theory_and_tell_stuck_chains():
    rng = np.random.default_rng(0)
    rho, noise = 0.9, rng.standard_normal((2000, 4, 20))
    draws = np.zeros_like(noise)
    for t in range(1, len(draws)):
        draws[t] = rho * draws[t - 1] + math.sqrt(1 - rho**2) * noise[t]
    draws[:, 0, 10:] += 2.0
    found = diagnose(draws)
    # A first-order autoregression of N draws is worth N (1 - ρ) / (1 + ρ).
    assert found.ess_bulk[:10].mean() == pytest.approx(8000 * (1 - rho) / (1 + rho), rel=0.1)
    assert found.rhat[:10].max() < 1.05 < 1.1 < found.rhat[10:].min()
    assert found.ess_bulk[10:].max() < 50


def test_diagnoses_measured_with_arviz_are_reproduced():
    rng, other = np.random.default_rng(0), np.random.default_rng(1)
    walk = rng.standard_normal((200, 4, 3)).cumsum(0) * np.array([0.0, 0.05, 0.2])
    found = diagnose(walk + other.standard_normal((200, 4, 3)))
    # arviz 0.23.4: rhat, ess(method="bulk"), ess(method="tail").
    assert found.rhat == pytest.approx([0.9996016, 1.1896869, 1.2791024], abs=1e-6)
    assert found.ess_bulk == pytest.approx([838.1122404, 15.2408936, 11.1323304], rel=0.05)
    assert found.ess_tail == pytest.approx([740.8659174, 96.6727313, 12.0356714], rel=0.05)
