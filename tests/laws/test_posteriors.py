"""The laws every posterior family obeys. A new family is tested by being registered."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributions import MultivariateNormal

import canopyflow.posteriors
from canopyflow.errors import ConfigError
from canopyflow.posteriors import FAMILIES, build
from canopyflow.posteriors.contract import Family
from canopyflow.posteriors.registry import family_module

FEATURES = 6
ALL = pytest.mark.parametrize("name", sorted(FAMILIES))
EXACT = pytest.mark.parametrize("name", sorted(n for n, e in FAMILIES.items() if e.has_density))


def bounds(dim: int) -> tuple[Tensor, Tensor]:
    """Uneven, as physical ones are: [0.003, 0.011], [20, 90], [0, 10], ..."""
    lower = torch.tensor([0.003, 20.0, 0.0, 30.0, 1.2]).repeat(3)[:dim]
    return lower, lower + torch.tensor([0.008, 70.0, 10.0, 50.0, 0.6]).repeat(3)[:dim]


def make(name: str, dim: int, seed: int = 0, loud: float = 3.0) -> Family:
    """A family with weights large enough that its posteriors are neither flat nor alike."""
    torch.manual_seed(seed)
    family = build(name, dim, FEATURES, *bounds(dim))
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.mul_(loud)
    return family


def features(*batch: int, seed: int = 1) -> Tensor:
    return torch.randn(*batch, FEATURES, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@ALL
@pytest.mark.parametrize("dim", [1, 2, 11])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 5)])
def test_shapes_and_exactly_k_samples(
    name: str, dim: int, batch: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    q = make(name, dim)(features(*batch))
    z, log_q = q.rsample_and_log_prob(shape)
    assert q.batch_shape == batch
    assert z.shape == (*shape, *batch, dim) and log_q.shape == (*shape, *batch)
    assert q.rsample(shape).shape == z.shape and q.log_prob(z).shape == log_q.shape
    assert q.quantile(0.5).shape == (*batch, dim)
    assert q.quantile(torch.tensor([0.05, 0.5, 0.95])).shape == (3, *batch, dim)
    if shape and math.prod(shape) > 1:
        assert len(torch.unique(z.reshape(math.prod(shape), -1), dim=0)) == math.prod(shape)


@ALL
@pytest.mark.parametrize("loud", [0.0, 3.0, 30.0])
def test_samples_are_strictly_inside_with_finite_density(name: str, loud: float) -> None:
    family = make(name, 11, loud=loud)
    z, log_q = family(features(50)).rsample_and_log_prob((200,), seeded())
    assert (z > family.lower).all() and (z < family.upper).all()
    assert log_q.isfinite().all() and not torch.isnan(z).any()
    assert (family(features(50)).log_prob(family.upper + 1.0) == -math.inf).all()


@ALL
def test_extreme_features_keep_gradients_finite(name: str) -> None:
    family = make(name, 11)
    h = (1e3 * features(20)).requires_grad_()
    z, log_q = family(h).rsample_and_log_prob((50,), seeded())
    (z.sum() + log_q.mean()).backward()
    assert h.grad is not None and h.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in family.parameters())


@ALL
@pytest.mark.parametrize("dim", [1, 5])
def test_gradient_equals_finite_differences(name: str, dim: int) -> None:
    family = make(name, dim, loud=1.0).double()
    h = features(2).double().requires_grad_()

    def draw(h: Tensor) -> tuple[Tensor, Tensor]:
        z, log_q = family(h).rsample_and_log_prob((3,), seeded(5))
        return (z - family.lower) / (family.upper - family.lower), log_q

    assert torch.autograd.gradcheck(draw, h, atol=1e-5)


@EXACT
def test_gradient_of_density_equals_finite_differences(name: str) -> None:
    family = make(name, 3, loud=1.0).double()
    h = features(2).double().requires_grad_()
    z = (family.lower + (family.upper - family.lower) * torch.tensor([[0.2, 0.5, 0.9]])).double()
    assert torch.autograd.gradcheck(lambda h: family(h).log_prob(z), h, atol=1e-5)


@EXACT
@pytest.mark.parametrize("dim", [1, 2])
def test_density_integrates_to_one(name: str, dim: int) -> None:
    family = make(name, dim, loud=1.5).double()
    q = family(features(3).double())
    n = 20_001 if dim == 1 else 201
    # Midpoints in a coordinate that is dense at the bounds, where mass may pile up.
    t = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    unit, weight = t * t * (3 - 2 * t), 6 * t * (1 - t) / n
    grid = torch.cartesian_prod(*[unit] * dim).reshape(-1, dim)
    weights = torch.cartesian_prod(*[weight] * dim).reshape(-1, dim).prod(-1)
    width = family.upper - family.lower
    density = q.log_prob((family.lower + width * grid).unsqueeze(1)).exp() * width.prod()
    total = (weights.unsqueeze(1) * density).sum(0)
    assert total.tolist() == pytest.approx([1.0] * 3, abs=3e-3)


@EXACT
@pytest.mark.parametrize("dim", [1, 2, 11])
def test_density_of_samples_is_the_one_they_came_with(name: str, dim: int) -> None:
    q = make(name, dim, loud=1.5).double()(features(20).double())
    z, log_q = q.rsample_and_log_prob((30,), seeded())
    torch.testing.assert_close(q.log_prob(z), log_q, atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(n for n, e in FAMILIES.items() if e.kin == "flow"))
def test_density_is_the_jacobian_of_the_sampler(name: str) -> None:
    """A flow is a smooth map of noise: log q(z) against autograd's Jacobian of that map."""
    family = make(name, 4).double()
    q = family(features().double())
    for seed in range(5):
        noise = torch.randn(4, generator=seeded(seed), dtype=torch.float64)

        def push(x: Tensor) -> Tensor:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(torch, "randn", lambda *a, **k: x)
                return q.rsample()

        log_det = torch.linalg.slogdet(torch.autograd.functional.jacobian(push, noise))[1]
        want = -0.5 * (noise.square() + math.log(2 * math.pi)).sum() - log_det
        torch.testing.assert_close(q.log_prob(push(noise)), want, atol=1e-5, rtol=1e-6)


