"""Hamiltonian Monte Carlo for many problems at once: every problem has its own chains, step size and metric.

Neal 2011 (Handbook of MCMC, ch. 5); step sizes by dual averaging (Hoffman & Gelman 2014, JMLR 15:1593).
The metric of a problem is the full covariance of what its chains have seen, so that in the coordinates of
the sampler a nearly normal posterior is a sphere. Between trajectories the chains jump (see
:mod:`canopyflow.samplers._jumps`): where a posterior is bent, that gains more independent draws for the same
work, and trajectories move the chains from where jumps seldom leave.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.samplers._diagnosis import diagnose
from canopyflow.samplers._jumps import Mixture, fit, jump
from canopyflow.samplers.contract import Draws, LogDensity, Sampler, Target

CHAINS = 16
"""Chains for each problem."""

SHARE = 5
"""In a round each chain makes 1 / SHARE of the number of draws to keep: all chains make 3.2 times as many."""

LARGEST_RHAT, LEAST_ESS = 1.01, 400.0
"""A problem's draws are reliable if every variable keeps these bounds (Vehtari et al. 2021), in bulk and
tails. Chains run on, while rounds are left, until they are worth as many independent draws as are kept: the
kept ones are then nearly independent."""

STEPS = (5, 10)
"""Fewest and most leapfrog steps of a proposal: drawn anew each time, so that no orbit closes on itself."""

ACCEPTANCE = 0.8
"""Acceptance aimed at while the step sizes are adapted."""

WINDOWS = (25, 25, 40)
"""Iterations of warm-up; after each window but the last the metric is estimated from its second half."""

JUMPING_WINDOWS = (15, 30, 60)
"""Further iterations of warm-up, with jumps; after each window the proposals are fitted to it."""

TRAJECTORY_EVERY = 4
"""Iterations: in the others chains only jump."""


class Hmc(Sampler):
    """Long chains of each problem; those that mix badly run on, up to ``rounds`` times.

    A problem gets at most ``rounds`` × :data:`CHAINS` / ``share`` times the draws that are kept of it.
    The diagnosis is the worst ``rhat``, ``ess_bulk`` and ``ess_tail`` of its variables.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "start", "rows"})
    share: ClassVar[int] = SHARE

    def __init__(self, rounds: int = 6) -> None:
        self.rounds = rounds

    def draw(self, target: Target, shape: Sequence[int], generator: torch.Generator | None = None) -> Draws:
        assert target.start is not None and target.rows is not None
        g = torch.default_generator if generator is None else generator
        draws = math.prod(shape)
        active = self._warmed_up(target, g)
        n, device = active.x.shape[1], active.x.device
        seen: list[list[Tensor]] = [[] for _ in range(n)]
        worst = np.full((3, n), np.nan)
        rows = torch.arange(n)
        for _ in range(self.rounds):
            new = self._run(
                target.rows(rows.to(device)).log_density, active, math.ceil(draws / self.share), g
            )
            for place, problem in enumerate(rows.tolist()):
                seen[problem].append(new[:, :, place])
                found = diagnose(torch.cat(seen[problem]).cpu().numpy())
                worst[:, problem] = found.rhat.max(), found.ess_bulk.min(), found.ess_tail.min()
            again = torch.from_numpy(~(_passes(worst) & (worst[1] >= draws)))[rows].nonzero().flatten()
            if not len(again):
                break
            rows, again = rows[again], again.to(device)
            active = self._again(active, new, again, g)
        kept = torch.stack([self._thinned(torch.cat(parts), draws) for parts in seen], dim=1)
        z = target.outward(kept)
        rhat, bulk, tail = torch.from_numpy(worst.astype(np.float32)).to(device)
        return Draws(
            z.reshape(*shape, *z.shape[1:]),
            bulk,
            torch.from_numpy(_passes(worst)).to(device),
            {"rhat": rhat, "ess_bulk": bulk, "ess_tail": tail},
        )

    def _warmed_up(self, target: Target, g: torch.Generator) -> Chains:
        """Chains of all problems, adapted to them."""
        assert target.start is not None
        return warm_up(target.log_density, target.start(CHAINS, g), g)

    def _run(self, target: LogDensity, chains: Chains, iterations: int, g: torch.Generator) -> Tensor:
        """Draws (iterations, chains, n, D); ``chains`` is left where it ended."""
        return run(target, chains, iterations, g)

    def _again(self, chains: Chains, new: Tensor, index: Tensor, g: torch.Generator) -> Chains:
        """The chains of the problems at ``index``, which run on after the draws ``new``."""
        chains = chains.rows(index)
        chains.mixture = fit(new[:, :, index], g)
        return chains

    def _thinned(self, draws: Tensor, count: int) -> Tensor:
        """``count`` of all draws (iterations, chains, D), evenly spaced along the chains."""
        flat = draws.flatten(0, 1)
        return flat[torch.linspace(0, len(flat) - 1, count).round().long()]


def _passes(worst: NDArray[np.float64]) -> NDArray[np.bool_]:
    rhat, bulk, tail = worst
    passes: NDArray[np.bool_] = (rhat <= LARGEST_RHAT) & (bulk >= LEAST_ESS) & (tail >= LEAST_ESS)
    return passes


@dataclass
class Chains:
    """``x`` (chains, n, D), where they are; ``step`` (n,); ``root`` (n, D, D), Cholesky of the metric;
    ``mixture``: where they jump to, once that is known."""

    x: Tensor
    step: Tensor
    root: Tensor
    mixture: Mixture | None = None

    def rows(self, index: Tensor) -> Chains:
        """The chains of the problems at ``index``."""
        mixture = None if self.mixture is None else self.mixture.rows(index)
        return Chains(self.x[:, index], self.step[index], self.root[index], mixture)


