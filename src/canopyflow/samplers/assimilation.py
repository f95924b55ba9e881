"""Score-based assimilation: from noise to a draw of the posterior, by a denoiser of the prior and by
measurements.

x_σ = x + σ ε is a draw of the prior under noise that falls from ``highest`` to ``lowest``. The denoiser
gives E[x | x_σ], and its derivative the covariance V = σ² ∂E[x | x_σ]/∂x_σ of x given x_σ (Tweedie; Rozet,
Andry, Lanusse & Louppe 2024, arXiv:2405.13712), unless the denoiser says V itself. With measurements
y = f(x) + noise, linearised at the denoised point, the mean given both is

    E[x | x_σ, y] = E[x | x_σ] + V Jᵀ (I + J V Jᵀ)⁻¹ (y − f),        in units of the noise,

exact where the prior is normal and f linear. The inverse is by conjugate gradients over all measurements of
a problem (see :mod:`canopyflow.samplers._conjugate`): after one step of a solver, means are off by most of a
posterior standard deviation even in that case.

Predictor: a step of second order along the probability flow towards less noise (levels as Karras, Aittala,
Aila & Laine 2022, arXiv:2206.00364). Corrector: noise is added and removed by such a step, which is a step
of Langevin's equation without the error of its discretisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.samplers._conjugate import conjugate_gradients
from canopyflow.samplers.contract import Draws, Linearised, Product, Sampler, Target

RHO = 7.0
"""Levels of noise are evenly spaced in their ρ-th root (Karras et al. 2022)."""

POWER = 3.0
"""How the posterior mean changes with the level of noise within a step. For normal posteriors of any width
the errors of steps then nearly cancel: deviations come out within .3 % at 32 steps, of 1 % with power 1 or
2."""

CHURN = 0.3
"""A corrector adds noise until its level is 1 + CHURN times what it was."""

BEYOND = 30.0
"""Draws whose linear systems are left with this many times the tolerance are not reliable."""


class Assimilation(Sampler):
    """Independent draws from ``steps`` levels of noise, each followed by ``corrections``.

    Linear systems are solved to the relative residual ``tolerance`` or for ``iterations``. The diagnosis is
    the largest ``residual`` that was left, and ``indefinite``: the share of linear systems that were given up
    because V, from the derivative of a composed denoiser, was no covariance. Draws are not reliable where the
    residual stayed above 30 times the tolerance. The coordinates of the sampler must have variances near 1
    under the prior.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"denoiser", "linearise", "start"})

    def __init__(
        self,
        steps: int = 32,
        corrections: int = 1,
        highest: float = 40.0,
        lowest: float = 0.003,
        tolerance: float = 1e-3,
        iterations: int = 100,
    ) -> None:
        self.steps, self.corrections = steps, corrections
        self.highest, self.lowest = highest, lowest
        self.tolerance, self.iterations = tolerance, iterations

    def draw(self, target: Target, shape: Sequence[int], generator: torch.Generator | None = None) -> Draws:
        if target.denoiser is None or target.linearise is None or target.start is None:
            raise ConfigError(
                "assimilation: this target has no denoiser",
                "ask canopyflow.models.assimilation.target.Assimilated for the posterior of a season",
            )
        g = torch.default_generator if generator is None else generator
        flow, levels = Flow(target, self.tolerance, self.iterations), self.levels()
        # So much noise hides where a draw comes from: all may come from the mean given the measurements.
        centre = flow.mean(target.start(math.prod(shape), g), self.highest)
        x = _noised(centre, self.highest, g)
        for high, low in pairwise(levels):
            x = flow.step(x, high, low)
            for _ in range(self.corrections):
                up = (1.0 + CHURN) * low
                x = flow.step(_noised(x, math.sqrt(up**2 - low**2), g), up, low)
        # Half of the way to the mean: the flow down to no noise at all, of a posterior wider than the lowest.
        z = target.outward(0.5 * (x + flow.mean(x, self.lowest)))
        return Draws(
            z.reshape(*shape, *z.shape[1:]),
            reliable=flow.residual <= BEYOND * self.tolerance,
            diagnosis={"residual": flow.residual, "indefinite": flow.indefinite / flow.systems},
        )

    def levels(self) -> list[float]:
        """Standard deviations of the noise, from ``highest`` to ``lowest``."""
        high, low = self.highest ** (1.0 / RHO), self.lowest ** (1.0 / RHO)
        inner = [(high + (low - high) * step / self.steps) ** RHO for step in range(1, self.steps)]
        return [self.highest, *inner, self.lowest]


