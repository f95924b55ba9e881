"""The laws every posterior family obeys, as functions of a way to make the family.

``make(dim, lower, upper)`` gives an untrained family over features of length :data:`FEATURES`. A law raises
AssertionError. :mod:`test_posteriors` holds every registered family to every law, :mod:`test_the_laws`
checks that families with known defects break them. A family without an exact density is held to the
same laws through its bound, whose exponential averages to the density.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.distributions import MultivariateNormal

from canopyflow.errors import DensityError
from canopyflow.posteriors.contract import Family, LogJoint, Posterior

FEATURES = 6
Make = Callable[[int, Tensor, Tensor], Family]
Law = Callable[[Make], None]

LAWS: list[Law] = []


def law(function: Law) -> Law:
    LAWS.append(function)
    return function


def bounds(dim: int) -> tuple[Tensor, Tensor]:
    """Uneven, as physical ones are: [0.003, 0.011], [20, 90], [0, 10], ..."""
    lower = torch.tensor([0.003, 20.0, 0.0, 30.0, 1.2]).repeat(3)[:dim]
    return lower, lower + torch.tensor([0.008, 70.0, 10.0, 50.0, 0.6]).repeat(3)[:dim]


def made(make: Make, dim: int, seed: int = 0, loud: float = 3.0) -> Family:
    """A family with weights large enough that its posteriors are neither flat nor alike."""
    torch.manual_seed(seed)
    family = make(dim, *bounds(dim))
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.mul_(loud)
    return family


def expressive(make: Make, dim: int) -> Family:
    """Far from its start, but where a reverse model is untrained, near enough for it to guess usefully."""
    return made(make, dim, loud=1.5 if made(make, 1).has_density else 0.7).double()


def features(*batch: int, seed: int = 1) -> Tensor:
    return torch.randn(*batch, FEATURES, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def target(family: Family, spread: float = 0.2) -> LogJoint:
    """A normal over the unit cube whose variables trade off, for families that follow a target."""

    def log_joint(z: Tensor) -> Tensor:
        unit = (z - family.lower) / (family.upper - family.lower)
        away, sum_away = (unit - 0.4) / spread, (unit.sum(-1) - 0.5) / spread
        return -0.5 * away.square().sum(-1) - 2.0 * sum_away.square()

    return log_joint


def posterior(family: Family, h: Tensor) -> Posterior:
    return family(h, target(family))


def log_density(q: Posterior, z: Tensor, draws: int = 100) -> Tensor:
    """log q(z): exact, or the mean of many bounds."""
    if q.has_density:
        return q.log_prob(z)
    generator = seeded(17)
    # In pieces that stay in a processor's cache: three times as fast.
    bounds = (q.log_prob_bound(part.expand(draws, *part.shape), generator) for part in z.split(200))
    return torch.cat([torch.logsumexp(bound, 0) - math.log(draws) for bound in bounds])


@law
def shapes_and_exactly_k_samples(make: Make) -> None:
    for dim, target_given in ((1, True), (2, False), (11, True)):
        family = made(make, dim, loud=1.0)
        for batch, shape in product([(), (4,), (2, 3)], [(), (1,), (7,), (2, 5)]):
            q = family(features(*batch), target(family) if target_given else None)
            z, log_q = q.rsample_and_log_prob(shape)
            assert q.batch_shape == batch
            assert z.shape == (*shape, *batch, dim) and log_q.shape == (*shape, *batch)
            assert q.rsample(shape).shape == z.shape and q.log_prob_bound(z).shape == log_q.shape
            if q.has_density:
                assert q.log_prob(z).shape == log_q.shape
            if shape and math.prod(shape) > 1:
                assert len(torch.unique(z.reshape(math.prod(shape), -1), dim=0)) == math.prod(shape)
        for batch in ((), (2, 3)):
            q = posterior(family, features(*batch))
            assert q.quantile(0.5).shape == (*batch, dim)
            assert q.quantile(torch.tensor([0.05, 0.5, 0.95])).shape == (3, *batch, dim)


@law
def what_has_no_density_says_so(make: Make) -> None:
    family = made(make, 2)
    for q in (family(features(3)), posterior(family, features(3))):
        assert q.has_density == family.has_density
        z = q.rsample()
        if q.has_density:
            assert torch.equal(q.log_prob_bound(z), q.log_prob(z))
        else:
            with pytest.raises(DensityError, match="log_prob_bound"):
                q.log_prob(z)


@law
def samples_are_strictly_inside_with_finite_density(make: Make) -> None:
    for loud in (0.0, 3.0, 30.0):
        family = made(make, 11, loud=loud)
        q = posterior(family, features(50))
        with torch.no_grad():
            z, log_q = q.rsample_and_log_prob((200,), seeded())
            assert (z > family.lower).all() and (z < family.upper).all()
            assert log_q.isfinite().all() and not torch.isnan(z).any()
            assert (q.log_prob_bound(family.upper + 1.0) == -math.inf).all()
            assert not torch.isnan(q.log_prob_bound(z)).any()


@law
def extreme_features_keep_gradients_finite(make: Make) -> None:
    family = made(make, 11)
    h = (1e3 * features(20)).requires_grad_()
    z, log_q = posterior(family, h).rsample_and_log_prob((50,), seeded())
    (z.sum() + log_q.mean()).backward()
    assert h.grad is not None and h.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in family.parameters())


@law
def gradients_equal_finite_differences(make: Make) -> None:
    for dim in (1, 5):
        family = made(make, dim, loud=1.0).double()
        h = features(2).double().requires_grad_()
        point = family.lower + (family.upper - family.lower) * torch.tensor([0.2, 0.5, 0.9, 0.4, 0.6])[:dim]

        def draw(h: Tensor, family: Family = family) -> tuple[Tensor, Tensor]:
            z, log_q = posterior(family, h).rsample_and_log_prob((3,), seeded(5))
            return (z - family.lower) / (family.upper - family.lower), log_q

        def density(h: Tensor, family: Family = family, z: Tensor = point) -> Tensor:
            return posterior(family, h).log_prob_bound(z, seeded(5))

        assert torch.autograd.gradcheck(draw, h, atol=1e-5)
        assert torch.autograd.gradcheck(density, h, atol=1e-5)


def midpoints(family: Family, dim: int, n: int) -> tuple[Tensor, Tensor]:
    """Points (n^dim, dim) and their volumes (n^dim,), denser towards the bounds, where mass may pile up."""
    t = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    unit, weight = t * t * (3 - 2 * t), 6 * t * (1 - t) / n
    grid = torch.cartesian_prod(*[unit] * dim).reshape(-1, dim)
    volume = torch.cartesian_prod(*[weight] * dim).reshape(-1, dim).prod(-1)
    width = family.upper - family.lower
    return family.lower + width * grid, volume * width.prod()


@law
def density_integrates_to_one_and_is_that_of_the_samples(make: Make) -> None:
    """By quadrature, in one and two dimensions: the mass, and the first two moments of the draws."""
    for dim in (1, 2):
        family = expressive(make, dim)
        n, tolerance = (
            ({1: 20_001, 2: 201}[dim], 3e-3) if family.has_density else ({1: 401, 2: 41}[dim], 2e-2)
        )
        # A wide target: after a long way through a narrow one, single bounds say little of their mean.
        h = features(2).double()
        q = family(h, target(family, spread=0.6))
        z, volume = midpoints(family, dim, n)
        with torch.no_grad():
            mass = volume.unsqueeze(1) * log_density(q, z.unsqueeze(1).expand(-1, len(h), -1)).exp()
            assert mass.sum(0).tolist() == pytest.approx([1.0] * len(h), abs=tolerance)
            draws = q.rsample((20_000,), seeded(2))
        width = family.upper - family.lower
        grid, drawn = (z - family.lower) / width, (draws - family.lower) / width
        for want, got in ((grid, drawn), (grid * grid.flip(-1), drawn * drawn.flip(-1))):
            error = torch.einsum("nb,nd->bd", mass, want) - got.mean(0)
            assert error.abs().max() < 0.01 + tolerance


@law
def density_of_samples_is_the_one_they_came_with(make: Make) -> None:
    if not made(make, 1).has_density:
        return
    for dim in (1, 2, 11):
        family = made(make, dim, loud=1.5).double()
        q = posterior(family, features(20).double())
        z, log_q = q.rsample_and_log_prob((30,), seeded())
        torch.testing.assert_close(q.log_prob(z), log_q, atol=2e-3, rtol=1e-4)


@law
def density_is_the_jacobian_of_the_sampler(make: Make) -> None:
    """A flow is a smooth map of noise: log q(z) against autograd's Jacobian of that map."""
    if made(make, 1).kin != "flow":
        return
    family = made(make, 4).double()
    q = posterior(family, features().double())
    for seed in range(5):
        noise = torch.randn(4, generator=seeded(seed), dtype=torch.float64)

        def push(x: Tensor) -> Tensor:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(torch, "randn", lambda *a, **k: x)
                return q.rsample()

        log_det = torch.linalg.slogdet(torch.autograd.functional.jacobian(push, noise))[1]
        want = -0.5 * (noise.square() + math.log(2 * math.pi)).sum() - log_det
        torch.testing.assert_close(q.log_prob(push(noise)), want, atol=1e-5, rtol=1e-6)


