"""The chain of dates: a density that is that of the draws, whatever the order of the dates."""

import math
from dataclasses import replace

import pytest
import torch
from seasons import clouded, some_seasons, spoiled, untrained_seasons

from canopyflow import posteriors
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.trajectory import Chain, ChainPosterior
from canopyflow.observations.observation import Observation
from canopyflow.posteriors.contract import EDGE

DAY = torch.tensor([[200.0, 10.0, 90.0, 93.0], [5.0, 200.0, 30.0, -40.0]], dtype=torch.double)


def chain(family: str = "nsf", dim: int = 2) -> Chain:
    """With weights that let the past matter."""
    torch.manual_seed(0)
    lower = torch.tensor([-1.0, 0.0, 2.0])[:dim]
    built = Chain(posteriors.build(family, dim, 6, lower, lower + 2.0), width=16).requires_grad_(False)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    # In double precision: the inverse of a spline is only as exact as its steepest piece lets it be.
    return built.double()


def law(family: str = "nsf", dim: int = 2) -> ChainPosterior:
    return chain(family, dim)(features(), DAY)


def features() -> torch.Tensor:
    return torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("family", ["nsf", "mixture", "truncated_normal", "maf", "gaussian_copula"])
def test_the_density_of_a_draw_is_the_one_that_comes_with_it(family: str) -> None:
    q = law(family, dim=3)
    u, log_q = q.rsample_and_log_prob((5,), torch.Generator().manual_seed(2))
    assert u.shape == (5, 2, 4, 3) and log_q.shape == (5, 2) and q.batch_shape == (2,)
    torch.testing.assert_close(q.log_prob(u), log_q, atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(q.log_prob_bound(u), q.log_prob(u))


def test_the_density_of_a_whole_trajectory_integrates_to_one() -> None:
    q = chain("truncated_normal", dim=1)(features()[:1, :2], DAY[:1, :2])
    middles = -1.0 + 2.0 * (torch.arange(120).double() + 0.5) / 120
    grid = torch.cartesian_prod(middles, middles).reshape(-1, 1, 2, 1)
    total = q.log_prob(grid).exp().sum() * (2.0 / 120) ** 2
    assert float(total) == pytest.approx(1.0, abs=0.02)


def test_outside_of_the_bounds_there_is_no_density() -> None:
    u = torch.tensor([0.0, 1.0]).double().repeat(2, 4, 1)
    assert law().log_prob(u).isfinite().all()
    u[1, 2, 0] = 1.5
    found = law().log_prob(u)
    assert found[0].isfinite() and found[1] == -math.inf


def test_the_order_of_the_dates_changes_nothing() -> None:
    built, h = chain(), features()
    u = built(h, DAY).rsample((3,), torch.Generator().manual_seed(0))
    order = torch.tensor([2, 0, 3, 1])
    turned = built(h[:, order], DAY[:, order])
    torch.testing.assert_close(turned.log_prob(u[:, :, order]), built(h, DAY).log_prob(u))
    again = turned.rsample((3,), torch.Generator().manual_seed(0))
    torch.testing.assert_close(again, u[:, :, order])


def test_a_date_depends_on_all_dates_before_it_and_on_none_after() -> None:
    built, h = chain(), features()[:1]
    day = DAY[:1]
    u = built(h, day).rsample((), torch.Generator().manual_seed(0))
    order = day[0].argsort()
    for changed in range(4):
        other = u.clone()
        other[0, order[changed]] = torch.tensor([0.9, 1.9]).double()
        parts = [_conditionals(built, h, day, each) for each in (u, other)]
        same = (parts[0] - parts[1]).abs() < 1e-6
        assert same[:changed].all() and not same[changed + 1 :].any()


def _conditionals(built: Chain, h: torch.Tensor, day: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Means of each date given those before, in order of the days, (date, D)."""
    w = torch.special.ndtri(((u - built.head.lower) / 2.0).clamp(EDGE, 1 - EDGE))
    order = day[0].argsort()
    told = built.told(w[:, order], day[:, order])
    given = built.given(h[:, order], built.from_features(h[:, order]), told)
    return given.rsample((64,), torch.Generator().manual_seed(0)).mean(0)[0]


def test_draws_one_by_one_are_told_what_all_at_once_are() -> None:
    built = chain(dim=3)
    w = torch.randn(5, 2, 4, 3, generator=torch.Generator().manual_seed(0)).double()
    day = DAY.sort(-1).values
    told = built.told(w, day)
    for date in range(4):
        past = list(w[:, :, :date].unbind(-2))
        total = sum(past, torch.zeros(5, 2, 3).double())
        torch.testing.assert_close(built.next_told(past, total, day), told[..., date, :])


def test_the_first_date_of_all_is_told_nothing() -> None:
    built = chain()
    told = built.told(torch.randn(2, 4, 2).double(), DAY.sort(-1).values)
    assert not told[:, 0].any() and told[:, 1].any(-1).all()


def test_days_of_years_before_have_a_density_too() -> None:
    """In single precision, as models are: the gap from day 0 to the first date is no gap."""
    built, day = chain().float(), DAY.sort(-1).values.float()
    w = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(built.told(w, day - 900.0), built.told(w, day))
    assert built(features().float(), day - 900.0).log_prob(torch.full((2, 4, 2), 0.3)).isfinite().all()


def test_a_trajectory_has_a_density_where_its_family_has_one() -> None:
    assert chain("nsf").has_density and law("nsf").has_density
    assert not chain("auxiliary").has_density and not law("auxiliary").has_density
    u, log_q = law("auxiliary").rsample_and_log_prob((3,))
    assert log_q.shape == (3, 2)
    assert law("auxiliary").log_prob_bound(u).shape == (3, 2)


def test_gradients_reach_every_weight() -> None:
    torch.manual_seed(0)
    built = Chain(posteriors.build("nsf", 2, 6, [0.0, 0.0], [1.0, 1.0]), width=16)
    built(features().float(), DAY).log_prob(torch.full((2, 4, 2), 0.3)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in built.parameters())


@pytest.fixture(scope="module")
def model() -> Amortised:
    return untrained_seasons()


@pytest.fixture(scope="module")
def seen(model: Amortised) -> Observation:
    return some_seasons(model.generative, 3).seen


def test_posterior_of_seasons_in_physical_units(model: Amortised, seen: Observation) -> None:
    q = model.posterior(seen)
    z, log_q = q.rsample_and_log_prob((2,), torch.Generator().manual_seed(0))
    assert z.shape == (2, 3, 6, 11) and log_q.shape == (2, 3)
    assert torch.equal(q.draw(2, torch.Generator().manual_seed(0)).z, z)
    torch.testing.assert_close(q.log_prob(z), log_q, atol=5e-2, rtol=1e-3)
    assert q.base_log_joint(q.prior.to_base(z)).shape == (2, 3)
    assert model.fit(z, seen).shape == (3,)


def test_what_stands_under_an_invalid_entry_changes_no_bit_of_a_posterior(
    model: Amortised, seen: Observation
) -> None:
    masked = clouded(seen, [0, 4])
    one, two = (model.posterior(each) for each in (masked, spoiled(masked)))
    u, log_q = one.base.rsample_and_log_prob((2,), torch.Generator().manual_seed(0))
    again, same = two.base.rsample_and_log_prob((2,), torch.Generator().manual_seed(0))
    assert torch.equal(u, again) and torch.equal(log_q, same)
    assert torch.equal(one.base_log_likelihood(u), two.base_log_likelihood(u))


def test_an_untrained_model_of_seasons_keeps_dates_together() -> None:
    # Without innovations this is what thousands of steps are spent on: a network that knows nothing of the
    # prior gives neighbouring dates independent states.
    model = untrained_seasons()
    seen = some_seasons(model.generative, 20).seen
    with torch.no_grad():
        assert seen.day is not None
        apart = (2.0 * torch.arange(seen.day.shape[-1])).expand(seen.day.shape)
        close = replace(seen, day=apart)
        u = model.posterior(close).base.rsample((64,), torch.Generator().manual_seed(0))
        w = model.generative.to_scores(u)
    assert (w.diff(dim=-2).square().mean() / w.var()) < 0.5


def test_a_prior_that_expects_nothing_has_a_chain_of_states() -> None:
    model = untrained_seasons()
    seen = some_seasons(model.generative, 2).seen
    model.generative.dynamics.expected = lambda day: None  # type: ignore[method-assign]
    with torch.no_grad():
        base = model.posterior(seen).base
        u, log_q = base.rsample_and_log_prob((3,), torch.Generator().manual_seed(0))
        assert torch.allclose(base.log_prob(u), log_q, rtol=1e-3, atol=1e-2)
