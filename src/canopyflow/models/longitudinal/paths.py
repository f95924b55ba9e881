"""Paths drawn from an anchor: one observed date, and from there forward by f and back by f⁻¹.

z_j ~ q(· | x) at the anchor j. Forward, innovations ε_l ~ q(· | x, y_{l−1}). Backward, y_{l−1} = ρ y_l + σ η
with η ~ q(· | x, y_l), which makes the innovation of that step ε_l = σ y_l − ρ η: a rotation of (y_l, η), so
that its volume needs no correction and it is stable however long the gap, where solving the forward step for
y_{l−1} would divide by ρ. The density of all that is drawn is therefore

    p(z_j, …) = p(y_0) |det ∂φ_j|⁻¹ ∏ N(ε_l),

which without innovations is p(z_0) ∏ |det ∂f_l|⁻¹.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from canopyflow.models.longitudinal.law import LOG_2PI, PathLaw, log_normal
from canopyflow.posteriors.contract import standard_normal


class Guide(Protocol):
    """The posterior of one batch of n seasons with nodes 0 (the origin), 1, …, T."""

    def statics(self, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Statics (K, n, statics) and their log q (K, n)."""
        ...

    def anchor(self, node: Tensor, s: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """z (K, n, D) at ``node`` (K, n), and its log q (K, n)."""
        ...

    def innovation(
        self, node: int, y: Tensor, s: Tensor, rho: Tensor, forward: bool
    ) -> tuple[Tensor, Tensor]:
        """Location (K, n, D) and lower Cholesky factor (K, n, D, D) of the normal q of the step to ``node``.

        ``y`` (K, n, D) is that of the node before, or with ``forward`` false of the node after it; ``rho``
        (n, D) what the path remembers over the step.
        """
        ...


@dataclass(frozen=True)
class Paths:
    """``z`` (K, n, T, D) at the dates, ``statics`` (K, n, S), ``log_ratio`` (K, n): log p − log q of all that
    was drawn."""

    z: Tensor
    statics: Tensor
    log_ratio: Tensor


def draw_paths(
    law: PathLaw, guide: Guide, day: Tensor, node: Tensor, generator: torch.Generator | None = None
) -> Paths:
    """Paths at ``day`` (n, T), in order and not before the origin, from anchors ``node`` (K, n) in 0 … T."""
    days = torch.cat([torch.full_like(day[:, :1], law.origin), day], dim=-1)
    s, log_q = guide.statics(len(node), generator)
    z, log_anchor = guide.anchor(node, s, generator)
    at = days.expand(len(node), *days.shape).gather(-1, node[..., None])[..., 0]
    y, log_det = law.lift(z, s, at)
    log_ratio = law.log_statics(s) - log_q - log_det - log_anchor
    if law.innovations:
        ys, steps = _walk(law, guide, days, (node, y, s), generator)
        log_ratio = log_ratio + steps
    else:
        ys = [y] * days.shape[-1]
    log_ratio = log_ratio + law.log_start(ys[0], s)
    path = [law.place(y, s, now)[0] for y, now in zip(ys[1:], day.unbind(-1), strict=True)]
    return Paths(torch.stack(path, dim=-2), s, log_ratio)


def _walk(
    law: PathLaw,
    guide: Guide,
    days: Tensor,
    anchored: tuple[Tensor, Tensor, Tensor],
    generator: torch.Generator | None,
) -> tuple[list[Tensor], Tensor]:
    """y (K, n, D) at every node of ``days`` (n, T + 1), and log p − log q (K, n) of the steps.

    ``anchored``: node, y there, statics.
    """
    node, start, s = anchored
    gaps = law.memory(days.diff(dim=-1))
    memory = list(zip(*(each.unbind(-2) for each in gaps), strict=True))
    ys = [torch.where((node == k)[..., None], start, 0.0) for k in range(days.shape[-1])]
    total = torch.zeros_like(start[..., 0])
    for k, (rho, spread) in enumerate(memory):
        ahead = node <= k
        noise, log_q = _normal(*guide.innovation(k + 1, ys[k], s, rho, True), generator)
        ys[k + 1] = torch.where(ahead[..., None], rho * ys[k] + spread * noise, ys[k + 1])
        total = total + torch.where(ahead, log_normal(noise) - log_q, 0.0)
    for k, (rho, spread) in reversed(list(enumerate(memory))):
        behind = node > k
        noise, log_q = _normal(*guide.innovation(k, ys[k + 1], s, rho, False), generator)
        innovation = spread * ys[k + 1] - rho * noise
        ys[k] = torch.where(behind[..., None], rho * ys[k + 1] + spread * noise, ys[k])
        total = total + torch.where(behind, log_normal(innovation) - log_q, 0.0)
    return ys, total


def _normal(loc: Tensor, factor: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """A draw (..., D) of N(loc, factor factorᵀ), and its log density (...)."""
    noise = standard_normal(loc.shape, loc, generator)
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_q = -0.5 * (noise.square() + LOG_2PI).sum(-1) - log_det
    return loc + (factor @ noise[..., None])[..., 0], log_q