@ALL
def test_batch_invariance(name: str) -> None:
    """A pixel's posterior does not depend on its neighbours."""
    family, h = make(name, 11), features(8)
    together = family(h).quantile(0.3)
    if FAMILIES[name].has_density:
        z = family(h).rsample((4,), seeded())
        for i in range(8):
            torch.testing.assert_close(
                family(h[i]).log_prob(z[:, i]), family(h).log_prob(z)[:, i], rtol=1e-4, atol=1e-4
            )
        return
    for i in range(8):
        alone = family(h[i : i + 1]).quantile(0.3)[0]
        assert ((alone - together[i]) / (family.upper - family.lower)).abs().max() < 0.1


@ALL
def test_quantiles_are_those_of_the_samples(name: str) -> None:
    family = make(name, 5)
    q = family(features(3))
    p = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    got = q.quantile(p)
    draws = q.rsample((5_000,), seeded(3))
    share = torch.stack([(draws <= level).float().mean(0) for level in got])
    assert (share - p[:, None, None]).abs().max() < 0.06
    assert (got.diff(dim=0) >= 0).all()
    assert torch.equal(got, q.quantile(p))


@ALL
def test_save_and_load(name: str, tmp_path: Path) -> None:
    family, other = make(name, 11, seed=0), make(name, 11, seed=1)
    save_file(family.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    h = features(4)
    for a, b in zip(
        family(h).rsample_and_log_prob((5,), seeded()),
        other(h).rsample_and_log_prob((5,), seeded()),
        strict=True,
    ):
        assert torch.equal(a, b)


@ALL
def test_posterior_depends_on_the_features(name: str) -> None:
    """Untrained too: a family that ignores its features at the start may never begin to listen."""
    torch.manual_seed(0)
    family = build(name, 11, FEATURES, *bounds(11))
    one, two = (family(features(seed=s)).rsample((3,), seeded()) for s in (1, 2))
    assert ((one - two).abs() > 0).all()


@ALL
def test_generator_repeats(name: str) -> None:
    q = make(name, 11)(features(4))
    assert torch.equal(q.rsample((5,), seeded(7)), q.rsample((5,), seeded(7)))
    assert not torch.equal(q.rsample((5,), seeded(7)), q.rsample((5,), seeded(8)))


def linear_gaussian(dim: int) -> tuple[Tensor, Tensor, Tensor, MultivariateNormal]:
    """x = A z + e, z ~ N(m, S²), e ~ N(0, s²): A, observed x, log p(x) and the posterior, all exact.

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
    return a, x, evidence, MultivariateNormal(mean, precision_matrix=precision)


@ALL
@pytest.mark.parametrize("dim", [2, 5])
def test_exact_answer(name: str, dim: int) -> None:
    """Importance sampling with the family gives the known log-likelihood and posterior mean."""
    a, x, evidence, posterior = linear_gaussian(dim)
    lower, upper = torch.zeros(dim, dtype=torch.float64), torch.ones(dim, dtype=torch.float64)

    def log_joint(z: Tensor) -> Tensor:
        residual = (x - z @ a.T) / 0.1
        spread = (z - 0.5) / 0.08
        constant = (dim + 2) * math.log(0.1) + dim * math.log(0.08) + (dim + 1) * math.log(2 * math.pi)
        return -0.5 * (residual.square().sum(-1) + spread.square().sum(-1)) - constant

    torch.manual_seed(0)
    family = build(name, dim, FEATURES, lower, upper).double()
    h = features().double()
    optimiser = torch.optim.Adam(family.parameters(), lr=2e-2)
    for step in range(150):
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
    assert abs(estimate - evidence) < 4 * error + 2e-3, f"{estimate:.4f} against {evidence:.4f} ± {error:.4f}"
    mean = (weight.unsqueeze(-1) * z).sum(0)
    assert ((mean - posterior.mean).abs() < 5 * posterior.stddev / effective.sqrt() + 1e-4).all()


def test_registry_names_the_mistake() -> None:
    low, high = bounds(2)
    with pytest.raises(ConfigError, match="did you mean 'truncated_normal'"):
        build("truncated_norm", 2, FEATURES, low, high)
    with pytest.raises(ConfigError, match="did you mean 'transforms'"):
        build("nsf", 2, FEATURES, low, high, transform=2)
    with pytest.raises(ConfigError, match="variable 1 has bounds"):
        build("nsf", 2, FEATURES, torch.tensor([0.0, 2.0]), torch.tensor([1.0, 2.0]))
    with pytest.raises(ConfigError, match=r"must be \(2,\)"):
        build("nsf", 2, FEATURES, low[:1], high)


@ALL
def test_a_family_does_not_import_its_siblings(name: str) -> None:
    """Else an edit of one family would retrain the others (DESIGN: what reruns what)."""
    folder = Path(canopyflow.posteriors.__file__).parent
    siblings = {family_module(other).rpartition(".")[2] for other in FAMILIES} - {
        family_module(name).rpartition(".")[2]
    }
    for module in (family_module(name).rpartition(".")[2], "contract", "registry", "__init__"):
        for node in ast.walk(ast.parse((folder / f"{module}.py").read_text())):
            if isinstance(node, ast.ImportFrom):
                names = {node.module or "", *(alias.name for alias in node.names)}
            elif isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            else:
                continue
            assert not {part for n in names for part in n.split(".")} & siblings
