"""Hamiltonian Monte Carlo in hundreds of dimensions, such as all dates and variables of a season.

The metric comes from the curvature at the mode (:mod:`canopyflow.samplers.smoother`), since no short warm-up
can learn a covariance of hundreds of dimensions. Its scale is learned direction by direction first; then it
is drawn towards the covariance of what the chains have seen, as far as they have seen enough. Chains start
wider apart than the normal distribution at the mode, so that R-hat can see a posterior that is wider than it.
Nothing jumps: in many dimensions no proposal that ignores the place of a chain is ever taken.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from canopyflow.samplers._diagnosis import diagnose
from canopyflow.samplers.contract import LogDensity, Target
from canopyflow.samplers.hmc import CHAINS, Chains, DualAveraging, Hmc, advance
from canopyflow.samplers.smoother import mode

WIDER = 2.0
"""Spread of the starting points, in that of the normal distribution at the mode."""

CLIMB = 60
"""Most steps up to the mode."""

NEAR, FAR = (4, 12), (8, 24)
"""Fewest and most leapfrog steps of a proposal, before and after the metric is learned: long ones cross what
is bent."""

SHARE = 6
"""In a round each chain makes 1 / SHARE of the number of draws to keep. Trajectories forget where they came
from sooner than how far out they were: draws that are kept lie far enough apart for deviations too."""

SCALING, LEARNING, SETTLING = (40, 60), (100, 160), 50
"""Iterations of warm-up, window by window: after the first the scales are estimated from their second halves,
after the next the metric from all but their first quarters; then step sizes settle."""

TRUST, TRUST_IN_CURVATURE = 20.0, 200.0
"""Draws that the scales, and the covariances, of the former metric count for beside those of a window."""


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
        for length in SCALING:
            seen = self._window(target, chains, length, NEAR, g)
            chains.root = _rescaled(chains.root, seen[length // 2 :])
        for length in LEARNING:
            seen = self._window(target, chains, length, FAR, g)
            chains.root = _learned(chains.root, seen[length // 4 :])
        self._window(target, chains, SETTLING, FAR, g)
        return chains

    @staticmethod
    def _window(
        target: Target, chains: Chains, iterations: int, length: tuple[int, int], g: torch.Generator
    ) -> Tensor:
        """Adapt the step sizes of ``chains`` in place; where they were, (iterations, chains, n, D)."""
        adaptation, seen = DualAveraging(chains.step), []
        for _ in range(iterations):
            chains.step = adaptation.update(advance(target.log_density, chains, g, length).mean(0))
            seen.append(chains.x)
        chains.step = adaptation.settled()
        return torch.stack(seen)

    def _run(self, target: LogDensity, chains: Chains, iterations: int, g: torch.Generator) -> Tensor:
        out = torch.empty(iterations, *chains.x.shape, dtype=chains.x.dtype, device=chains.x.device)
        for i in range(iterations):
            advance(target, chains, g, FAR)
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


def _learned(root: Tensor, seen: Tensor) -> Tensor:
    """Factors (n, D, D) of a metric between root · rootᵀ and the covariance of ``seen`` (iterations, chains,
    n, D), which counts for as many draws as its typical coordinate has independent ones."""
    before = root.double() @ root.double().mT
    flat = seen.flatten(0, 1).double()
    centred = flat - flat.mean(0)
    found = torch.einsum("kni,knj->nij", centred, centred) / (len(flat) - 1)
    worth = [float(np.median(diagnose(seen[:, :, n].cpu().numpy()).ess_bulk)) for n in range(seen.shape[2])]
    count = before.new_tensor(worth)[:, None, None]
    blend = (count * found + TRUST_IN_CURVATURE * before) / (count + TRUST_IN_CURVATURE)
    # Upper factors, as those of the smoother: the last coordinate first.
    factor: Tensor = torch.linalg.cholesky(blend.flip(-1, -2)).flip(-1, -2)
    return factor.to(root.dtype)


SAMPLER = HmcWide
