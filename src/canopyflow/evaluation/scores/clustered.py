"""How sure a score is, when rows belong together: rows of one plot, field or site err alike.

Resampling rows as if they were independent makes intervals far too narrow, so whole clusters are drawn; and
two estimators are compared on the same rows, by the sign of each cluster's difference.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Sums = Mapping[str, Floats]
"""By name, the sum of a row's contribution over the rows of each draw, (draws,)."""

DRAWS = 2000
"""Resamplings behind an interval, and sign flips behind a p-value."""

_AT_ONCE = 256
_MOST_EXACT = 12
"""Clusters up to which all sign flips are tried: 4096."""


class Interval(NamedTuple):
    """A score and its 95 % bootstrap interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """Mean of the paired differences, their 95 % interval over clusters, and the two-sided p-value of
    none."""

    value: float
    low: float
    high: float
    p: float
    clusters: int


def codes(groups: Any) -> NDArray[np.intp]:
    """Number of each row's cluster, (n,), counted from 0, of names (n,)."""
    return np.asarray(np.unique(np.asarray(groups).astype(str), return_inverse=True)[1], dtype=np.intp)


def bootstrap(
    rows: Mapping[str, Floats],
    cluster: NDArray[np.intp],
    scores: Mapping[str, Callable[[Sums], Floats]],
    *,
    seed: int,
    draws: int = DRAWS,
) -> dict[str, Interval]:
    """Scores that follow from sums over rows, with their intervals over clusters.

    Parameters
    ----------
    rows: what each row contributes, by name, each (n,) without NaN.
    cluster: number of each row's cluster (n,), from :func:`codes`.
    scores: from the sums by name, each (draws,), to the score of each draw.
    seed: of the resampling.
    draws: number of resamplings.

    With a single cluster nothing can be resampled: the intervals are NaN.
    """
    names = list(rows)
    parts = np.array([np.bincount(cluster, rows[name]) for name in names]).T
    count = len(parts)
    whole = dict(zip(names, parts.sum(0)[:, None], strict=True))
    if count < 2:
        drawn = dict(zip(names, np.full((len(names), 1), np.nan), strict=True))
    else:
        g = np.random.default_rng(seed)
        sums = [
            g.multinomial(count, np.full(count, 1.0 / count), size) @ parts
            for size in _sizes(draws, _AT_ONCE)
        ]
        drawn = dict(zip(names, np.concatenate(sums).T, strict=True))
    out = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, of in scores.items():
            low, high = _interval(of(drawn))
            out[name] = Interval(float(of(whole)[0]), low, high)
    return out


def paired(
    first: Floats, second: Floats, cluster: NDArray[np.intp], *, seed: int, draws: int = DRAWS
) -> Difference:
    """Mean of ``first - second`` (n,), losses of two estimators on the same rows, with a test over clusters.

    Under the hypothesis of no difference each cluster's sum of differences is as likely to have the other
    sign: the p-value is the share of sign flips (all of them for up to 12 clusters) with a mean as far from
    zero. With k clusters it is never below 2 / 2^k. NaN without a row, or with one cluster.
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    keep = np.isfinite(difference)
    difference, own = difference[keep], np.unique(cluster[keep], return_inverse=True)[1]
    clusters = int(own.max()) + 1 if own.size else 0
    if clusters < 2:
        value = float(difference.mean()) if difference.size else np.nan
        return Difference(value, np.nan, np.nan, np.nan, clusters)
    sums = np.bincount(own, difference)
    spread = bootstrap(
        {"d": difference, "n": np.ones_like(difference)}, own, {"d": lambda s: s["d"] / s["n"]},
        seed=seed, draws=draws,
    )["d"]  # fmt: skip
    found = abs(sums.sum())
    if clusters <= _MOST_EXACT:
        flips = 1.0 - 2.0 * ((np.arange(2**clusters)[:, None] >> np.arange(clusters)) & 1)
        p = float((np.abs(flips @ sums) >= found * (1 - 1e-12)).mean())
    else:
        g = np.random.default_rng(seed + 1)
        as_far = sum(
            int((np.abs(g.choice([-1.0, 1.0], (size, clusters)) @ sums) >= found * (1 - 1e-12)).sum())
            for size in _sizes(draws, _AT_ONCE)
        )
        p = (as_far + 1) / (draws + 1)
    return Difference(*spread, p, clusters)


def _interval(values: Floats) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.nan, np.nan
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def _sizes(total: int, most: int) -> list[int]:
    return [min(most, total - start) for start in range(0, total, most)]
