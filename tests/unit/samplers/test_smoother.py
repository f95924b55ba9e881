"""The normal distribution at the mode, and chains in many dimensions that start from it."""

import math
from dataclasses import replace

import pytest
import torch

from canopyflow.errors import ConfigError
from canopyflow.samplers import hmc_wide, smoother
from canopyflow.samplers.contract import Target
from canopyflow.samplers.hmc_wide import HmcWide
from canopyflow.samplers.smoother import Smoother, mode

DIM, PROBLEMS = 40, 2
SCALE = torch.logspace(-2, 2, DIM, dtype=torch.float64)


def logistic():
    """Independent logistic distributions of many scales: at the mode their curvature says a variance of 2, in
    units of the scale, and they have π²/3."""

    def log_density(x):
        y = x / SCALE
        return (-y - 2.0 * torch.nn.functional.softplus(-y)).sum(-1)

    def made(n):
        return Target(
            log_density=log_density,
            outward=lambda x: x,
            start=lambda count, g: (
                SCALE * (3.0 + torch.randn(count, n, DIM, generator=g, dtype=torch.float64))
            ),
            rows=lambda index: made(len(index)),
            information=lambda x: torch.diag(0.5 / SCALE**2).expand(len(x), DIM, DIM),
        )

    return made(PROBLEMS)


@pytest.mark.slow
def test_the_smoother_is_too_narrow_for_wide_tails_and_the_chains_are_not():
    for sampler, expected in ((Smoother(), math.sqrt(2.0)), (HmcWide(rounds=3), math.pi / math.sqrt(3.0))):
        drawn = sampler.draw(logistic(), (1000,), torch.Generator().manual_seed(0))
        assert drawn.reliable is not None and drawn.reliable.all()
        ratio = drawn.z.std(0) / (SCALE * expected)
        assert abs(ratio.mean() - 1.0) < 0.015 and (ratio - 1.0).abs().max() < 0.15
        assert ((drawn.z.mean(0) / (SCALE * expected)).abs() < 0.16).all()


def test_the_mode_of_a_bent_density_is_found_from_afar():
    """y = exp(x) seen with noise, x standard normal; full Newton steps from x = 6 would leave."""
    seen = torch.tensor([0.1, 1.0, 8.0], dtype=torch.float64)[:, None]

    def log_density(x):
        return (-0.5 * ((seen - x.exp()) / 0.1).square() - 0.5 * x.square()).sum(-1)

    target = Target(
        log_density=log_density,
        outward=lambda x: x,
        start=lambda count, g: torch.full((count, 3, 1), 6.0, dtype=torch.float64),
        information=lambda x: ((x.exp() / 0.1).square() + 1.0).unsqueeze(-1),
    )
    found = mode(target, 200, torch.Generator())
    assert (found.decrement < 1e-8).all()
    x = found.x
    slope = (seen - x.exp()) / 0.01 * x.exp() - x
    assert (slope.abs() * found.spread[..., 0] < 1e-3).all()
    # Too few steps are said to be too few.
    drawn = Smoother(steps=2).draw(target, (10,), torch.Generator().manual_seed(0))
    assert drawn.reliable is not None and not drawn.reliable.any()
    assert (drawn.diagnosis["decrement"] > smoother.DECREMENT).all()


def test_a_place_without_a_density_is_never_stepped_to():
    def log_density(x):
        return torch.where(x > 1.0, math.nan, -0.5 * (x - 0.9).square()).sum(-1)

    target = Target(
        log_density=log_density,
        outward=lambda x: x,
        start=lambda count, g: torch.linspace(-3.0, 3.0, count)[:, None, None],
        information=lambda x: torch.full((1, 1, 1), 0.2),
    )
    assert mode(target, 100, torch.Generator()).x.item() == pytest.approx(0.9, abs=1e-3)


def test_chains_start_wider_than_the_normal_distribution(monkeypatch):
    starts = []

    def first(target, chains, g, length):
        starts.append(chains.x)
        return torch.ones(chains.x.shape[:2], dtype=chains.x.dtype)

    monkeypatch.setattr(hmc_wide, "advance", first)
    monkeypatch.setattr(hmc_wide, "LEARNING", ())
    HmcWide()._warmed_up(logistic(), torch.Generator().manual_seed(0))
    assert (starts[0].std((0, 1)) / (SCALE * math.sqrt(2.0))).mean() == pytest.approx(2.0, rel=0.1)


def test_the_metric_learns_what_the_curvature_at_the_mode_does_not_know():
    """Ties between variables, from many draws; from few it goes a part of the way."""
    g = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[2.0, 1.2, 0.0], [0.0, 0.5, 0.3], [0.0, 0.0, 1.0]])
    expected = mixing @ mixing.mT
    before = torch.eye(3).expand(1, 3, 3)
    seen = torch.einsum("ij,tcnj->tcni", mixing, torch.randn(2000, 16, 1, 3, generator=g))
    many = hmc_wide._learned(before, seen)[0]
    assert (many.tril(-1) == 0).all()
    torch.testing.assert_close(many @ many.mT, expected, rtol=0, atol=0.1)
    few = hmc_wide._learned(before, seen[:6])[0]
    ratio = ((few @ few.mT - before) / (expected - before + 1e-9))[0][[0, 0, 1], [0, 1, 1]]
    assert ((ratio > 0.1) & (ratio < 0.6)).all()


@pytest.mark.parametrize("sampler", [Smoother(), HmcWide()])
def test_a_target_must_say_how_it_is_curved(sampler):
    plain = replace(logistic(), information=None)
    with pytest.raises(ConfigError, match="how it is curved"):
        sampler.draw(plain, (4,), torch.Generator().manual_seed(0))


def test_kept_draws_follow_one_chain_after_the_other():
    """Neighbours are iterations of one chain apart, and not the same iteration of two chains."""
    iterations, chains = 30, 4
    iteration, chain = torch.meshgrid(torch.arange(iterations), torch.arange(chains), indexing="ij")
    kept = HmcWide()._thinned(torch.stack([iteration, chain], -1).double(), 12)
    same = kept[1:, 1] == kept[:-1, 1]
    assert same.sum() == 12 - chains
    assert (kept[1:, 0] - kept[:-1, 0])[same].min() > 5
