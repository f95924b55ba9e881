"""Every registered sampler under the laws of samplers: exact where the answer is known, and no problem of
another's. A new sampler is tested by being registered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from canopyflow.registry import SAMPLERS
from canopyflow.samplers.contract import Draws, Linearised, Sampler, Target

PROBLEMS, DIM, ROWS = 3, 3, 6

ONE_PASS: dict[str, dict[str, Any]] = {"hmc": {"rounds": 1}, "hmc_wide": {"rounds": 1}}
"""Options that make a sampler's length the same for all problems, where it follows their needs else."""

PARTS = ("start", "proposal", "rows", "denoiser", "linearise", "information")
"""Of a target, beside its log density."""

pytestmark = pytest.mark.parametrize("name", sorted(SAMPLERS))


def to_physical(x: Tensor) -> Tensor:
    return 10.0 + 2.0 * x


class Regressions:
    """Linear regressions side by side, each with a normal prior and noise of its own size: their posteriors
    are normal, of known mean (n, D) and covariance (n, D, D)."""

    def __init__(self, observed: Tensor | None = None, index: Tensor | None = None) -> None:
        g = torch.Generator().manual_seed(0)
        design, own = torch.randn(PROBLEMS, ROWS, DIM, generator=g), torch.randn(PROBLEMS, ROWS, generator=g)
        index = torch.arange(PROBLEMS) if index is None else index
        self.observed = own if observed is None else observed
        self.index, self.design, self.y = index, design[index], self.observed[index]
        self.noise = torch.tensor([0.3, 1.0, 3.0])[index]
        self.precision = torch.eye(DIM) + self.design.mT @ self.design / self.noise[:, None, None] ** 2
        self.covariance = torch.linalg.inv(self.precision)
        by_data = (self.design.mT @ self.y[..., None])[..., 0] / self.noise[:, None] ** 2
        self.mean = (self.covariance @ by_data[..., None])[..., 0]

    def log_density(self, x: Tensor) -> Tensor:
        residual = self.y - torch.einsum("nij,...nj->...ni", self.design, x)
        return -0.5 * ((residual / self.noise[:, None]).square().sum(-1) + x.square().sum(-1))

    def start(self, count: int, generator: torch.Generator) -> Tensor:
        return 2.0 * torch.randn(count, len(self.index), DIM, generator=generator)

    def proposal(self, shape: Sequence[int], generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Half again as wide as the posterior and beside it."""
        root = 1.5 * torch.linalg.cholesky(self.covariance)
        e = torch.randn(*shape, len(self.index), DIM, generator=generator)
        x = self.mean + 0.3 * root.diagonal(dim1=-2, dim2=-1) + torch.einsum("nij,...nj->...ni", root, e)
        return x, -0.5 * e.square().sum(-1) - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def denoiser(self, x: Tensor, sigma: float) -> tuple[Tensor, None]:
        return x / (1.0 + sigma**2), None

    def linearise(self, x: Tensor) -> Linearised:
        """One block, in units of the noise."""
        residual = self.y - torch.einsum("nij,...nj->...ni", self.design, x)
        design = self.design / self.noise[:, None, None]
        shape = (*x.shape[:-1], 1, ROWS, DIM)
        return Linearised((residual / self.noise[:, None])[..., None, :], design[:, None].expand(shape))

    def information(self, x: Tensor) -> Tensor:
        return self.precision

    def rows(self, index: Tensor) -> Target:
        return target(Regressions(self.observed, self.index[index]), None)


def target(problem: Regressions, needs: frozenset[str] | None) -> Target:
    """What ``needs`` says, and nothing that it keeps silent of."""
    parts: dict[str, Any] = {name: getattr(problem, name) for name in PARTS if needs is None or name in needs}

    def constant(x: Tensor) -> Tensor:
        return problem.log_density(x.detach())

    differentiated = needs is None or "gradient" in needs
    return Target(
        log_density=problem.log_density if differentiated else constant, outward=to_physical, **parts
    )


def draw(
    name: str, shape: tuple[int, ...], seed: int = 0, problem: Regressions | None = None, **options: Any
) -> Draws:
    sampler: Sampler = SAMPLERS.build(name, **options)
    unknown = sampler.needs - {"gradient", *PARTS}
    assert not unknown, f"this file's target does not have {unknown}"
    given = target(problem or Regressions(), sampler.needs)
    return sampler.draw(given, shape, torch.Generator().manual_seed(seed))


def test_mean_and_covariance_of_linear_gaussian_posteriors_are_exact(name: str) -> None:
    count, exact = 4000, Regressions()
    found = draw(name, (count,))
    assert found.reliable is None or found.reliable.all()
    for problem in range(PROBLEMS):
        effective = count if found.ess is None else min(count, float(found.ess[problem]))
        assert effective > 400
        mean, covariance = to_physical(exact.mean[problem]), 4.0 * exact.covariance[problem]
        deviation = covariance.diagonal().sqrt()
        z = found.z[:, problem]
        error = (z.mean(0) - mean) / deviation
        assert error.abs().max() < 4.0 / effective**0.5
        # An entry of a correlation matrix has at most the variance 2 / n, which is that of a variance.
        difference = (torch.cov(z.T) - covariance) / (deviation[:, None] * deviation)
        assert difference.abs().max() < 4.0 * (2.0 / effective) ** 0.5


def test_shapes(name: str) -> None:
    found = draw(name, (5, 4), **ONE_PASS.get(name, {}))
    assert found.z.shape == (5, 4, PROBLEMS, DIM) and found.z.isfinite().all()
    if found.ess is not None:
        assert found.ess.shape == (PROBLEMS,) and (found.ess > 0).all()
    if found.reliable is not None:
        assert found.reliable.shape == (PROBLEMS,) and found.reliable.dtype == torch.bool
    assert all(value.shape == (PROBLEMS,) for value in found.diagnosis.values())


def test_same_seed_same_draws(name: str) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    one, two, other = (draw(name, (50,), seed, **ONE_PASS.get(name, {})) for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one.z, two.z) and not torch.equal(one.z, other.z)
    for key, value in one.diagnosis.items():
        assert torch.equal(value, two.diagnosis[key])


def test_without_a_generator_the_global_one_is_drawn_from(name: str) -> None:
    sampler: Sampler = SAMPLERS.build(name, **ONE_PASS.get(name, {}))

    def once(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return sampler.draw(target(Regressions(), sampler.needs), (50,)).z

    assert torch.equal(once(1), once(1)) and not torch.equal(once(1), once(2))


def test_problems_side_by_side_do_not_influence_each_other(name: str) -> None:
    """Bit for bit, where the other one has other data and all random numbers are the same."""
    options = ONE_PASS.get(name, {})
    observed = Regressions().observed.clone()
    one = draw(name, (100,), problem=Regressions(observed), **options)
    observed[1] = observed[1] + 5.0
    two = draw(name, (100,), problem=Regressions(observed), **options)
    assert not torch.equal(one.z[:, 1], two.z[:, 1])
    for kept in (0, 2):
        assert torch.equal(one.z[:, kept], two.z[:, kept])
        assert all(torch.equal(v[kept], two.diagnosis[key][kept]) for key, v in one.diagnosis.items())
