"""Conjugate gradients for many symmetric positive systems side by side, each stopping by itself.

Hestenes & Stiefel 1952 (J. Res. NBS 49:409), preconditioned. A system that has converged, or whose matrix
turns out not to be positive, is held where it is while the others go on: what one needs changes no bit of
another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]
"""(*batch, M) → (*batch, M), linear in each system's vector."""


@dataclass(frozen=True)
class Solution:
    """``u`` (*batch, M); ``residual`` (*batch): norm of what is left of the right-hand side as a share of it;
    ``positive`` (*batch) bool: no direction of negative curvature was met."""

    u: Tensor
    residual: Tensor
    positive: Tensor


def conjugate_gradients(
    matrix: Map, right: Tensor, precondition: Map, tolerance: float, iterations: int
) -> Solution:
    """Solve matrix(u) = ``right`` (*batch, M) until the residual is at most ``tolerance`` × the right-hand
    side.

    ``precondition`` is an approximate inverse of the matrix, symmetric and positive. A system whose
    right-hand side is zero has the solution zero.
    """
    size = right.square().sum(-1)
    bound = tolerance**2 * size
    u, rest = torch.zeros_like(right), right
    near = precondition(rest)
    direction, gain = near, (rest * near).sum(-1)
    positive = torch.ones_like(size, dtype=torch.bool)
    for _ in range(iterations):
        running = positive & (rest.square().sum(-1) > bound)
        if not bool(running.any()):
            break
        image = matrix(direction)
        curvature = (direction * image).sum(-1)
        positive = positive & ~(running & ~(curvature > 0.0))
        running = running & positive
        # What is not read gets a harmless divisor, so that no NaN enters a system that is held.
        step = torch.where(running, gain / torch.where(running, curvature, 1.0), 0.0)[..., None]
        u, rest = u + step * direction, rest - step * image.where(running[..., None], 0.0)
        near = precondition(rest)
        next_gain = (rest * near).sum(-1)
        turn = torch.where(running, next_gain / torch.where(running, gain, 1.0), 0.0)[..., None]
        direction = torch.where(running[..., None], near + turn * direction, direction)
        gain = torch.where(running, next_gain, gain)
    left = torch.where(size > 0.0, rest.square().sum(-1) / torch.where(size > 0.0, size, 1.0), 0.0)
    return Solution(u, left.sqrt(), positive)
