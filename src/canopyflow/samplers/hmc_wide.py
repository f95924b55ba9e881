"""Hamiltonian Monte Carlo in hundreds of dimensions, such as all dates and variables of a season.

The metric comes from the curvature at the mode (:mod:`canopyflow.samplers.smoother`), since no short warm-up
can learn a covariance of hundreds of dimensions; from there on its scale is learned direction by direction.
Chains start wider apart than the normal distribution at the mode, so that R-hat can see a posterior that is
wider than it. Nothing jumps: in many dimensions no proposal that ignores the place of a chain is ever taken.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from canopyflow.samplers.contract import LogDensity, Target
from canopyflow.samplers.hmc import CHAINS, Chains, DualAveraging, Hmc, advance
from canopyflow.samplers.smoother import mode

WIDER = 2.0
"""Spread of the starting points, in that of the normal distribution at the mode."""

CLIMB = 60
"""Most steps up to the mode."""

LENGTH = (4, 12)
"""Fewest and most leapfrog steps of a proposal."""

SHARE = 3
"""In a round each chain makes 1 / SHARE of the number of draws to keep. Trajectories forget where they came
from sooner than how far out they were: draws that are kept lie far enough apart for deviations too."""

WINDOWS = (40, 60, 80)
"""Iterations of warm-up; after each window but the last the scales are estimated from its second half."""

TRUST = 20.0
"""Draws that the scale found at the mode counts for, beside those of a window."""


class HmcWide(Hmc):
    """Long chains as ``hmc`` runs them, with its rules of when they are believed, for many dimensions."""

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "start", "information", "rows"})
    share: ClassVar[int] = SHARE

    def __init__(self, rounds: int = 6) -> None:
        super().__init__(rounds)

    def _warmed_up(self, target: Target, g: torch.Generator) -> Chains:
        found = mode(target, CLIMB, g)
        n, dim = found.x.shape
        normal = torch.randn(CHAINS, n, dim, generator=g, dtype=found.x.dtype, device=found.x.device)
        start = found.x + WIDER * torch.einsum("nij,cnj->cni", found.spread, normal)
        chains = Chains(start, start.new_full((n,), 0.1), found.spread)
        for window, length in enumerate(WINDOWS):
            adaptation = DualAveraging(chains.step)
            seen = []
            for _ in range(length):
                acceptance = advance(target.log_density, chains, g, LENGTH)
                chains.step = adaptation.update(acceptance.mean(0))
                seen.append(chains.x)
            chains.step = adaptation.settled()
            if window < len(WINDOWS) - 1:
                chains.root = _rescaled(chains.root, torch.stack(seen[length // 2 :]))
        return chains

    def _run(self, target: LogDensity, chains: Chains, iterations: int, g: torch.Generator) -> Tensor:
        out = torch.empty(iterations, *chains.x.shape, dtype=chains.x.dtype, device=chains.x.device)
        for i in range(iterations):
            advance(target, chains, g, LENGTH)
            out[i] = chains.x
        return out

    def _again(self, chains: Chains, new: Tensor, index: Tensor, g: torch.Generator) -> Chains:
        return chains.rows(index)

    def _thinned(self, draws: Tensor, count: int) -> Tensor:
        """Chain after chain: neighbours among the draws that are kept are iterations apart."""
        return super()._thinned(draws.transpose(0, 1), count)


def _rescaled(root: Tensor, seen: Tensor) -> Tensor:
    """``root`` (n, D, D) with its columns as long as ``seen`` (iterations, chains, n, D) spreads along
    them."""
    flat = (seen - seen.mean((0, 1))).flatten(0, 1).transpose(0, 1)
    white = torch.linalg.solve_triangular(root, flat.mT, upper=True)
    count = white.shape[-1]
    variance = (count * white.square().mean(-1) + TRUST) / (count + TRUST)
    return root * variance.sqrt().unsqueeze(-2)


SAMPLER = HmcWide
