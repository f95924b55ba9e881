"""Importance refinement: the tail fit, the resampling, and a wrong posterior made right."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from canopyflow.samplers.importance import effective_size, pareto_smooth, refine, resample


@pytest.mark.parametrize("k", [0.2, 0.5, 1.0])
def test_the_tail_index_of_pareto_weights_is_found(k):
    g = torch.Generator().manual_seed(0)
    log_weights = -k * torch.rand(20_000, 20, generator=g, dtype=torch.double).log()
    smoothed, found = pareto_smooth(log_weights)
    assert found.mean() == pytest.approx(k, abs=0.05)
    assert torch.allclose(smoothed.exp().sum(0), torch.ones(20, dtype=torch.double))
    # Smoothing keeps the order and touches the tail alone.
    order = log_weights.argsort(0)
    assert (smoothed.gather(0, order).diff(dim=0) >= -1e-9).all()


def test_indices_measured_with_arviz_are_reproduced():
    # arviz 0.23.4, psislw of the same weights.
    u = np.random.default_rng(0).random((1000, 5))
    weights = torch.from_numpy(-np.array([0.2, 0.5, 0.7, 1.0, -0.3]) * np.log(u))
    expected = [0.2693888836, 0.5887903072, 0.8388315843, 1.0665791400, -1.0302958859]
    assert pareto_smooth(weights)[1].tolist() == pytest.approx(expected, abs=1e-8)


def test_equal_and_failed_weights():
    smoothed, k = pareto_smooth(torch.zeros(100, 2))
    assert torch.allclose(smoothed.exp(), torch.full((100, 2), 0.01))
    assert (k < 0).all()
    broken = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    broken[:5] = torch.nan
    smoothed, _ = pareto_smooth(broken)
    assert torch.isfinite(smoothed[5:]).all()
    assert smoothed[:5].exp().sum() == 0


def test_resampling_keeps_expected_counts_and_shuffles():
    weights = torch.tensor([0.5, 0.25, 0.25, 0.0]).log()[:, None]
    index = resample(weights, 400, torch.Generator().manual_seed(0))[:, 0]
    assert torch.bincount(index, minlength=4).tolist() == [200, 100, 100, 0]
    assert 60 < (index[:200] == 0).sum() < 140


def gaussian(shift, scale):
    """A family's posterior N(shift, scale²) where the exact one is a standard normal in two dimensions."""

    def draw(shape, generator=None):
        u = shift + scale * torch.randn(*shape, 4, 2, generator=generator)
        log_q = (-0.5 * ((u - shift) / scale) ** 2 - math.log(scale) - 0.5 * math.log(2 * math.pi)).sum(-1)
        return u, log_q

    return SimpleNamespace(
        base=SimpleNamespace(rsample_and_log_prob=draw),
        base_log_joint=lambda u: (-0.5 * u**2).sum(-1) - 3.0,
        prior=SimpleNamespace(to_physical=lambda u: u),
    )


def test_refined_draws_follow_the_exact_posterior():
    refined = refine(gaussian(0.5, 1.3), 20_000, 2000, torch.Generator().manual_seed(0))
    assert refined.z.shape == (2000, 4, 2)
    assert refined.z.mean(0).abs().max() < 0.08
    assert (refined.z.std(0) - 1).abs().max() < 0.06
    assert refined.reliable(500).all()
    expected = 20_000 * effective_size_share(0.5, 1.3)
    assert refined.ess.mean() == pytest.approx(expected, rel=0.05)


def effective_size_share(shift, scale):
    """ESS / K of weights N(0, 1) / N(shift, scale²), two dimensions, by quadrature."""
    x = torch.linspace(-12, 12, 20_001, dtype=torch.double)
    p = torch.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    q = torch.exp(-0.5 * ((x - shift) / scale) ** 2) / (scale * math.sqrt(2 * math.pi))
    return float(1.0 / torch.trapezoid(p**2 / q, x)) ** 2


def test_a_posterior_far_too_narrow_is_flagged():
    refined = refine(gaussian(2.0, 0.3), 2000, 100, torch.Generator().manual_seed(0))
    assert not refined.reliable(100).any()


def test_effective_size_of_one_heavy_weight_is_one():
    weights = torch.full((50, 1), -100.0)
    weights[7] = 0.0
    assert effective_size(weights) == pytest.approx(1.0)
