"""The normal distribution at the mode: Levenberg's steps up to it, the curvature there, draws of that.

For a season these are the steps of an iterated smoother, over all dates and variables at once: where the
posterior is normal the draws are exact. Where it is bent, as that of a canopy's variables is, the curvature
at the mode says less than half of it and the draws are too narrow: with PROSAIL 90 % intervals of leaf area
cover near three quarters. A baseline, then, and a preconditioner (:mod:`canopyflow.samplers.hmc_wide`), not a
posterior to publish.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.samplers.contract import Draws, Sampler, Target

CANDIDATES = 64
"""Starting points for each problem; the best of them is taken."""

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1.0, 1e-9, 1e9
"""Levenberg's damping, in units of the target's own coordinates: smaller after a step up the density, larger
after one that would have led down."""

DECREMENT = 1e-2
"""A problem has converged where a Newton step would gain less than this, in nats, to first order."""


class Smoother(Sampler):
    """At most ``steps`` steps up to the mode; ``reliable`` says where it was reached, not that the target is
    normal there. The diagnosis is the ``decrement``, nats that one more step promises."""

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "start", "information"})

    def __init__(self, steps: int = 100) -> None:
        self.steps = steps

    def draw(self, target: Target, shape: Sequence[int], generator: torch.Generator | None = None) -> Draws:
        g = torch.default_generator if generator is None else generator
        found = mode(target, self.steps, g)
        n, dim = found.x.shape
        normal = torch.randn(
            math.prod(shape), n, dim, generator=g, dtype=found.x.dtype, device=found.x.device
        )
        x = found.x + torch.einsum("nij,knj->kni", found.spread, normal)
        z = target.outward(x)
        return Draws(
            z.reshape(*shape, *z.shape[1:]),
            reliable=found.decrement <= DECREMENT,
            diagnosis={"decrement": found.decrement},
        )


@dataclass(frozen=True)
class Mode:
    """``x`` (n, D): where the density is largest; ``spread`` (n, D, D), upper triangular: a root of the
    covariance of the normal distribution there; ``decrement`` (n,): what one more step would gain."""

    x: Tensor
    spread: Tensor
    decrement: Tensor


def mode(target: Target, steps: int, generator: torch.Generator) -> Mode:
    """Climb to a mode of every problem. A problem that has arrived stays where it is. Raises ConfigError for
    a target without ``information``."""
    if target.information is None:
        raise ConfigError(
            "this target does not say how it is curved, which smoother and hmc_wide need",
            "of a season take a prior with a root, such as season_gp; or the sampler hmc",
        )
    x = _best(target, generator)
    eye = torch.eye(x.shape[-1]).to(x)
    damping = x.new_full(x.shape[:1], FIRST_DAMPING)
    value, slope = _value_and_slope(target, x)
    information = target.information(x)
    rounding = torch.finfo(x.dtype).eps
    for _ in range(steps):
        arrived = _decrement(information, slope) <= 8.0 * rounding
        if bool(arrived.all()):
            break
        step = _solve(information + damping[:, None, None] * eye, slope)
        there = x + step
        new, new_slope = _value_and_slope(target, there)
        # Near the mode the gain is less than the digits of the density.
        better = (new >= value - 4.0 * rounding * value.abs()) & ~arrived
        x, value = torch.where(better[:, None], there, x), torch.where(better, new, value)
        slope = torch.where(better[:, None], new_slope, slope)
        if bool(better.any()):
            fresh = target.information(x)
            information = torch.where(better[:, None, None], fresh, information)
        damping = torch.where(better, 0.2 * damping, 5.0 * damping).clamp(LEAST_DAMPING, MOST_DAMPING)
    # Of the precision's Cholesky factor L, the inverse of its transpose is a root of the covariance.
    factor = torch.linalg.cholesky(information)
    spread = torch.linalg.solve_triangular(factor.mT, eye.expand_as(factor), upper=True)
    return Mode(x, spread, _decrement(information, slope))


def _best(target: Target, generator: torch.Generator) -> Tensor:
    """The best of some starting points, (n, D)."""
    assert target.start is not None
    starts = target.start(CANDIDATES, generator)
    with torch.no_grad():
        value = target.log_density(starts).nan_to_num(nan=-math.inf)
    best = value.argmax(0)
    return starts[best, torch.arange(starts.shape[1], device=starts.device)]


def _value_and_slope(target: Target, x: Tensor) -> tuple[Tensor, Tensor]:
    """Log density (n,) and its gradient (n, D); a place without a density is the worst."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        value = target.log_density(leaf.unsqueeze(0))[0]
        (slope,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach().nan_to_num(nan=-math.inf), slope.nan_to_num(nan=0.0)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Positive definite systems (n, D, D) for (n, D)."""
    factor = torch.linalg.cholesky(matrix)
    return torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)


def _decrement(information: Tensor, slope: Tensor) -> Tensor:
    """Half the squared length of the gradient, measured by the information: nats that a step promises."""
    return 0.5 * (slope * _solve(information, slope)).sum(-1)


SAMPLER = Smoother
