"""Families with auxiliary variables: their parts against what is known of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from canopyflow.posteriors import _dynamics, build
from canopyflow.posteriors import _extended as extended
from canopyflow.posteriors._dynamics import DynamicPosterior
from canopyflow.posteriors.contract import Family
from canopyflow.posteriors.ladder import LadderPosterior


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loud(name: str, dim: int, factor: float, **options: object) -> Family:
    torch.manual_seed(0)
    family = build(name, dim, 6, [0.0] * dim, [1.0] * dim, **options).double()
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.mul_(factor)
    return family


def log_joint(z: Tensor) -> Tensor:
    return -0.5 * ((z - 0.4) / 0.2).square().sum(-1) - 2.0 * (z.sum(-1) - 1.0).square()


def test_divergence_of_normals_is_that_of_torch() -> None:
    g = seeded()
    normals = [extended.Normal(*torch.randn(2, 5, 3, generator=g)) for _ in range(2)]
    want = kl_divergence(*(Normal(normal.loc, normal.log_scale.exp()) for normal in normals)).sum(-1)
    torch.testing.assert_close(normals[0].kl(normals[1]), want)


def test_a_ladder_says_which_layers_the_variables_depend_on() -> None:
    family = loud("ladder", 3, 2.0, sizes=(4, 2))
    h = torch.randn(5, 6, generator=seeded(), dtype=torch.float64)
    q = family(h)
    assert isinstance(q, LadderPosterior)
    kl = q.layer_kl(200, seeded(1))
    assert kl.shape == (2, 5)
    # It is the mean, layer by layer, of torch's divergence between guesses and normals of the same draws.
    with torch.no_grad():
        u, normals = q._draw((200,), seeded(1))
        pairs = list(zip(q._guesses(u), normals[1:], strict=True))
    for found, (guess, normal) in zip(kl, pairs, strict=True):
        sides = (Normal(side.loc, side.log_scale.exp()) for side in (guess, normal))
        torch.testing.assert_close(found, kl_divergence(*sides).sum(-1).mean(0))
    assert (kl > 0).all()


def test_a_layer_whose_guess_is_right_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    family = loud("ladder", 3, 2.0, sizes=(4,))
    q = family(torch.randn(5, 6, generator=seeded(), dtype=torch.float64))
    assert isinstance(q, LadderPosterior)
    monkeypatch.setattr(q, "_guesses", lambda u: [q._top()])
    assert q.layer_kl(20, seeded(1)).abs().max() < 1e-12


@pytest.fixture(params=["hamiltonian", "riemannian"])
def dynamics(request: pytest.FixtureRequest) -> DynamicPosterior:
    """With a mass that depends on the position far more than at the start of training."""
    family = loud(request.param, 4, 3.0 if request.param == "riemannian" else 1.0)
    q = family(torch.randn(6, generator=seeded(), dtype=torch.float64), log_joint)
    assert isinstance(q, DynamicPosterior)
    return q


def phase_point() -> tuple[Tensor, Tensor]:
    y, rho = torch.randn(2, 50, 4, generator=seeded(2), dtype=torch.float64)
    return y, rho


def test_the_way_back_undoes_the_way_there(dynamics: DynamicPosterior) -> None:
    y, rho = phase_point()
    last_y, last_rho, there = dynamics.flow(y, rho)
    first_y, first_rho, back = dynamics.flow_back(last_y, last_rho)
    assert (last_y - y).abs().max() > 0.1
    torch.testing.assert_close(first_y, y, atol=1e-9, rtol=0)
    torch.testing.assert_close(first_rho, rho, atol=1e-9, rtol=0)
    torch.testing.assert_close(back, there)


def test_the_jacobian_of_the_steps_is_that_of_the_cooling_alone(dynamics: DynamicPosterior) -> None:
    y, rho = (part[0] for part in phase_point())

    def flow(point: Tensor) -> Tensor:
        return torch.cat(dynamics.flow(*point.chunk(2))[:2])

    jacobian = torch.autograd.functional.jacobian(flow, torch.cat([y, rho]))
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], dynamics.flow(y, rho)[2])


def test_smaller_steps_keep_the_energy_to_second_order(
    dynamics: DynamicPosterior, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of potential and kinetic energy, without cooling and with forces unbent, over the same time."""
    monkeypatch.setattr(_dynamics, "STRONGEST_FORCE", 1e12)
    dynamics.heat = torch.ones_like(dynamics.heat)

    def energy(y: Tensor, rho: Tensor) -> Tensor:
        target = log_joint(dynamics.coordinates.outward(y)) + dynamics.coordinates.log_slope(y)
        return -target - dynamics._momentum(y).log_prob(rho)

    y, rho = 0.3 * phase_point()[0], 0.5 * phase_point()[1]
    errors = []
    for count in (20, 40):
        dynamics.steps = torch.full((count, 4), 0.4 / count, dtype=torch.float64)
        with torch.no_grad():
            errors.append((energy(*dynamics.flow(y, rho)[:2]) - energy(y, rho)).abs().median())
    assert errors[0] < 1e-2
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.2)
