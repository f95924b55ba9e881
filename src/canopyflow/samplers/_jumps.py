"""Independence proposals: for each problem a mixture of Student's t distributions, fitted to its chains.

Chains that climb along a curved ridge move slowly; a proposal drawn from a distribution near the target takes
them anywhere at once. It costs one value of the density, no gradient, and as proposals do not depend on where
a chain stands, many are evaluated in one call. Metropolis and Hastings' rule keeps the target exact, however
poor the fit (Tierney 1994, Ann. Stat. 22:1701). The tails of the proposals are heavier than those of a normal
distribution, so that no place of a target with normal tails is left too rarely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from canopyflow.samplers.contract import LogDensity

PARTS, DRAWS_PER_PART = 8, 400
"""Most parts of a mixture, and how many draws it takes for each."""

FREEDOM = 8
"""Degrees of freedom of each part; even, so that its chi-square is a product of uniform numbers."""

TRIES = 16
"""Proposals for each chain between two draws."""

STOPS = 4
"""Of the way through the proposals, how many places are seen."""

PASSES = 12
"""Of expectation and maximisation."""

EVALUATED, FITTED = 4096, 8
"""Points whose densities, and problems whose mixtures, are computed at a time: they stay in a processor's
cache."""

WIDE, WIDE_SHARE = 2.0, 0.2
"""Size of the part that covers all draws, in their standard deviations, and its weight. Without it tails that
no chain has seen are never proposed, which comparing the chains cannot show."""

SHRINK = 0.5
"""A part's covariance is drawn towards this multiple of that of all draws, as if by D + 2 of them."""


@dataclass(frozen=True)
class Mixture:
    """``weight`` (n, K), ``centre`` (n, K, D) and Cholesky factor ``root`` (n, K, D, D) of the parts."""

    weight: Tensor
    centre: Tensor
    root: Tensor

    def rows(self, index: Tensor) -> Mixture:
        """The mixtures of the problems at ``index``."""
        return Mixture(self.weight[index], self.centre[index], self.root[index])

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws (count, n, D)."""
        n, _, dim = self.centre.shape
        dtype, device = self.centre.dtype, self.centre.device
        part = torch.multinomial(self.weight, count, replacement=True, generator=generator)
        normal = torch.randn(n, count, dim, generator=generator, dtype=dtype, device=device)
        uniform = torch.rand(n, count, FREEDOM // 2, generator=generator, dtype=dtype, device=device)
        chi_square = -2.0 * uniform.log().sum(-1, keepdim=True)
        # Moved by all roots and then chosen: a matrix product per problem instead of a small one per draw.
        moved = torch.einsum("nkij,ncj->ncki", self.root, normal * (FREEDOM / chi_square).sqrt())
        index = part[..., None, None].expand(n, count, 1, dim)
        centre = self.centre.unsqueeze(1).expand(n, count, -1, dim).gather(2, index)
        return (moved.gather(2, index) + centre).squeeze(2).transpose(0, 1)

    def log_density(self, x: Tensor) -> Tensor:
        """(*sample, n) of ``x`` (*sample, n, D), up to a constant."""
        dim = x.shape[-1]
        flat = x.reshape(-1, *x.shape[-2:]).transpose(0, 1)
        distance2, log_volume = _distances(flat, self.centre, self.root)
        parts = self.weight.log() - log_volume
        terms = parts.unsqueeze(1) - 0.5 * (FREEDOM + dim) * torch.log1p(distance2 / FREEDOM)
        return torch.logsumexp(terms, -1).T.reshape(x.shape[:-1])


def _distances(x: Tensor, centre: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances (n, count, K) of ``x`` (n, count, D) from each part, and log volumes (n, K)."""
    n, parts, dim = centre.shape
    inverse = torch.linalg.solve_triangular(root, torch.eye(dim).to(root), upper=False)
    both = inverse.reshape(n, parts * dim, dim)
    shift = torch.einsum("nkij,nkj->nki", inverse, centre).reshape(n, 1, parts * dim)
    standard = torch.baddbmm(-shift, x, both.mT).reshape(n, -1, parts, dim)
    return standard.square().sum(-1), root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def fit(seen: Tensor, generator: torch.Generator) -> Mixture:
    """A mixture for each problem from ``seen`` (iterations, chains, n, D)."""
    fitted = [_fit(some, generator) for some in seen.split(FITTED, dim=2)]
    weight, centre, root = (torch.cat(parts).to(seen.dtype) for parts in zip(*fitted, strict=True))
    return Mixture(weight, centre, root)


