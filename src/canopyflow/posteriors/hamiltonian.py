"""Hamiltonian: draws of an initial distribution that follow the target for a few tempered leapfrog steps.

In the coordinates y the initial distribution is N(0, 1), and along the gradient of log p(x, z) + log |∂z/∂y|

    ρ₀ ~ N(0, T₀),    (y, ρ) ← leapfrog(y, ρ),  ρ ← √(Tₖ/Tₖ₋₁) ρ,    k = 1 … K,    T_K = 1.

The coordinates, a step size for every step and variable, and T₀ in (1, 4) are learned; √Tₖ falls
quadratically in k. With the momentum's distribution at the end, N(0, 1), as reverse model,

    log q = log N(y₀) + log N(ρ₀; T₀) − log det − log N(ρ_K) − log |∂z/∂y|,    log det = −½ D log T₀.

The leapfrog shears the space and keeps its volume for any step size; only the cooling changes it. Forces are
bent to stay below 20 per unit of y, which keeps the draws in the box and the density exact.
``log_prob_bound`` runs the steps backwards from a drawn momentum. Without ``log_joint`` no step is taken.

A draw takes K + 1 gradients of PROSAIL, and training second derivatives: not under ``torch.inference_mode``.
Exact dynamics leave the divergence in the extended space as it was, so the bound gains only from cooling and
from coarse steps: the draws of z come closer to the posterior than the bound shows. In the linear-Gaussian
test the bound was no better than that of independent normals.
"""

import torch
from torch import Tensor

from ._dynamics import TargetFollower
from .contract import LogJoint, Posterior


class Hamiltonian(TargetFollower):
    """Option ``steps``: the number K of leapfrog steps."""

    summary = "Hamiltonian: tempered leapfrog steps along the target, learned step sizes"
    reference = "Caterini et al. 2018, arXiv:1805.11328"
    cost = "draw: steps + 1 gradients of the target; bound: the same"

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        return self.dynamics(h, UnitMass(), log_joint)


class UnitMass:
    """Euclidean kinetics: M = 1."""

    def log_mass(self, y: Tensor) -> Tensor:
        return torch.zeros_like(y)

    def drift(self, y: Tensor, rho: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        return y + step * rho, rho


FAMILY = Hamiltonian