def warm_up(target: LogDensity, start: Tensor, generator: torch.Generator) -> Chains:
    """Adapt step sizes, metrics and proposals from ``start`` (chains, n, D); draws made meanwhile are
    discarded."""
    n, dim = start.shape[1:]
    identity = torch.eye(dim).to(start).expand(n, dim, dim)
    chains = Chains(start, start.new_full((n,), 0.1), identity)
    for window, length in enumerate(WINDOWS):
        adaptation = DualAveraging(chains.step)
        seen = []
        for _ in range(length):
            acceptance = advance(target, chains, generator)
            chains.step = adaptation.update(acceptance.mean(0))
            seen.append(chains.x)
        chains.step = adaptation.settled()
        if window < len(WINDOWS) - 1:
            chains.root = _metric(torch.stack(seen[length // 2 :]))
            # In the coordinates of the new metric the scale is one.
            chains.step = torch.full_like(chains.step, 0.5)
    chains.mixture = fit(torch.stack(seen), generator)
    for length in JUMPING_WINDOWS:
        chains.mixture = fit(torch.cat(list(_places(target, chains, length, generator))), generator)
    return chains


def run(target: LogDensity, chains: Chains, iterations: int, generator: torch.Generator) -> Tensor:
    """Draws (iterations, chains, n, D); ``chains`` is left where it ended."""
    out = torch.empty(iterations, *chains.x.shape, dtype=chains.x.dtype, device=chains.x.device)
    for i, places in enumerate(_places(target, chains, iterations, generator)):
        out[i] = places[-1]
    return out


def _places(
    target: LogDensity, chains: Chains, iterations: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Of each iteration where the chains come past, (stops, chains, n, D); they are left at the last stop."""
    assert chains.mixture is not None
    for i in range(iterations):
        if i % TRAJECTORY_EVERY == 0:
            advance(target, chains, generator)
        places = jump(target, chains.x, chains.mixture, generator)
        chains.x = places[-1]
        yield places


def advance(
    target: LogDensity, chains: Chains, generator: torch.Generator, length: tuple[int, int] = STEPS
) -> Tensor:
    """One proposal of ``length`` leapfrog steps, fewest and most, accepted or not, for every chain in place;
    acceptance probabilities (chains, n)."""
    device = chains.x.device
    steps = int(torch.randint(length[0], length[1] + 1, (), generator=generator, device=device))
    momentum = torch.randn(chains.x.shape, generator=generator, dtype=chains.x.dtype, device=device)
    size = chains.step[:, None]
    x, p = chains.x, momentum
    value, slope = _value_and_slope(target, x, chains.root)
    before = value - 0.5 * p.square().sum(-1)
    for _ in range(steps):
        p = p + 0.5 * size * slope
        x = x + size * torch.einsum("nij,cnj->cni", chains.root, p)
        value, slope = _value_and_slope(target, x, chains.root)
        p = p + 0.5 * size * slope
    gain = (value - 0.5 * p.square().sum(-1) - before).nan_to_num(nan=-math.inf)
    probability = gain.clamp(max=0.0).exp()
    accepted = torch.rand(gain.shape, generator=generator, dtype=gain.dtype, device=device) < probability
    chains.x = torch.where(accepted.unsqueeze(-1), x, chains.x)
    return probability


def _value_and_slope(target: LogDensity, x: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """Log density and its gradient in the sampler's coordinates, where x = root · y."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        value = target(leaf)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
    # A trajectory that overflows is rejected by its energy; its gradient must only not be NaN.
    slope = slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    return value.detach(), torch.einsum("nij,cni->cnj", root, slope)


def _metric(seen: Tensor) -> Tensor:
    """Cholesky factors (n, D, D) of the covariances of ``seen`` (iterations, chains, n, D).

    Shrunk towards a small multiple of the identity as in Stan, for the little that was seen.
    """
    flat = seen.flatten(0, 1).double()
    count, _, dim = flat.shape
    centred = flat - flat.mean(0)
    covariance = torch.einsum("kni,knj->nij", centred, centred) / (count - 1)
    shrunk = (count * covariance + 5e-3 * torch.eye(dim).to(flat)) / (count + 5.0)
    return torch.as_tensor(torch.linalg.cholesky(shrunk)).to(seen.dtype)


class DualAveraging:
    """Step sizes (n,) from acceptances (n,); the constants are Hoffman & Gelman's."""

    def __init__(self, step: Tensor) -> None:
        self.centre = (10.0 * step).log()
        self.shortfall = torch.zeros_like(step)
        self.mean_log = torch.zeros_like(step)
        self.count = 0

    def update(self, acceptance: Tensor) -> Tensor:
        """The step size to try next."""
        self.count += 1
        weight = 1.0 / (self.count + 10.0)
        self.shortfall = (1.0 - weight) * self.shortfall + weight * (ACCEPTANCE - acceptance)
        log_step = self.centre - math.sqrt(self.count) / 0.05 * self.shortfall
        share = self.count**-0.75
        self.mean_log = share * log_step + (1.0 - share) * self.mean_log
        return log_step.clamp(max=math.log(2.0)).exp()

    def settled(self) -> Tensor:
        """The step size to keep."""
        return self.mean_log.clamp(max=math.log(2.0)).exp()


SAMPLER = Hmc