@law
def weights_are_unbiased(make: Make) -> None:
    """E_q[f(z) / q] = ∫ f in the extended space; of an exact density the laws above say as much."""
    if made(make, 1).has_density:
        return
    for dim in (1, 2):
        family = expressive(make, dim)
        z, volume = midpoints(family, dim, {1: 2001, 2: 201}[dim])
        f = target(family)
        truth = torch.logsumexp(f(z) + volume.log(), 0)
        q = posterior(family, features(3).double())
        with torch.no_grad():
            draws, log_q = q.rsample_and_log_prob((40_000,), seeded(4))
            weight = (f(draws) - log_q - truth).exp()
        error = weight.std(0) / math.sqrt(len(weight))
        assert (error < 0.04 * weight.mean(0)).all(), (
            "too few effective draws for the comparison to say anything"
        )
        assert ((weight.mean(0) - 1.0).abs() < 4.5 * error + 1e-3).all(), weight.mean(0)


@law
def bounds_are_bounds(make: Make) -> None:
    """The mean bound lies below the density, and is no wild number: of draws it stays within a few nats."""
    family = made(make, 5, loud=1.0)
    q = posterior(family, features(4))
    if q.has_density:
        return
    with torch.no_grad():
        z = q.rsample((20,), seeded())
        bound = q.log_prob_bound(z.expand(2_000, *z.shape), seeded(1))
    gap = torch.logsumexp(bound, 0) - math.log(len(bound)) - bound.mean(0)
    assert (gap > 0).all() and gap.mean() < 3.0


