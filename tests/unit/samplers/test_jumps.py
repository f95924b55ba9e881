"""Independence proposals: their density is that of their draws, and they leave any target as it is."""

import math

import torch

from canopyflow.samplers import _jumps
from canopyflow.samplers._jumps import FREEDOM, TRIES, Mixture, fit, jump


def rings(count, g):
    """Draws (count, 1, 2, 2) of two problems: a ring, and two clouds a long way from it."""
    angle = 2.0 * math.pi * torch.rand(count, 1, 1, generator=g)
    ring = torch.cat([angle.cos(), angle.sin()], -1)
    side = torch.where(torch.rand(count, 1, 1, generator=g) < 0.3, -1.0, 1.0)
    noise = torch.randn(count, 1, 2, 2, generator=g)
    return torch.stack([ring + 0.1 * noise[:, :, 0], 100.0 + 5.0 * side + noise[:, :, 1]], 2)


def test_the_density_of_a_mixture_is_that_of_its_draws():
    """The mean weight of a normal density in its midst is one, Student's constant being taken along."""
    g = torch.Generator().manual_seed(0)
    mixture = fit(rings(1600, g), g)
    assert mixture.weight.shape == (2, 4 + 1)
    x = mixture.sample(100_000, g)
    assert x.shape == (100_000, 2, 2)
    centre, scale = torch.tensor([[1.0, 0.0], [105.0, 105.0]]), torch.tensor([0.1, 0.8])[:, None]
    normal = -0.5 * ((x - centre) / scale).square().sum(-1) - math.log(2 * math.pi) - 2 * scale.log()[:, 0]
    student = math.lgamma(FREEDOM / 2 + 1) - math.lgamma(FREEDOM / 2) - math.log(FREEDOM * math.pi)
    weight = (normal - mixture.log_density(x) - student).exp()
    error = weight.std(0) / math.sqrt(len(weight))
    assert error.max() < 0.03
    assert ((weight.mean(0) - 1.0).abs() < 4.0 * error).all()


def test_a_mixture_lies_where_the_draws_are():
    """Of both problems at once, parts in all their places: no hole of the ring is filled by one wide part."""
    g = torch.Generator().manual_seed(0)
    whole = fit(rings(3200, g), g)
    assert whole.weight.shape == (2, _jumps.PARTS + 1)
    mixture = Mixture(whole.weight[:, :-1], whole.centre[:, :-1], whole.root[:, :-1])
    x, held_back = mixture.sample(4000, g), rings(4000, g)[:, 0]
    for moment in (lambda v: v, lambda v: (v - torch.tensor([[0.0], [100.0]])).square()):
        difference = (moment(x).mean(0) - moment(held_back).mean(0)) / moment(held_back).std(0)
        assert difference.abs().max() < 0.25
    radius = x[:, 0].norm(dim=-1)
    assert (radius < 0.4).float().mean() < 0.1


def test_a_last_part_covers_all_draws():
    g = torch.Generator().manual_seed(0)
    seen = rings(3200, g)
    mixture = fit(seen, g)
    assert torch.allclose(mixture.weight[:, -1], torch.tensor(_jumps.WIDE_SHARE))
    assert torch.allclose(mixture.centre[:, -1], seen.mean((0, 1)), atol=1e-3)
    covariance = mixture.root[:, -1] @ mixture.root[:, -1].mT
    for problem in range(2):
        own = torch.cov(seen[:, 0, problem].T)
        assert torch.allclose(covariance[problem], _jumps.WIDE**2 * own, rtol=0.01, atol=0.02)


def test_jumps_leave_the_target_as_it_is_however_poor_the_proposal():
    g = torch.Generator().manual_seed(0)
    chains = 20_000
    # Exponential in the first variable, of which a jump knows nothing.
    start = torch.stack([-torch.rand(chains, 1, generator=g).log(), torch.randn(chains, 1, generator=g)], -1)
    proposal = Mixture(torch.ones(1, 1), torch.tensor([[[2.0, -1.0]]]), torch.eye(2).expand(1, 1, 2, 2))

    def target(x):
        return torch.where(x[..., 0] > 0, -x[..., 0], -math.inf) - 0.5 * x[..., 1].square()

    stops = jump(target, start, proposal, g)
    assert (stops[-1] != start).any(-1).float().mean() > 0.5
    for x in stops:
        for power, expected in ((1, (1.0, 0.0)), (2, (2.0, 1.0))):
            mean, error = x.pow(power).mean((0, 1)), x.pow(power).std((0, 1)) / math.sqrt(chains)
            assert ((mean - torch.tensor(expected)) / error).abs().max() < 4.0


def test_no_jump_leads_to_where_the_density_is_no_number_and_any_leads_away():
    proposal = Mixture(torch.ones(1, 1), torch.zeros(1, 1, 1), torch.ones(1, 1, 1, 1))

    def target(x):
        return torch.where(x[..., 0] > 0.0, math.nan, -x[..., 0].square())

    x = jump(target, torch.ones(50, 1, 1), proposal, torch.Generator().manual_seed(0))
    assert (x[-1] < 0.0).all()
    assert TRIES == 16
