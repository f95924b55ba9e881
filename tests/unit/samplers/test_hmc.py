"""Hamiltonian chains: problems apart, step sizes and metrics of their own, and when they are believed."""

import math

import numpy as np
import pytest
import torch

from canopyflow.samplers import hmc
from canopyflow.samplers._diagnosis import diagnose
from canopyflow.samplers.contract import Target
from canopyflow.samplers.hmc import CHAINS, Hmc


def normals(covariance, mean):
    """A log density of several correlated normals at once, as a sampler's target."""
    precision = torch.linalg.inv(covariance)

    def target(x):
        d = x - mean
        return -0.5 * torch.einsum("...ni,nij,...nj->...n", d, precision, d)

    return target


def test_the_chains_find_mean_and_covariance_of_a_linear_gaussian_posterior():
    g = torch.Generator().manual_seed(0)
    # Design, prior N(0, I) and noise of two regressions; posterior covariance (I + AᵀA/s²)⁻¹.
    design, noise = torch.randn(2, 5, 3, generator=g), torch.tensor([0.3, 1.0])[:, None, None]
    observed = torch.randn(2, 5, 1, generator=g)
    covariance = torch.linalg.inv(torch.eye(3) + design.mT @ design / noise**2)
    mean = (covariance @ design.mT @ observed / noise**2)[..., 0]
    target = normals(covariance, mean)
    chains = hmc.warm_up(target, 3.0 * torch.randn(8, 2, 3, generator=g), g)
    draws = hmc.run(target, chains, 500, g)
    found = diagnose(draws.numpy())
    assert found.rhat.max() < 1.02
    assert found.ess_bulk.min() > 1000
    flat = draws.flatten(0, 1)
    deviation = covariance.diagonal(dim1=1, dim2=2).sqrt()
    assert ((flat.mean(0) - mean) / deviation).abs().max() < 0.12
    for problem in range(2):
        measured = torch.from_numpy(np.cov(flat[:, problem].numpy().T)).float()
        scale = deviation[problem][:, None] * deviation[problem]
        assert ((measured - covariance[problem]) / scale).abs().max() < 0.12


def test_bent_tails_are_visited_as_often_as_they_should_be():
    """x1 ~ N(0, 1), x2 ~ N(x1², 0.3): the ends of the crescent decide E x1² = 1 and E x2² = 3.09."""
    n = 24

    def crescent(x):
        return -0.5 * x[..., 0] ** 2 - 0.5 * ((x[..., 1] - x[..., 0] ** 2) / 0.3) ** 2

    target = Target(
        log_density=crescent,
        outward=lambda x: x,
        start=lambda count, g: 1.5 * torch.randn(count, n, 2, generator=g),
        rows=lambda index: Target(log_density=crescent, outward=lambda x: x),
    )
    draws = Hmc().draw(target, (1000,), torch.Generator().manual_seed(0))
    assert draws.reliable is not None and draws.reliable.float().mean() > 0.9
    for values, expected in ((draws.z[..., 0] ** 2, 1.0), (draws.z[..., 1] ** 2, 3.09)):
        means = values.mean(0)
        assert abs(means.mean() - expected) < 4.0 * means.std() / math.sqrt(n)


def test_every_problem_has_a_step_and_a_metric_of_its_own():
    """Two normals whose scales differ by ten, both accepted as often as aimed at."""
    scale = torch.tensor([1.0, 0.1])[:, None, None]
    covariance = scale**2 * torch.tensor([[1.0, 0.9], [0.9, 1.0]])
    target, g = normals(covariance, torch.zeros(2, 2)), torch.Generator().manual_seed(0)
    chains = hmc.warm_up(target, scale[:, 0] * torch.randn(8, 2, 2, generator=g), g)
    assert (chains.root[0] / chains.root[1]).diagonal().log10().mean() == pytest.approx(1.0, abs=0.1)
    accepted = torch.stack([hmc.advance(target, chains, g) for _ in range(200)]).mean((0, 1))
    assert (accepted - hmc.ACCEPTANCE).abs().max() < 0.15


def test_only_problems_whose_chains_mix_badly_run_on():
    """A normal, and a narrow hill in each corner of a box, so far apart that no chain finds another's."""
    asked = []
    hills = 5.0 * torch.randn(CHAINS, 1, 8, generator=torch.Generator().manual_seed(0)).sign()

    def problems(index):
        def log_density(x):
            normal = -0.5 * x.square().sum(-1)
            return torch.where(index == 0, normal, -500 * (x.abs() - 5.0).square().sum(-1))

        def rows(chosen):
            asked.append(index[chosen].tolist())
            return problems(index[chosen])

        return Target(
            log_density=log_density,
            outward=lambda x: x,
            start=lambda count, g: (
                torch.where(index[:, None] == 0, 2.0 * hills.sign(), hills)
                + 0.1 * torch.randn(count, len(index), 8, generator=g)
            ),
            rows=rows,
        )

    drawn = Hmc(rounds=3).draw(problems(torch.arange(2)), (1000,), torch.Generator().manual_seed(0))
    assert asked == [[0, 1], [1], [1]]
    assert drawn.reliable.tolist() == [True, False]
    assert drawn.diagnosis["rhat"][0] < 1.01 < 1.5 < drawn.diagnosis["rhat"][1]
    assert drawn.diagnosis["ess_bulk"][0] > 1000 and torch.equal(drawn.ess, drawn.diagnosis["ess_bulk"])
    # Of more draws than are wanted those that are kept are spread over all chains and rounds.
    share = (hills[:, 0, 0] > 0).float().mean()
    assert (drawn.z[:, 1, 0] > 0).float().mean() == pytest.approx(float(share), abs=0.02)


def test_too_few_effective_draws_are_not_believed():
    """However well the chains agree."""
    target = Target(
        log_density=lambda x: -0.5 * x.square().sum(-1),
        outward=lambda x: x,
        start=lambda count, g: torch.randn(count, 1, 2, generator=g),
        rows=lambda index: target,
    )
    drawn = Hmc(rounds=1).draw(target, (50,), torch.Generator().manual_seed(0))
    assert drawn.diagnosis["ess_bulk"] < 400 and not drawn.reliable
    assert math.ceil(50 / hmc.SHARE) * CHAINS >= 3 * 50


def test_a_density_that_is_no_number_is_never_a_place_of_a_chain():
    def target(x):
        return torch.where(x[..., 0] > 1.0, math.nan, -0.5 * x.square().sum(-1))

    g = torch.Generator().manual_seed(0)
    chains = hmc.warm_up(target, torch.full((8, 1, 2), -1.0), g)
    assert (hmc.run(target, chains, 100, g)[..., 0] <= 1.0).all()