def _fit(seen: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, centres and roots."""
    x = seen.flatten(0, 1).transpose(0, 1).double()
    n, count, dim = x.shape
    middle = x.mean(1, keepdim=True)
    centred = x - middle
    unit = torch.eye(dim).to(x)
    whole = torch.linalg.cholesky(centred.mT @ centred / count + 1e-9 * unit)
    # In coordinates in which all draws together have unit covariance.
    x = torch.linalg.solve_triangular(whole, centred.mT, upper=False).mT
    parts = min(max(count // DRAWS_PER_PART, 1), PARTS)
    first = torch.randint(count, (n, parts), generator=generator, device=x.device)
    centre = x.gather(1, first.unsqueeze(-1).expand(-1, -1, dim))
    root = (math.sqrt(SHRINK) * unit).expand(n, parts, dim, dim)
    weight = x.new_full((n, parts), 1.0 / parts)
    for _ in range(PASSES):
        distance2, log_volume = _distances(x, centre, root)
        share = torch.softmax((weight.log() - log_volume).unsqueeze(1) - 0.5 * distance2, -1)
        mass = share.sum(1) + 1e-6
        weight = mass / mass.sum(-1, keepdim=True)
        centre = share.mT @ x / mass.unsqueeze(-1)
        scatter = torch.stack([(share[..., k : k + 1] * x).mT @ x for k in range(parts)], 1)
        scatter = scatter - mass[..., None, None] * centre.unsqueeze(-1) * centre.unsqueeze(-2)
        shrunk = scatter + (dim + 2.0) * SHRINK * unit
        root = torch.linalg.cholesky(shrunk / (mass[..., None, None] + dim + 2.0))
    # A last part, wider than all draws together: it reaches where the chains that were fitted have not been.
    weight = torch.cat([(1.0 - WIDE_SHARE) * weight, weight.new_full((n, 1), WIDE_SHARE)], dim=1)
    centre = torch.cat([centre, centre.new_zeros(n, 1, dim)], dim=1)
    root = torch.cat([root, (WIDE * unit).expand(n, 1, dim, dim)], dim=1)
    return weight, torch.einsum("nij,nkj->nki", whole, centre) + middle, whole.unsqueeze(1) @ root


def jump(target: LogDensity, x: Tensor, mixture: Mixture, generator: torch.Generator) -> Tensor:
    """Where chains ``x`` (chains, n, D) stand on their way through :data:`TRIES` proposals each.

    (STOPS, chains, n, D); the last is where they end.
    """
    chains, n, dim = x.shape
    proposed = mixture.sample(TRIES * chains, generator).reshape(TRIES, chains, n, dim)
    places = torch.cat([x.unsqueeze(0), proposed])
    with torch.no_grad():
        some = max(1, EVALUATED // (chains * n))
        weights = torch.cat([target(part) - mixture.log_density(part) for part in places.split(some)])
    # A place where the density is no number is never moved to.
    weights = weights.nan_to_num(nan=-math.inf)
    chance = torch.rand(TRIES, chains, n, generator=generator, dtype=x.dtype, device=x.device).log()
    at = torch.zeros(chains, n, dtype=torch.long, device=x.device)
    current, stops = weights[0], []
    for i in range(1, TRIES + 1):
        moved = chance[i - 1] < weights[i] - current
        current, at = torch.where(moved, weights[i], current), torch.where(moved, i, at)
        if i % (TRIES // STOPS) == 0:
            stops.append(at)
    index = torch.stack(stops).unsqueeze(-1).expand(STOPS, chains, n, dim)
    return places.gather(0, index)
