"""Importance sampling: draws of a near distribution, corrected by the target to be exact.

Draws of the proposal get the weight target / proposal; the largest weights are smoothed by a generalised
Pareto fit (Vehtari, Simpson, Gelman, Yao & Gabry 2024, JMLR 25:72), and draws are resampled by weight. The
effective sample size and the tail index k say for each problem whether that can be believed.

For proposals with auxiliary randomness the weights live in the extended space and are as exact.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from canopyflow.samplers.contract import Draws, Sampler, Target

LARGEST_K = 0.7
"""Tail index beyond which smoothed weights are not to be believed (same source)."""


class Importance(Sampler):
    """``proposals`` draws for each problem are weighted; with fewer than ``least_ess`` effective ones, or a
    tail index above 0.7, its draws are not reliable. The diagnosis is the tail index ``khat``."""

    needs: ClassVar[frozenset[str]] = frozenset({"proposal"})

    def __init__(self, proposals: int = 2000, least_ess: float = 100.0) -> None:
        self.proposals, self.least_ess = proposals, least_ess

    def draw(self, target: Target, shape: Sequence[int], generator: torch.Generator | None = None) -> Draws:
        assert target.proposal is not None
        x, log_q = target.proposal((self.proposals,), generator)
        smoothed, khat = pareto_smooth(target.log_density(x) - log_q)
        ess = torch.exp(-torch.logsumexp(2.0 * smoothed, dim=0))
        index = resample(smoothed, math.prod(shape), generator)
        chosen = torch.gather(x, 0, index.unsqueeze(-1).expand(*index.shape, x.shape[-1]))
        z = target.outward(chosen)
        reliable = (ess >= self.least_ess) & (khat <= LARGEST_K)
        return Draws(z.reshape(*shape, *z.shape[1:]), ess, reliable, {"khat": khat})


def effective_size(log_weights: Tensor) -> Tensor:
    """Effective sample size (Σw)² / Σw² (*batch) of raw ``log_weights`` (K, *batch)."""
    return torch.exp(2.0 * torch.logsumexp(log_weights, 0) - torch.logsumexp(2.0 * log_weights, 0))


def pareto_smooth(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Smoothed, normalised log weights (K, *batch) of ``log_weights`` (K, *batch), and tail index (*batch).

    The M = min(K/5, 3√K) largest weights are replaced by quantiles of the generalised Pareto distribution
    fitted to them. A weight that is not a number counts as 0. With fewer than 25 draws nothing can be
    fitted, and the index is infinite.
    """
    count = len(log_weights)
    # A draw where the physics fails has no likelihood.
    raw = log_weights.nan_to_num(nan=-math.inf, posinf=-math.inf)
    raw = raw - raw.amax(0).clamp_min(torch.finfo(raw.dtype).min)
    tail = min(count // 5, math.ceil(3.0 * math.sqrt(count)))
    if tail < 5:
        return torch.log_softmax(raw, 0), raw.new_full(raw.shape[1:], math.inf)
    ordered, place = raw.double().sort(dim=0)
    # The smallest normal number keeps the excesses of vanished weights finite.
    cut = ordered[count - tail - 1].clamp_min(math.log(torch.finfo(torch.double).tiny))
    excess = (ordered[count - tail :].exp() - cut.exp()).clamp_min(0.0)
    k, sigma = fit_pareto(excess)
    level = (torch.arange(tail, dtype=torch.double, device=raw.device) + 0.5) / tail
    level = level.reshape(-1, *(1,) * (raw.ndim - 1))
    smooth = (cut.exp() + pareto_quantile(level, k, sigma)).log().clamp_max(0.0)
    fitted = torch.isfinite(k) & (excess[-1] > excess[0])
    ordered[count - tail :] = torch.where(fitted, smooth, ordered[count - tail :])
    out = torch.empty_like(ordered).scatter_(0, place, ordered)
    # All weights equal: there is no tail, and nothing to fear from it.
    flat = excess[-1] <= excess[0]
    return torch.log_softmax(out, 0).to(raw.dtype), torch.where(flat, -math.inf, k).to(raw.dtype)


def fit_pareto(excess: Tensor) -> tuple[Tensor, Tensor]:
    """Index k and scale (*batch) of a generalised Pareto distribution from sorted ``excess`` (M, *batch) ≥ 0.

    Zhang & Stephens 2009 (Technometrics 51:316), k drawn towards 1/2 with the weight of ten observations, as
    Vehtari et al. do.
    """
    m = len(excess)
    tiny = torch.finfo(excess.dtype).tiny
    grid = 30 + int(math.sqrt(m))
    steps = torch.arange(1, grid + 1, dtype=excess.dtype, device=excess.device)
    steps = steps.reshape(-1, *(1,) * (excess.ndim - 1))
    largest = excess[-1].clamp_min(tiny)
    quartile = excess[int(m / 4 + 0.5) - 1].clamp_min(tiny)
    theta = (1.0 - (grid / (steps - 0.5)).sqrt()) / (3.0 * quartile) + 1.0 / largest
    shape = torch.stack([torch.log1p(-t * excess).mean(0) for t in theta])
    likelihood = m * (torch.log(-theta / shape) - shape - 1.0)
    weight = torch.softmax(likelihood.nan_to_num(nan=-math.inf), dim=0)
    best = (theta * weight).sum(0)
    k = torch.log1p(-best * excess).mean(0)
    sigma = -k / best
    return (m * k + 10.0 * 0.5) / (m + 10.0), sigma


def pareto_quantile(level: Tensor, k: Tensor, sigma: Tensor) -> Tensor:
    """Quantiles of the generalised Pareto distribution of index ``k`` and scale ``sigma``."""
    # k = 0 is the exponential distribution; expm1 keeps the digits on the way there.
    safe = torch.where(k.abs() < 1e-8, torch.full_like(k, 1e-8), k)
    return sigma * torch.expm1(-safe * torch.log1p(-level)) / safe


def resample(log_weights: Tensor, draws: int, generator: torch.Generator | None = None) -> Tensor:
    """Indices (draws, *batch) into normalised ``log_weights`` (K, *batch): systematic resampling.

    Each draw occurs its expected number of times, rounded up or down. The order is shuffled, so that any
    part of the indices is a fair sample too.
    """
    flat = log_weights.flatten(1).T if log_weights.ndim > 1 else log_weights[None]
    cumulative = flat.double().exp().cumsum(-1)
    device = log_weights.device
    offset = torch.rand(len(flat), 1, generator=generator, dtype=torch.double, device=device)
    points = (torch.arange(draws, dtype=torch.double, device=device) + offset) / draws
    index = torch.searchsorted(cumulative / cumulative[:, -1:], points).clamp_max(len(log_weights) - 1)
    order = torch.rand(index.shape, generator=generator, device=device).argsort(-1)
    return index.gather(-1, order).T.reshape(draws, *log_weights.shape[1:])


SAMPLER = Importance
