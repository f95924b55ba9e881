"""Scores of point estimates and of intervals: pure functions over arrays, NaN left out.

Throughout, ``truth`` and the estimates have the same shape ``(n,)``; a pair
with a NaN on either side does not count. With nothing left a score is NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from canopyflow.evaluation.scores.predictive import interval_score
from canopyflow.vocabulary import QUANTILES

Array = NDArray[np.floating]


def _paired(*arrays: Array) -> list[NDArray[np.float64]]:
    """Flat float64 copies of the arrays without the positions where any of them is NaN."""
    flat = [np.asarray(a, dtype=np.float64).ravel() for a in arrays]
    keep = np.all(np.isfinite(flat), axis=0) if flat else np.zeros(0, bool)
    return [a[keep] for a in flat]


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(np.mean(values)) if values.size else float("nan")


def rmse(truth: Array, estimate: Array) -> float:
    """Root mean square error."""
    a, b = _paired(truth, estimate)
    return float(np.sqrt(_mean((b - a) ** 2)))


def bias(truth: Array, estimate: Array) -> float:
    """Mean of estimate minus truth: positive where the estimate is too high."""
    a, b = _paired(truth, estimate)
    return _mean(b - a)


def mae(truth: Array, estimate: Array) -> float:
    """Mean absolute error."""
    a, b = _paired(truth, estimate)
    return _mean(np.abs(b - a))


def r2(truth: Array, estimate: Array) -> float:
    """Coefficient of determination 1 - SSE/SST; not the squared correlation, which forgives a bias."""
    a, b = _paired(truth, estimate)
    total = float(np.sum((a - a.mean()) ** 2)) if a.size else 0.0
    return 1.0 - float(np.sum((b - a) ** 2)) / total if total > 0 else float("nan")


def rmse_constant(truth: Array) -> float:
    """RMSE of the best constant predictor: the standard deviation of the truth."""
    (a,) = _paired(truth)
    return float(np.std(a)) if a.size else float("nan")


def coverage(truth: Array, lower: Array, upper: Array) -> float:
    """Share of the truth inside [lower, upper]."""
    t, low, high = _paired(truth, lower, upper)
    return _mean((t >= low) & (t <= high))


def width(lower: Array, upper: Array) -> float:
    """Mean width of the interval."""
    low, high = _paired(lower, upper)
    return _mean(high - low)


def interval90(truth: Array, lower: Array, upper: Array) -> float:
    """Mean interval score of the 90 % interval, in the unit of ``truth``:
    :func:`canopyflow.evaluation.scores.predictive.interval_score`."""
    t, low, high = _paired(truth, lower, upper)
    return _mean(interval_score(t, low, high))


def crps_from_quantiles(truth: Array, quantiles: Mapping[float, Array]) -> float:
    """Mean continuous ranked probability score from a few quantiles: twice the integral of the pinball loss.

    The pinball loss is integrated over the level with the trapezoid rule on the
    given levels, and falls to zero at levels 0 and 1. With the five
    quantiles of a product this is 5 % below the exact score of a calibrated Gaussian:
    good enough to rank models, not to quote. Unit of ``truth``.
    """
    levels = sorted(quantiles)
    t, *values = _paired(truth, *(quantiles[level] for level in levels))
    if not t.size:
        return float("nan")
    losses = [(t - q) * (level - (t < q)) for level, q in zip(levels, values, strict=True)]
    nothing = np.zeros_like(t)
    integral = np.trapezoid([nothing, *losses, nothing], x=[0.0, *levels, 1.0], axis=0)
    return float(2.0 * integral.mean())


def crps_from_samples(truth: Array, samples: Array) -> float:
    """Mean CRPS from samples ``(K, n)``, the fair estimator E|X - y| - E|X - X'|/2 (Ferro 2014)."""
    y = np.asarray(truth, dtype=np.float64)
    ordered = np.sort(np.asarray(samples, dtype=np.float64), axis=0)
    k = len(ordered)
    weights = 2.0 * np.arange(1, k + 1) - k - 1.0  # sum over pairs of |x_i - x_j|, from sorted samples
    spread = np.tensordot(weights, ordered, axes=1) / (k * (k - 1)) if k > 1 else np.zeros_like(y)
    score = np.abs(ordered - y).mean(axis=0) - spread
    return _mean(score[np.isfinite(score)])


GCOS_AREAS = ("lai", "gai")
"""Variables with a requirement of GCOS on leaf area index. GCOS means green area; many an instrument sees
plant area."""