@law
def a_pixel_does_not_depend_on_its_neighbours(make: Make) -> None:
    family, h = made(make, 11), features(8)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        # The same noise for every pixel: then the draws must be the same, whoever is beside it.
        patch.setattr(torch, "randn", lambda *shape, **how: _constant(shape, 0.3, **how))
        patch.setattr(torch, "rand", lambda *shape, **how: _constant(shape, 0.6, **how))
        q = posterior(family, h)
        z, log_q = q.rsample_and_log_prob((4,))
        bound = q.log_prob_bound(z)
        for i in range(8):
            alone = posterior(family, h[i : i + 1])
            one, its_log_q = alone.rsample_and_log_prob((4,))
            its_bound = alone.log_prob_bound(z[:, i : i + 1])
            torch.testing.assert_close(one[:, 0], z[:, i], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(its_log_q[:, 0], log_q[:, i], rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(its_bound[:, 0], bound[:, i], rtol=1e-3, atol=1e-3)


def _constant(shape: tuple[object, ...], value: float, **how: object) -> Tensor:
    sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    return torch.full(tuple(sizes), value, dtype=how.get("dtype") or torch.get_default_dtype())  # type: ignore[arg-type, call-overload]


@law
def quantiles_are_those_of_the_samples(make: Make) -> None:
    family = made(make, 5)
    q = posterior(family, features(3))
    p = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    with torch.no_grad():
        got = q.quantile(p)
        draws = q.rsample((5_000,), seeded(3))
    share = torch.stack([(draws <= level).float().mean(0) for level in got])
    assert (share - p[:, None, None]).abs().max() < 0.06
    assert (got.diff(dim=0) >= 0).all()
    assert torch.equal(got, q.quantile(p))


@law
def saving_and_loading_changes_nothing(make: Make) -> None:
    family, other = made(make, 11, seed=0), made(make, 11, seed=1)
    other.load_state_dict(load(save(family.state_dict())))
    h = features(4)
    ours, theirs = (posterior(f, h).rsample_and_log_prob((5,), seeded()) for f in (family, other))
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


@law
def it_depends_on_the_features(make: Make) -> None:
    """Untrained too: a family that ignores its features at the start may never begin to listen."""
    family = made(make, 11, loud=1.0)
    one, two = (posterior(family, features(seed=s)).rsample((3,), seeded()) for s in (1, 2))
    assert ((one - two).abs() > 0).all()


@law
def a_generator_repeats(make: Make) -> None:
    family = made(make, 11)
    q = posterior(family, features(4))
    first, again, other = (q.rsample((5,), seeded(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again) and not torch.equal(first, other)
    bounds = [q.log_prob_bound(first, seeded(seed)) for seed in (7, 7)]
    assert torch.equal(*bounds)


def linear_gaussian(dim: int) -> tuple[LogJoint, Tensor, MultivariateNormal]:
    """x = A z + e, z ~ N(m, S²), e ~ N(0, s²): log p(x, z), log p(x) and the posterior, all exact.

    Far inside the bounds [0, 1]: the mass beyond them is below 1e-6.
    """
    g = seeded(11)
    a = torch.randn(dim + 2, dim, generator=g, dtype=torch.float64)
    prior_mean, prior_std, noise = 0.5, 0.08, 0.1
    x = a @ (prior_mean + prior_std * torch.randn(dim, generator=g, dtype=torch.float64))
    x = x + noise * torch.randn(dim + 2, generator=g, dtype=torch.float64)
    evidence = MultivariateNormal(
        prior_mean * a.sum(1), prior_std**2 * a @ a.T + noise**2 * torch.eye(dim + 2, dtype=torch.float64)
    ).log_prob(x)
    precision = torch.eye(dim, dtype=torch.float64) / prior_std**2 + a.T @ a / noise**2
    mean = torch.linalg.solve(
        precision, torch.full((dim,), prior_mean / prior_std**2).double() + a.T @ x / noise**2
    )

    def log_joint(z: Tensor) -> Tensor:
        residual, spread = (x - z @ a.T) / noise, (z - prior_mean) / prior_std
        constant = (dim + 2) * math.log(noise) + dim * math.log(prior_std)
        constant = constant + (dim + 1) * math.log(2 * math.pi)
        return -0.5 * (residual.square().sum(-1) + spread.square().sum(-1)) - constant

    return log_joint, evidence, MultivariateNormal(mean, precision_matrix=precision)


@law
def exact_answer(make: Make) -> None:
    """Importance sampling with the trained family gives the known log-likelihood and posterior mean."""
    for dim in (2, 5):
        log_joint, evidence, truth = linear_gaussian(dim)
        torch.manual_seed(0)
        family = make(dim, torch.zeros(dim), torch.ones(dim)).double()
        h = features().double()
        optimiser = torch.optim.Adam(family.parameters(), lr=2e-2)
        # Where a reverse model has to learn as well, it takes longer.
        for step in range(300 if family.kin == "auxiliary" else 150):
            z, log_q = family(h, log_joint).rsample_and_log_prob((32,), seeded(step))
            loss = (log_q - log_joint(z)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert -loss.item() < evidence + 0.2, "the objective must bound the evidence from below"
        with torch.no_grad():
            z, log_q = family(h, log_joint).rsample_and_log_prob((20_000,), seeded(1000))
            log_weight = log_joint(z) - log_q
        weight = torch.softmax(log_weight, 0)
        effective = 1.0 / weight.square().sum()
        assert effective > 1000, "too few effective draws for the comparison to say anything"
        estimate = torch.logsumexp(log_weight, 0) - math.log(len(z))
        error = math.sqrt(1.0 / effective - 1.0 / len(z))
        assert abs(estimate - evidence) < 4 * error + 2e-3, (
            f"{estimate:.4f} against {evidence:.4f} ± {error:.4f}"
        )
        mean = (weight.unsqueeze(-1) * z).sum(0)
        assert ((mean - truth.mean).abs() < 5 * truth.stddev / effective.sqrt() + 1e-4).all()
