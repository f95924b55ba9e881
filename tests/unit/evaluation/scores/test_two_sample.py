"""Distances between two samples, on distributions whose distance is known."""

import math

import pytest
import torch

from canopyflow.evaluation.scores.two_sample import c2st, sliced_wasserstein


def test_classifiers_are_at_chance_between_equal_distributions_and_never_beat_bayes():
    g = torch.Generator().manual_seed(0)
    p, q = torch.randn(8, 600, 4, generator=g), torch.randn(8, 600, 4, generator=g)
    assert float(c2st(p, q).mean()) == pytest.approx(0.5, abs=0.012)
    shift = torch.tensor([1.0, 0.0, 0.0, 0.0])
    bayes = 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))
    assert bayes - 0.015 < float(c2st(p, q + shift).mean()) < bayes + 0.012
    turned = q.clone()
    turned[..., 1] = 0.9 * q[..., 0] + math.sqrt(1 - 0.81) * q[..., 1]
    # Equal marginals: only the dependence tells the two apart.
    assert float(c2st(p, turned).mean()) > 0.68
    with torch.no_grad():
        again = c2st(p[:2, :200], q[:2, :200])
    assert torch.equal(c2st(p[:2, :200], q[:2, :200]), again)


def test_repeated_draws_of_the_same_distribution_are_not_told_from_it():
    g = torch.Generator().manual_seed(0)
    p, few = torch.randn(8, 600, 4, generator=g), torch.randn(8, 200, 4, generator=g)
    copies = few.repeat(1, 3, 1)[:, torch.randperm(600, generator=g)]
    assert float(c2st(p, copies).mean()) == pytest.approx(0.5, abs=0.02)


def test_sliced_wasserstein_of_a_shift_is_its_mean_projection():
    p = torch.randn(3, 4000, 2, generator=torch.Generator().manual_seed(0))
    q = p + torch.tensor([1.0, 0.0]) * p.std(1, keepdim=True)
    # E|cos φ| over directions of the plane is 2/π.
    assert sliced_wasserstein(p, q).mean() == pytest.approx(2 / math.pi, abs=0.06)
    assert sliced_wasserstein(p, p).max() == 0