def within_gcos(
    truth: Array, estimate: Array, error: Array | float = 0.0, relative: float = 0.20, floor: float = 0.1
) -> NDArray[np.float64]:
    """1 where an estimate of leaf area index (n,) is within the GCOS-245 requirement of ``truth`` (n,), else
    0; NaN where either is unknown.

    The threshold is 20 % of the LAI and 0.1 below LAI 0.5 (goal: 10 % and 0.05). It is a 2 σ requirement on
    the estimate. A label differs from the truth by its own ``error`` (n,), a standard deviation: the
    threshold of the difference is then the root of the sum of squares of both, 2 σ each, which an estimate
    that just meets the requirement keeps in 95 of 100 labels.
    """
    t, e = np.asarray(truth, np.float64), np.asarray(estimate, np.float64)
    threshold = np.hypot(np.where(t < 0.5, floor, relative * t), 2.0 * np.asarray(error, np.float64))
    return np.where(np.isfinite(t + e + threshold), np.abs(e - t) <= threshold, np.nan).astype(np.float64)


def gcos_share(
    truth: Array, estimate: Array, error: Array | float = 0.0, relative: float = 0.20, floor: float = 0.1
) -> float:
    """Share of leaf area indices :func:`within_gcos`, which should be at least 0.95."""
    inside = within_gcos(truth, estimate, error, relative, floor)
    return _mean(inside[np.isfinite(inside)])


def score(truth: Array, summary: Mapping[str, Array], variable: str) -> dict[str, float]:
    """All scores of posterior summaries: ``summary`` holds ``mean`` and the quantiles by name, each ``(n,)``.

    Scores of what is not in it are NaN: the CRPS, for one, needs all quantiles. ``n``: pairs of which the
    truth is known and any of the statistics.
    """
    missing = np.full(np.shape(truth), np.nan)
    summary = {name: summary.get(name, missing) for name in ("mean", *QUANTILES)}
    mean = summary["mean"]
    known = np.where(np.isfinite(list(summary.values())).any(axis=0), truth, np.nan)
    out = {
        "n": float(np.isfinite(known).sum()),
        "rmse": rmse(truth, mean),
        "bias": bias(truth, mean),
        "mae": mae(truth, mean),
        "r2": r2(truth, mean),
        "rmse_constant": rmse_constant(known),
        "interval90": interval90(truth, summary["q05"], summary["q95"]),
        "crps": crps_from_quantiles(truth, {level: summary[name] for name, level in QUANTILES.items()}),
        "coverage50": coverage(truth, summary["q25"], summary["q75"]),
        "coverage90": coverage(truth, summary["q05"], summary["q95"]),
        "width50": width(summary["q25"], summary["q75"]),
        "width90": width(summary["q05"], summary["q95"]),
    }
    if variable in GCOS_AREAS:
        out["gcos_threshold"] = gcos_share(truth, mean)
    return out


@dataclass(frozen=True)
class Part:
    """Scores of a part of the pairs, none of which has a NaN, and the mean of their truth."""

    scores: Mapping[str, float]
    truth: float


def score_part(truth: Array, summary: Mapping[str, Array], variable: str) -> Part:
    """As :func:`score`, for :func:`pooled`; pairs with a NaN anywhere are left out."""
    names = list(summary)
    t, *values = _paired(truth, *summary.values())
    return Part(score(t, dict(zip(names, values, strict=True)), variable), _mean(t))


def pooled(parts: Sequence[Part]) -> dict[str, float]:
    """What :func:`score` gives of all pairs together, from at least one part: but for rounding, the same."""
    filled = [part for part in parts if part.scores["n"]]
    if not filled:
        return dict(parts[0].scores)
    weights = np.array([part.scores["n"] for part in filled])
    centres = np.array([part.truth for part in filled])

    def mean(values: Array) -> float:
        return float(np.average(values, weights=weights))

    each = {name: np.array([part.scores[name] for part in filled]) for name in filled[0].scores}
    error = mean(each["rmse"] ** 2)
    variance = mean(each["rmse_constant"] ** 2 + (centres - mean(centres)) ** 2)
    return {name: mean(values) for name, values in each.items()} | {
        "n": float(weights.sum()),
        "rmse": float(np.sqrt(error)),
        "r2": 1.0 - error / variance if variance > 0 else float("nan"),
        "rmse_constant": float(np.sqrt(variance)),
    }
