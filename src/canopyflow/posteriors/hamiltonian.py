"""Hamiltonian: draws of an initial law that follow the target for a few tempered leapfrog steps.

Caterini, Doucet & Sejdinovic 2018, Hamiltonian variational auto-encoder, arXiv:1805.11328 (after Salimans,
Kingma & Welling 2015, arXiv:1410.6460). Learned are the initial law, a step size for every step and
variable, and the first temperature. What the density is, :mod:`._dynamics` says; here the mass is one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._dynamics import TargetFollower
from .contract import LogJoint, Posterior


class Hamiltonian(TargetFollower):
    """Option: ``steps`` of leapfrog, each of which costs a gradient of the target for every draw."""

    summary = "Hamiltonian: tempered leapfrog steps along the target, learned step sizes"
    reference = "Caterini et al. 2018, arXiv:1805.11328"
    cost = "draw: steps + 1 gradients of the target; bound: the same"

    def __init__(self, dim: int, features: int, lower: Tensor, upper: Tensor, steps: int = 3) -> None:
        super().__init__(dim, features, lower, upper, steps)

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        return self.dynamics(h, UnitMass(), log_joint)


class UnitMass:
    """Euclidean kinetics: M = 1."""

    def log_mass(self, y: Tensor) -> Tensor:
        return torch.zeros_like(y)

    def drift(self, y: Tensor, rho: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        return y + step * rho, rho


FAMILY = Hamiltonian
