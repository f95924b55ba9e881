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

Product = Callable[[Tensor], Tensor]
"""v (*sample, n, D) → a matrix of each problem times v."""


@dataclass(frozen=True)
class Target:
    """What is sampled: n problems of D dimensions.

    ``log_density``: of points in the sampler's coordinates; ``outward``: these points (..., D) in physical
    units. Further parts, each needed by some samplers only: ``start(count, generator)``: points (count, n, D)
    wider apart than the target; ``proposal(shape, generator)``: draws (*shape, n, D) of a distribution near
    the target and their log density (*shape, n); ``rows(index)``: the target of the problems at ``index``
    alone; ``denoiser(x, sigma)``: mean of the prior, in the sampler's coordinates, given that a draw of it
    plus ``sigma`` times standard normal noise is x (*sample, n, D), and products with its covariance given
    that, None if they are to be taken from the mean's derivative; ``linearise(x)``: the measurements behind
    the likelihood, linearised there; ``information(x)``: at points (n, D) a positive definite
    matrix (n, D, D) near the negative second derivative of the log density, such as the Fisher information of
    a likelihood plus the precision of a normal prior.
    """

    log_density: LogDensity
    outward: Callable[[Tensor], Tensor]
    start: Callable[[int, torch.Generator], Tensor] | None = None
    proposal: Callable[[Sequence[int], torch.Generator | None], tuple[Tensor, Tensor]] | None = None
    rows: Callable[[Tensor], Target] | None = None
    denoiser: Callable[[Tensor, float], tuple[Tensor, Product | None]] | None = None
    linearise: Callable[[Tensor], Linearised] | None = None
    information: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Linearised:
    """Measurements near a point x, in units of their noise: residual ≈ Jacobian · (x' − x) + standard normal.

    The D coordinates are B blocks (the dates of a season) one after the other. ``residual`` (*sample, n, B,
    m) and ``jacobian`` (*sample, n, B, m, D / B): measurements that see one block each. ``wide_residual``
    (*sample, n, r) and ``wide_jacobian`` (*sample, n, r, D): those that see several, as a composite of ten
    days does. A measurement that was not made has zeros in both.
    """

    residual: Tensor
    jacobian: Tensor
    wide_residual: Tensor | None = None
    wide_jacobian: Tensor | None = None

    @property
    def stacked(self) -> Tensor:
        """All residuals (*sample, n, M) one after the other, M = B m + r."""
        own = self.residual.flatten(-2)
        return own if self.wide_residual is None else torch.cat([own, self.wide_residual], -1)

    def forward(self, v: Tensor) -> Tensor:
        """The Jacobian times ``v`` (*sample, n, D): (*sample, n, M)."""
        blocks = v.unflatten(-1, (self.jacobian.shape[-3], self.jacobian.shape[-1]))
        own = (self.jacobian @ blocks[..., None])[..., 0].flatten(-2)
        if self.wide_jacobian is None:
            return own
        return torch.cat([own, (self.wide_jacobian @ v[..., None])[..., 0]], -1)

    def backward(self, u: Tensor) -> Tensor:
        """The transposed Jacobian times ``u`` (*sample, n, M): (*sample, n, D)."""
        size = self.residual.shape[-2] * self.residual.shape[-1]
        blocks = u[..., :size].unflatten(-1, self.residual.shape[-2:])
        v = (self.jacobian.mT @ blocks[..., None])[..., 0].flatten(-2)
        if self.wide_jacobian is None:
            return v
        return v + (self.wide_jacobian.mT @ u[..., size:, None])[..., 0]


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
