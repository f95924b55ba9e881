"""Riemannian: leapfrog steps along the target with a mass that depends on the position.

As ``hamiltonian``, with a mass matrix that is learned and differs from place to place. The variables are
split into halves a and b, and the mass is semi-separable (Zhang & Sutton 2014):

    M(y) = diag(exp g_a(y_b), exp g_b(y_a)),    kinetic energy T_a + T_b,
    T_a = ½ Σ (ρ_a² exp(−g_a(y_b)) + g_a(y_b)),

g networks of one hidden layer of the other half and the features, |g| ≤ 2. Under T_a alone y_a moves at
constant speed and ρ_b is kicked: explicit, and exactly volume-preserving. A step is ½ force, T_a/2, T_b,
T_a/2, ½ force. (Girolami & Calderhead 2011, doi:10.1111/j.1467-9868.2010.00765.x, take a general metric,
which needs an implicit equation in every step and keeps the volume only as well as that is solved.)

The density is the bound of ``hamiltonian`` with ρ₀ ~ N(0, T₀ M(y₀)) and N(ρ_K; 0, M(y_K)). The determinants
of M are part of it; left out, likelihoods come out wrong. Each mass depends on the other half of the
variables only.
"""

import torch
from torch import Tensor, nn

from ._bounds import shrunk
from ._dynamics import TargetFollower, bent
from .contract import LogJoint, Posterior, Setting

LOG_MASS = 2.0
"""Masses lie in exp(±2)."""


class Riemannian(TargetFollower):
    """Options: ``steps`` of leapfrog, ``hidden`` width of the networks of the mass."""

    summary = "Riemannian: as hamiltonian, with a learned mass that depends on the position"
    reference = "Chadebec et al. 2020, arXiv:2010.11518; Zhang & Sutton 2014, arXiv:1406.3843"
    cost = "draw: steps + 1 gradients of the target and its networks; bound: the same"

    def __init__(self, setting: Setting, steps: int = 3, hidden: int = 32) -> None:
        super().__init__(setting, steps)
        # Neighbours in different halves.
        halves = torch.arange(0, self.dim, 2), torch.arange(1, self.dim, 2)
        self.masses = nn.ModuleList(
            Mass(moved, kept, self.features, hidden) for moved, kept in (halves, halves[::-1]) if len(moved)
        )

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        halves = [mass for mass in self.masses if isinstance(mass, Mass)]
        return self.dynamics(h, SemiSeparableMass(halves, [half.context(h) for half in halves]), log_joint)


class Mass(nn.Module):
    """Log mass of the variables ``moved`` as a network of those ``kept`` and the features."""

    moved: Tensor
    kept: Tensor

    def __init__(self, moved: Tensor, kept: Tensor, features: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("moved", moved, persistent=False)
        self.register_buffer("kept", kept, persistent=False)
        self.context = nn.Linear(features, hidden)
        self.from_kept = nn.Parameter(torch.randn(hidden, len(kept)) / max(len(kept), 1) ** 0.5)
        self.out = shrunk(nn.Linear(hidden, len(moved)))

    def forward(self, context: Tensor, y: Tensor) -> Tensor:
        """Log mass (..., moved)."""
        return LOG_MASS * torch.tanh(self.out(torch.tanh(context + y[..., self.kept] @ self.from_kept.T)))

    def flow(self, context: Tensor, y: Tensor, rho: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """The flow of this half's kinetic energy over ``step`` (D,)."""
        hidden = torch.tanh(context + y[..., self.kept] @ self.from_kept.T)
        tanh = torch.tanh(self.out(hidden))
        velocity = rho[..., self.moved] * torch.exp(-LOG_MASS * tanh)
        # ∂T/∂y of those kept, by the chain rule through the network.
        slope = 0.5 * (1.0 - rho[..., self.moved] * velocity) * LOG_MASS * (1.0 - tanh.square())
        slope = ((slope @ self.out.weight) * (1.0 - hidden.square())) @ self.from_kept
        y = y.index_add(-1, self.moved, step[self.moved] * velocity)
        return y, rho.index_add(-1, self.kept, -step[self.kept] * bent(slope))


class SemiSeparableMass:
    """``contexts``: the features' share of the first layer of each half's network."""

    def __init__(self, halves: list[Mass], contexts: list[Tensor]) -> None:
        self.halves, self.contexts = halves, contexts

    def log_mass(self, y: Tensor) -> Tensor:
        out = torch.zeros_like(y)
        for half, context in zip(self.halves, self.contexts, strict=True):
            out = out.index_add(-1, half.moved, half(context, y))
        return out

    def drift(self, y: Tensor, rho: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        pairs = list(zip(self.halves, self.contexts, strict=True))
        for half, context in pairs[:-1]:
            y, rho = half.flow(context, y, rho, 0.5 * step)
        last, context = pairs[-1]
        y, rho = last.flow(context, y, rho, step)
        # Symmetric, so that the opposite step undoes this one.
        for half, context in reversed(pairs[:-1]):
            y, rho = half.flow(context, y, rho, 0.5 * step)
        return y, rho


FAMILY = Riemannian
