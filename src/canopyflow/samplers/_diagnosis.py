"""Have the chains converged, and how many independent draws are they worth?

Rank-normalised split R-hat, bulk and tail effective sample size of Vehtari, Gelman, Simpson, Carpenter &
Bürkner 2021 (Bayesian Analysis 16:667), for many quantities at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

Array = NDArray[np.float64]

TAILS = (0.05, 0.95)
"""Quantiles whose estimates the tail effective sample size judges."""


@dataclass(frozen=True)
class Diagnosis:
    """R-hat, bulk and tail effective sample size, one number for each quantity."""

    rhat: Array
    ess_bulk: Array
    ess_tail: Array


def diagnose(draws: NDArray[np.floating]) -> Diagnosis:
    """Diagnose ``draws`` (iterations, chains, *quantities): three results of shape (*quantities)."""
    halves = _split(np.asarray(draws, dtype=np.float64))
    ranked = _normal_scores(halves)
    folded = _normal_scores(np.abs(halves - np.median(halves, axis=(0, 1))))
    tails = [_ess((halves <= np.quantile(halves, p, axis=(0, 1))).astype(float)) for p in TAILS]
    return Diagnosis(np.maximum(_rhat(ranked), _rhat(folded)), _ess(ranked), np.minimum(*tails))


def _split(draws: Array) -> Array:
    """Each chain cut into two: a drift within a chain then shows as a difference between chains."""
    half = len(draws) // 2
    return np.concatenate([draws[:half], draws[len(draws) - half :]], axis=1)


def _normal_scores(draws: Array) -> Array:
    """Ranks over all chains, as quantiles of a standard normal (Blom's offsets)."""
    ranks = rankdata(draws.reshape(-1, *draws.shape[2:]), axis=0)
    scores: Array = ndtri((ranks - 0.375) / (len(ranks) + 0.25)).reshape(draws.shape)
    return scores


def _rhat(draws: Array) -> Array:
    within, total = _variances(draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(total / within))


def _variances(draws: Array) -> tuple[Array, Array]:
    """Mean variance within chains, and the estimate of the whole variance from within and between."""
    n = len(draws)
    within = draws.var(axis=0, ddof=1).mean(axis=0)
    between = draws.mean(axis=0).var(axis=0, ddof=1)
    return within, (n - 1) / n * within + between


def _ess(draws: Array) -> Array:
    """Effective size from autocorrelations, cut where Geyer's monotone sequence of pairs ends.

    A quantity that never changes is worth every draw there is: its estimate is exact.
    """
    n, chains = draws.shape[:2]
    within, total = _variances(draws)
    covariance = _autocovariance(draws).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1.0 - (within - covariance) / total
    rho[0] = 1.0
    pairs = rho[: n // 2 * 2].reshape(n // 2, 2, *rho.shape[1:]).sum(axis=1)
    # Initial positive sequence, then monotone.
    positive = np.cumprod(pairs > 0, axis=0, dtype=bool)
    monotone = np.minimum.accumulate(np.where(positive, pairs, 0.0), axis=0)
    # The first pair that is cut counts with its even half, where that is positive (as in Stan).
    end = np.minimum(2 * positive.sum(axis=0), n - 1)
    beyond = np.take_along_axis(rho, end[None], axis=0)[0].clip(min=0.0)
    tau = -1.0 + 2.0 * monotone.sum(axis=0) + beyond
    size = n * chains
    # Antithetic chains can be worth more than their length; the bound is that of Stan.
    tau = np.maximum(tau, 1.0 / np.log10(size))
    return np.asarray(np.where(total > 0, size / tau, size))


def _autocovariance(draws: Array) -> Array:
    """(iterations, chains, ...) by lag, biased, by Fourier transform."""
    n = len(draws)
    centred = draws - draws.mean(axis=0)
    spectrum = np.fft.rfft(centred, n=2 * n, axis=0)
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:n] / n)
