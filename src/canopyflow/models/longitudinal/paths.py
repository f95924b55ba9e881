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

from canopyflow.models.longitudinal.law import PathLaw, log_normal
from canopyflow.posteriors.contract import standard_normal


class Guide(Protocol):
    """The posterior of one batch of n seasons with nodes 0 (the origin), 1, …, T."""

    def statics(self, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Statics (K, n, statics) and their log q (K, n)."""
        ...

    def anchor(self, node: Tensor, s: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """z (K, n, D) at ``node`` (K, n), and its log q (K, n)."""
        ...

    def innovations(self, nodes: tuple[int, int], y: Tensor, s: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
        """Location (2, K, n, D) and lower Cholesky factor (2, K, n, D, D) of the normal q of two steps.

        The first goes forward to ``nodes``[0] from the node before it, the second backward to ``nodes``[1]
        from the node after it. ``y`` (2, K, n, D): at the nodes they come from; ``rho`` (2, n, D): what the
        path remembers over them.
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
        ys = y.unsqueeze(-2).expand(*y.shape[:-1], days.shape[-1], law.dim)
    log_ratio = log_ratio + law.log_start(ys[..., 0, :], s)
    path = law.place(ys[..., 1:, :], s.unsqueeze(-2), day)[0]
    return Paths(path, s, log_ratio)


def _walk(
    law: PathLaw,
    guide: Guide,
    days: Tensor,
    anchored: tuple[Tensor, Tensor, Tensor],
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """y (K, n, T + 1, D) at every node of ``days`` (n, T + 1), and log p − log q (K, n) of the steps.

    ``anchored``: node, y there, statics. All seasons walk from end to end in both directions at once, because
    their anchors differ; what a walk does before it meets the anchor is thrown away.
    """
    node, start, s = anchored
    last = days.shape[-1] - 1
    # Axes (step, direction, K, n, D), the steps of the way back in the order in which they are taken.
    rho, spread = (
        torch.stack([each, each.flip(1)]).permute(2, 0, 1, 3) for each in law.memory(days.diff(dim=-1))
    )
    from_y = torch.stack([torch.zeros_like(spread[:, 0]), spread[:, 1]], dim=1)
    from_noise = torch.stack([torch.ones_like(rho[:, 0]), -rho[:, 1]], dim=1)
    white = standard_normal((last, 2, *start.shape), start, generator)
    y = torch.where(_at(node, 0, last), start, torch.zeros_like(start))
    ys, innovations, factors = [y], [], []
    for k in range(last):
        loc, factor = guide.innovations((k + 1, last - 1 - k), y, s, rho[k])
        noise = loc + (factor @ white[k][..., None])[..., 0]
        innovations.append(from_y[k][:, None] * y + from_noise[k][:, None] * noise)
        y = rho[k][:, None] * y + spread[k][:, None] * noise
        y = torch.where(_at(node, k + 1, last - 1 - k), start, y)
        ys.append(y)
        factors.append(factor)
    log_det = torch.stack(factors).diagonal(dim1=-2, dim2=-1).log().sum(-1)
    each = log_normal(torch.stack(innovations)) - log_normal(white) + log_det
    steps = torch.arange(last, device=node.device)[:, None, None]
    taken = torch.stack([node <= steps, node >= last - steps], dim=1)
    walked = torch.stack(ys)
    # Node k is met after k steps forward and after last − k steps backward.
    ahead = (node <= torch.arange(last + 1, device=node.device)[:, None, None])[..., None]
    path = torch.where(ahead, walked[:, 0], walked[:, 1].flip(0))
    return path.movedim(0, -2), torch.where(taken, each, 0.0).sum((0, 1))


def _at(node: Tensor, first: int, second: int) -> Tensor:
    """Whether ``node`` (K, n) is the ``first`` or the ``second``: (2, K, n, 1)."""
    return torch.stack([node == first, node == second])[..., None]
