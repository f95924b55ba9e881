"""What every sampler is: from a target to draws of it. Targets are many problems side by side, one per
element."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

LogDensity = Callable[[Tensor], Tensor]
"""x (*sample, n, D) → log density (*sample, n) up to a constant, differentiable."""


@dataclass(frozen=True)
class Target:
    """What is sampled: n problems of D dimensions.

    ``log_density``: of points in the sampler's coordinates; ``outward``: these points (..., D) in physical
    units. Further parts, each needed by some samplers only: ``start(count, generator)``: points (count, n, D)
    wider apart than the target; ``proposal(shape, generator)``: draws (*shape, n, D) of a distribution near
    the target and their log density (*shape, n); ``rows(index)``: the target of the problems at ``index``
    alone.
    """

    log_density: LogDensity
    outward: Callable[[Tensor], Tensor]
    start: Callable[[int, torch.Generator], Tensor] | None = None
    proposal: Callable[[Sequence[int], torch.Generator | None], tuple[Tensor, Tensor]] | None = None
    rows: Callable[[Tensor], Target] | None = None


@dataclass(frozen=True)
class Draws:
    """``z`` (K, *batch, D): draws of equal weight in physical units.

    ``ess`` (*batch): the effective number of independent draws behind them, and ``reliable`` (*batch) bool:
    whether they can be believed; both None for exact draws. ``diagnosis``: further numbers (*batch) by name.
    """

    z: Tensor
    ess: Tensor | None = None
    reliable: Tensor | None = None
    diagnosis: Mapping[str, Tensor] = field(default_factory=dict)


class Sampler(abc.ABC):
    """Its constructor's arguments are its options.

    ``needs``: parts of the target beside the log density; "gradient" says that it is differentiated.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    @abc.abstractmethod
    def draw(self, target: Target, shape: Sequence[int], generator: torch.Generator | None = None) -> Draws:
        """Draws (*shape, n, D) of each of the n problems, with what can be said of their quality."""
