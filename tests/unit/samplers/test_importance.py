"""Importance refinement: the tail fit, the resampling, and a wrong posterior made right."""

import math

import numpy as np
import pytest
import torch

from canopyflow.samplers.contract import Target
from canopyflow.samplers.importance import Importance, effective_size, pareto_smooth, resample


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
    """Proposals N(shift, scale²) where the target is a standard normal in two dimensions."""

    def proposal(shape, generator=None):
        u = shift + scale * torch.randn(*shape, 4, 2, generator=generator)
        log_q = (-0.5 * ((u - shift) / scale) ** 2 - math.log(scale) - 0.5 * math.log(2 * math.pi)).sum(-1)
        return u, log_q

    return Target(log_density=lambda u: (-0.5 * u**2).sum(-1) - 3.0, outward=lambda u: u, proposal=proposal)


def test_refined_draws_follow_the_exact_posterior():
    g = torch.Generator().manual_seed(0)
    refined = Importance(20_000, 500).draw(gaussian(0.5, 1.3), (2000,), g)
    assert refined.z.shape == (2000, 4, 2)
    assert refined.z.mean(0).abs().max() < 0.08
    assert (refined.z.std(0) - 1).abs().max() < 0.06
    assert refined.reliable.all()
    expected = 20_000 * effective_size_share(0.5, 1.3)
    assert refined.ess.mean() == pytest.approx(expected, rel=0.05)


def test_draws_occur_as_often_as_their_smoothed_weight_says():
    """Not as their raw weight says: one draw in the tail would be most of the result."""
    log_weights = 2.0 * torch.randn(400, 3, generator=torch.Generator().manual_seed(3))
    log_weights[7] = log_weights.amax(0) + 2.0
    place = torch.arange(400.0)[:, None, None].expand(400, 3, 1)
    target = Target(
        log_density=lambda x: torch.gather(log_weights, 0, x[..., 0].long()),
        outward=lambda x: x,
        proposal=lambda shape, generator: (place, torch.zeros(400, 3)),
    )
    drawn = Importance(400).draw(target, (10_000,), torch.Generator().manual_seed(0))
    smoothed, khat = pareto_smooth(log_weights)
    for problem in range(3):
        counts = torch.bincount(drawn.z[:, problem, 0].long(), minlength=400)
        assert (counts - 10_000 * smoothed[:, problem].exp()).abs().max() <= 1.0
        raw = 10_000 * log_weights[:, problem].softmax(0)
        assert (counts - raw).abs().max() > 100.0, "the two sets of weights hardly differ here"
    assert torch.equal(drawn.diagnosis["khat"], khat)
    torch.testing.assert_close(drawn.ess, 1.0 / smoothed.exp().square().sum(0))


def effective_size_share(shift, scale):
    """ESS / K of weights N(0, 1) / N(shift, scale²), two dimensions, by quadrature."""
    x = torch.linspace(-12, 12, 20_001, dtype=torch.double)
    p = torch.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    q = torch.exp(-0.5 * ((x - shift) / scale) ** 2) / (scale * math.sqrt(2 * math.pi))
    return float(1.0 / torch.trapezoid(p**2 / q, x)) ** 2


def test_a_posterior_far_too_narrow_is_flagged():
    refined = Importance(2000, 100).draw(gaussian(2.0, 0.3), (100,), torch.Generator().manual_seed(0))
    assert not refined.reliable.any()


def test_fewer_effective_draws_than_wanted_are_flagged():
    for least, reliable in ((1200, True), (1500, False)):
        drawn = Importance(2000, least).draw(gaussian(0.5, 1.3), (100,), torch.Generator().manual_seed(0))
        assert (drawn.reliable == reliable).all()
        assert drawn.ess.min() > 1200 and drawn.ess.max() < 1500


def test_effective_size_of_one_heavy_weight_is_one():
    weights = torch.full((50, 1), -100.0)
    weights[7] = 0.0
    assert effective_size(weights) == pytest.approx(1.0)
