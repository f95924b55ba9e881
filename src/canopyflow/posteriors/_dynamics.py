"""What the families that follow their target share: leapfrog steps through an unconstrained space.

The initial distribution is the standard normal in the coordinates y of :mod:`._extended`, which makes
independent normals in probits. From it y₀ is drawn, and a momentum ρ₀ with it. A few leapfrog steps in y move
both along the target, log p(x, z) with the Jacobian of y → z, and between the steps the momentum is cooled.
The momentum is the auxiliary variable; its reverse model, at the end, is the distribution in which an
untempered sampler would hold it. With M the mass matrix and T₀ the first temperature,

    log q = log N(y₀; 0, 1) + log N(ρ₀; 0, T₀ M(y₀)) − log |∂(y_K, ρ_K)/∂(y₀, ρ₀)| − log N(ρ_K; 0, M(y_K))

less the Jacobian of y_K → z. Every part of a step is a shear: it adds to one half of the numbers a function
of the other half. A shear keeps the volume whatever that function is, and subtracting the function undoes it.
So the density is exact, rounding aside, for coarse steps, clipped forces and untrained networks too. Only
cooling changes the volume, by a known factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from ._extended import Coordinates, ExtendedFamily, ExtendedPosterior, Normal, standard_log_prob
from .contract import LogJoint, Setting

LONGEST_STEP = 0.8
"""Largest step size; the initial distribution has scale one, for which leapfrog is stable below 2."""
FIRST_STEP = 0.15
STRONGEST_FORCE = 20.0
"""Forces are bent to stay below this: far from the target they would throw a draw out of the box."""
HOTTEST = 2.0
"""Greatest ratio of the first momentum's standard deviation to the last one's."""


class Kinetics(Protocol):
    """How momentum moves position: the mass matrix, diagonal, and the flow of the kinetic energy."""

    def log_mass(self, y: Tensor) -> Tensor:
        """Log of the diagonal of M at ``y``, (..., D)."""

    def drift(self, y: Tensor, rho: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Position and momentum after ``step`` (D,), volume kept; undone by the opposite step."""


class TargetFollower(ExtendedFamily):
    """Learns the initial distribution, the temperature and the size of each of ``steps`` leapfrog steps."""

    kin = "dynamics"

    def __init__(self, setting: Setting, steps: int = 3) -> None:
        super().__init__(setting)
        first = FIRST_STEP / LONGEST_STEP
        self.raw_step = nn.Parameter(torch.full((steps, self.dim), math.log(first / (1.0 - first))))
        self.raw_heat = nn.Parameter(torch.tensor(-1.5))

    def dynamics(self, h: Tensor, kinetics: Kinetics, log_joint: LogJoint | None) -> DynamicPosterior:
        """The posterior of features ``h`` that moves by ``kinetics``."""
        return DynamicPosterior(
            self.coordinates(h),
            kinetics,
            LONGEST_STEP * torch.sigmoid(self.raw_step),
            HOTTEST ** torch.sigmoid(self.raw_heat),
            log_joint,
        )


class DynamicPosterior(ExtendedPosterior):
    """``steps`` (K, D) step sizes, ``heat`` () the first momentum's standard deviation, √T₀.

    Without a target no step is taken: the posterior is its initial distribution.
    """

    def __init__(
        self,
        coordinates: Coordinates,
        kinetics: Kinetics,
        steps: Tensor,
        heat: Tensor,
        log_joint: LogJoint | None,
    ) -> None:
        super().__init__(coordinates)
        self.kinetics, self.steps, self.heat = kinetics, steps, heat
        self._log_joint = log_joint

    def flow(self, y: Tensor, rho: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All steps forwards: last position and momentum (..., D), log-determinant ()."""
        push = self._force(y)
        log_det = torch.zeros_like(self.heat)
        for step, cooling in zip(self.steps, self._coolings(), strict=True):
            y, rho = self.kinetics.drift(y, rho + 0.5 * step * push, step)
            push = self._force(y)
            rho = (rho + 0.5 * step * push) * cooling
            log_det = log_det + y.shape[-1] * cooling.log()
        return y, rho, log_det

    def flow_back(self, y: Tensor, rho: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The inverse of :meth:`flow`: first position and momentum, and the log-determinant *forwards*."""
        push = self._force(y)
        log_det = torch.zeros_like(self.heat)
        for step, cooling in zip(self.steps.flip(0), reversed(self._coolings()), strict=True):
            y, rho = self.kinetics.drift(y, rho / cooling - 0.5 * step * push, -step)
            push = self._force(y)
            rho = rho - 0.5 * step * push
            log_det = log_det + y.shape[-1] * cooling.log()
        return y, rho, log_det

    def _coolings(self) -> list[Tensor]:
        """Factor of the momentum after each step: the quadratic schedule of Caterini et al. 2018, eq. 9."""
        last = len(self.steps)
        widths = [self.heat + (1.0 - self.heat) * (k / last) ** 2 for k in range(last + 1)]
        return [after / before for before, after in pairwise(widths)]

    def _force(self, y: Tensor) -> Tensor:
        """Gradient of the log target at ``y`` (..., *batch, D), bent below :data:`STRONGEST_FORCE`.

        Differentiable once more where gradients are being recorded.
        """
        assert self._log_joint is not None
        recording = torch.is_grad_enabled()
        with torch.enable_grad():
            point = y.reshape(-1, *self._like.shape)
            if not point.requires_grad:
                point = point.detach().requires_grad_()
            target = self._log_joint(self.coordinates.outward(point)) + self.coordinates.log_slope(point)
            (force,) = torch.autograd.grad(target.sum(), point, create_graph=recording)
        return bent(force.reshape(y.shape))

    def _forward(self, shape: Sequence[int], generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        y = self._noise((*shape, *self._like.shape), generator)
        log_q = standard_log_prob(y)
        if self._log_joint is not None:
            first = self._momentum(y, self.heat.log())
            rho = first.transform(self._noise(y.shape, generator))
            log_q = log_q + first.log_prob(rho)
            y, rho, log_det = self.flow(y, rho)
            log_q = log_q - log_det - self._momentum(y).log_prob(rho)
        return y, log_q

    def _reverse(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        if self._log_joint is None:
            return standard_log_prob(y)
        last = self._momentum(y)
        rho = last.transform(self._noise(y.shape, generator))
        first_y, first_rho, log_det = self.flow_back(y, rho)
        first = self._momentum(first_y, self.heat.log())
        return standard_log_prob(first_y) + first.log_prob(first_rho) - log_det - last.log_prob(rho)

    def _momentum(self, y: Tensor, log_heat: Tensor | float = 0.0) -> Normal:
        """N(0, T M(y)), whose determinant depends on the position and belongs to the density."""
        log_scale = 0.5 * self.kinetics.log_mass(y) + log_heat
        return Normal(torch.zeros_like(y), log_scale)


def bent(force: Tensor) -> Tensor:
    """``force``, smoothly limited to ±:data:`STRONGEST_FORCE` and nearly unchanged where it is weak."""
    return force / torch.sqrt(1.0 + (force / STRONGEST_FORCE).square())