class Flow:
    """Means of the posterior under noise, and the way along them.

    ``residual`` (n,): the largest relative residual of a linear system so far; ``indefinite`` (n,): how many
    of the ``systems`` of a problem were given up, as a mean over draws.
    """

    def __init__(self, target: Target, tolerance: float, iterations: int) -> None:
        self.target, self.tolerance, self.iterations = target, tolerance, iterations
        self.residual, self.indefinite = torch.zeros(()), torch.zeros(())
        self.systems = 0

    def step(self, x: Tensor, high: float, low: float) -> Tensor:
        """``x`` (*sample, n, D) at the level of noise ``high`` carried to ``low`` by the probability flow.

        The mean is taken to change as the cube of the level does; the rest of the equation is solved exactly.
        """
        here = self.mean(x, high)
        there = self.mean(here + (low / high) * (x - here), low)
        bend = (there - here) / (low**POWER - high**POWER)
        still = here - bend * high**POWER
        slope = (x - still) / high + bend * high ** (POWER - 1.0) / (POWER - 1.0)
        return still + low * slope - bend * low**POWER / (POWER - 1.0)

    def mean(self, x: Tensor, sigma: float) -> Tensor:
        """E[x₀ | ``x``, y] (*sample, n, D), where x (*sample, n, D) is x₀ under noise of ``sigma``."""
        assert self.target.denoiser is not None and self.target.linearise is not None
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            mean, covariance = self.target.denoiser(leaf, sigma)
        if covariance is None:
            covariance = tweedie(mean, leaf, sigma)
        seen = self.target.linearise(mean.detach())
        found = conjugate_gradients(
            lambda u: u + seen.forward(covariance(seen.backward(u))),
            seen.stacked,
            preconditioner(seen, sigma**2 / (1.0 + sigma**2)),
            self.tolerance,
            self.iterations,
        )
        over = tuple(range(found.residual.ndim - 1))
        self.residual = torch.maximum(self.residual.to(found.residual), found.residual.amax(over))
        self.indefinite = self.indefinite + (~found.positive).float().mean(over)
        self.systems += 1
        return mean.detach() + covariance(seen.backward(found.u))


def tweedie(mean: Tensor, x: Tensor, sigma: float) -> Product:
    """Products with V = ``sigma``² ∂``mean``/∂``x``: with its symmetric part, because the derivative of a
    composed denoiser is not quite symmetric."""
    with torch.enable_grad():
        probe = torch.zeros_like(mean, requires_grad=True)
        (pulled,) = torch.autograd.grad(mean, x, probe, create_graph=True)

    def product(v: Tensor) -> Tensor:
        (left,) = torch.autograd.grad(mean, x, v, retain_graph=True)
        (right,) = torch.autograd.grad(pulled, probe, v, retain_graph=True)
        return 0.5 * sigma**2 * (left + right)

    return product


def preconditioner(seen: Linearised, variance: float) -> Callable[[Tensor], Tensor]:
    """The inverse of I + J V Jᵀ for V = ``variance`` × I, blocks without each other: what V is, roughly, if
    all coordinates have variance 1 and none says anything of another."""
    jacobian = seen.jacobian
    eye = torch.eye(jacobian.shape[-2]).to(jacobian)
    # One product per iteration; solving with the factors takes several times as long for many small blocks.
    near = torch.cholesky_inverse(torch.linalg.cholesky(eye + variance * jacobian @ jacobian.mT))
    shape = seen.residual.shape[-2:]
    wide = None if seen.wide_jacobian is None else 1.0 + variance * seen.wide_jacobian.square().sum(-1)

    def inverse(u: Tensor) -> Tensor:
        size = shape[0] * shape[1]
        blocks = u[..., :size].unflatten(-1, shape)
        own = (near @ blocks[..., None])[..., 0].flatten(-2)
        return own if wide is None else torch.cat([own, u[..., size:] / wide], -1)

    return inverse


def _noised(x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    return x + sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


SAMPLER = Assimilation
