"""What a posterior says of a *measurement*: its own spread, and the error of the instrument beside it.

A label is not the truth. A posterior that is right covers the truth as often as it says, and a noisy label
less often; so a label is compared with the posterior convolved with the label's own normal error. Both are
here: an ``error`` of zero is the comparison as if labels were exact.

Products keep a few statistics of each posterior. Between their quantiles the distribution is read off along
a straight line in normal scores (a probability plot), and beyond them along the last piece of that line. For
a normal posterior this is exact; the quantiles themselves are met exactly for any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr, ndtri

from canopyflow.vocabulary import QUANTILES

Array = NDArray[np.floating]
Floats = NDArray[np.float64]

_NODES = 100
"""Equally probable points that stand for a posterior when it is convolved with an error."""

_MIDPOINTS = (np.arange(_NODES) + 0.5) / _NODES

_HERMITE = tuple(np.polynomial.hermite_e.hermegauss(40))
"""Points and weights with which a mean over a standard normal is taken."""

_FLAT = 0.01
"""Least width of a piece between two quantiles where a density is asked for, as a share of the distance
between the outermost: a density of two equal quantiles would have no end."""

_PAIRS_AT_ONCE = 256
"""Rows whose nodes are compared pair by pair at a time: 256 rows hold 10 MB."""

_ROOT = float(np.sqrt(2.0 * np.pi))

_HALVINGS = 50
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Predictive:
    """Distributions of n measurements.

    ``levels`` (q,): probabilities, rising, one half among them, of ``values`` (q, n), the quantiles of each
    posterior; ``error`` (n,): standard deviation of each measurement about the truth, in the unit of the
    values. Rows with a NaN stay NaN in whatever follows from them.
    """

    levels: Floats
    values: Floats
    error: Floats

    @classmethod
    def of(cls, summary: Mapping[str, Array], error: Array | float = 0.0) -> Predictive:
        """From posterior statistics by name, each (n,): from all quantiles there are, at least three with the
        median among them; else normal, with mean and standard deviation; else NaN."""
        some = [
            np.asarray(summary[name], np.float64) for name in (*QUANTILES, "mean", "std") if name in summary
        ]
        shape = some[0].shape if some else np.shape(error)
        there = [name for name in QUANTILES if name in summary and np.isfinite(summary[name]).any()]
        if len(there) >= 3 and "q50" in there:
            levels = np.array([QUANTILES[name] for name in there])
            values = np.array([summary[name] for name in there], np.float64)
        else:
            levels = np.array(list(QUANTILES.values()))
            nothing = np.full(shape, np.nan)
            mean, std = (np.asarray(summary.get(name, nothing), np.float64) for name in ("mean", "std"))
            values = mean + ndtri(levels)[:, None] * std
        return cls(levels, values, np.broadcast_to(np.asarray(error, np.float64), shape))

    def exact(self) -> Predictive:
        """The same for measurements without error."""
        return Predictive(self.levels, self.values, np.zeros_like(self.error))

    def moments(self) -> tuple[Floats, Floats]:
        """Means and standard deviations (n,) of the posteriors, without the error; exact for a normal one."""
        nodes = self._nodes()
        return nodes.mean(0), nodes.std(0) / ndtri(_MIDPOINTS).std()

    def stretched(self, factor: Array | float, about: Array) -> Predictive:
        """Posteriors drawn out about the points ``about`` (n,) by ``factor`` (n,) or one for all; the error
        stays."""
        return Predictive(self.levels, about + np.asarray(factor) * (self.values - about), self.error)

    def rows(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Predictive:
        """The distributions of some measurements."""
        return Predictive(self.levels, self.values[:, which], self.error[which])

    def probability(self, measured: Array) -> Floats:
        """Probability (n,) of values below ``measured``: uniform on [0, 1] if the posterior is right.

        Where several values are equally probable (a posterior on one point), the one nearest to one half.
        """
        y = np.asarray(measured, np.float64)
        sharp = ndtr(self._score(y))
        with np.errstate(divide="ignore", invalid="ignore"):
            blurred = ndtr((y - self._nodes()) / self.error).mean(0)
        return np.where(self.error > 0, blurred, sharp)

    def inside(self, measured: Array, level: float) -> Floats:
        """1 where ``measured`` lies in the central interval of probability ``level``, else 0; (n,), NaN for
        rows without one."""
        p = self.probability(measured)
        return np.where(np.isfinite(p), np.abs(p - 0.5) <= level / 2 + _ROUNDING, np.nan).astype(np.float64)

    def quantile(self, level: float) -> Floats:
        """Quantile (n,) of the measurement."""
        at = self._at(np.array([level]))[0]
        blurred = self.error > 0
        if not blurred.any():
            return at
        part = self.rows(blurred)
        nodes = part._nodes()
        low, high = nodes.min(0) - 9.0 * part.error, nodes.max(0) + 9.0 * part.error
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            below = ndtr((middle - nodes) / part.error).mean(0) < level
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        at[blurred] = (low + high) / 2
        return at

    def width(self, level: float) -> Floats:
        """Width (n,) of the central interval of probability ``level``."""
        return self.quantile(0.5 + level / 2) - self.quantile(0.5 - level / 2)

    def interval_score(self, measured: Array, level: float) -> Floats:
        """Interval score (n,) of the central interval of probability ``level``: :func:`interval_score`."""
        low, high = self.quantile(0.5 - level / 2), self.quantile(0.5 + level / 2)
        return interval_score(np.asarray(measured, np.float64), low, high, level)

    def log_score(self, measured: Array) -> Floats:
        """Logarithmic score (n,): minus the logarithm of the density at ``measured``, in nats, the density
        per unit of the values (Good, Journal of the RSS B 14, 1952). Lower is better.

        The density of a posterior is that of the straight lines in normal scores. With an error it is the
        mean over whichever of both is narrower, the posterior or the error, by 40 points of Gauss and
        Hermite. NaN for a posterior on one point and a label without error, which has no density.
        """
        y = np.asarray(measured, np.float64)
        points, weights = _HERMITE[0][:, None], np.log(_HERMITE[1] / _HERMITE[1].sum())[:, None]
        width = self.values[-1] - self.values[0]
        own = ndtri(self.levels)
        with np.errstate(divide="ignore", invalid="ignore"):
            sharp = self._log_density(y[None])[0]
            narrow = logsumexp(weights + self._log_density(y - points * self.error), axis=0)
            offset = (y - self._at_scores(points[:, 0])) / self.error
            wide = logsumexp(weights - 0.5 * offset**2 - np.log(_ROOT * self.error), axis=0)
        blurred = np.where(self.error * (own[-1] - own[0]) < width, narrow, wide)
        found = np.where(self.error > 0, blurred, sharp)
        return np.where(np.isfinite(found), -found, np.nan).astype(np.float64)

    def _log_density(self, y: Floats) -> Floats:
        """Logarithm of the posteriors' density (..., n) at ``y`` (..., n), without the error."""
        own = ndtri(self.levels)
        step = np.maximum(np.diff(self.values, axis=0), _FLAT * (self.values[-1] - self.values[0]))
        out = np.full(y.shape, np.nan)
        for k in range(len(own) - 1):
            here = (y >= self.values[k]) | (k == 0)
            slope = (own[k + 1] - own[k]) / step[k]
            score = own[k] + np.minimum(y - self.values[k], np.inf if k == len(own) - 2 else step[k]) * slope
            out = np.where(here, np.log(slope / _ROOT) - 0.5 * score**2, out)
        return out

    def crps(self, measured: Array) -> Floats:
        """Continuous ranked probability score (n,), E|Y - y| - E|Y - Y'| / 2, of the mixture of equal normals
        around the nodes in closed form (Grimit et al., Quarterly Journal of the RMS 132, 2006)."""
        y = np.asarray(measured, np.float64)
        out = np.empty(y.shape)
        upper = np.triu_indices(_NODES, 1)
        for start in range(0, len(y), _PAIRS_AT_ONCE):
            piece = slice(start, start + _PAIRS_AT_ONCE)
            part = Predictive(self.levels, self.values[:, piece], self.error[piece])
            nodes = part._nodes()
            distance = _mean_distance(nodes - y[piece], part.error).mean(0)
            pairs = _mean_distance(nodes[upper[0]] - nodes[upper[1]], np.sqrt(2.0) * part.error).sum(0)
            own = _NODES * _mean_distance(np.zeros_like(part.error), np.sqrt(2.0) * part.error)
            out[piece] = distance - (2.0 * pairs + own) / (2.0 * _NODES**2)
        return out

    def _nodes(self) -> Floats:
        """Equally probable points (nodes, n) of the posteriors."""
        return self._at(_MIDPOINTS)

    def _at(self, levels: Floats) -> Floats:
        """Quantiles (len(levels), n) of the posteriors, without the error."""
        return self._at_scores(ndtri(levels))

    def _at_scores(self, wanted: Floats) -> Floats:
        """Values (len(wanted), n) of the posteriors at these normal scores."""
        own = ndtri(self.levels)
        left = np.clip(np.searchsorted(own, wanted, side="right") - 1, 0, len(own) - 2)
        share = ((wanted - own[left]) / (own[left + 1] - own[left]))[:, None]
        out: Floats = self.values[left] + share * (self.values[left + 1] - self.values[left])
        return out

    def _score(self, y: Floats) -> Floats:
        """Normal score (n,) of ``y`` under the posteriors: the inverse of :meth:`_at`."""
        own = ndtri(self.levels)
        best = np.full(y.shape, np.nan)
        for k in range(len(own) - 1):
            low, high = self.values[k], self.values[k + 1]
            first, last = k == 0, k == len(own) - 2
            here = ((y >= low) | first) & ((y <= high) | last)
            with np.errstate(divide="ignore", invalid="ignore"):
                score = own[k] + (y - low) / (high - low) * (own[k + 1] - own[k])
            # A step of no width lies wholly on one side of y, or y is all of it.
            flat = np.where(y < low, -np.inf, np.where(y > high, np.inf, own[k]))
            score = np.where(high > low, score, flat)
            better = here & np.isfinite(low + high + y) & ~(np.abs(best) <= np.abs(score))
            best = np.where(better, score, best)
        return best


def interval_score(truth: Floats, lower: Floats, upper: Floats, level: float = 0.9) -> Floats:
    """Interval score (n,) of intervals that should hold ``level``: their width, and 2 / (1 - level) times the
    distance of a truth outside (Winkler, J. Am. Stat. Assoc. 67, 1972; Gneiting & Raftery 2007, eq. 43)."""
    outside = np.maximum(lower - truth, 0.0) + np.maximum(truth - upper, 0.0)
    return np.asarray(upper - lower + 2.0 / (1.0 - level) * outside, np.float64)


BINS = 20
"""Of a histogram of probabilities."""


def pit_histogram(probability: Floats) -> list[int]:
    """Counts of probability integral transforms (n,) in :data:`BINS` equal bins of [0, 1]: flat if posteriors
    are right (Dawid, Journal of the RSS A 147, 1984); NaN left out."""
    finite = probability[np.isfinite(probability)]
    return [int(count) for count in np.histogram(finite, BINS, (0.0, 1.0))[0]]


LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Central intervals whose coverage of labels is counted."""


def interval_scores(measured: Array, law: Predictive) -> dict[str, float]:
    """``crps``, ``interval90``, ``log_score``, ``coverage50`` to ``coverage95`` and ``width90`` of
    measurements (n,); a NaN leaves a row out."""
    low, high = law.quantile(0.05), law.quantile(0.95)
    out = {
        "crps": _mean(law.crps(measured)),
        "interval90": _mean(interval_score(np.asarray(measured, np.float64), low, high)),
        "log_score": _mean(law.log_score(measured)),
        "width90": _mean(high - low),
    }
    return out | {f"coverage{100 * level:.0f}": _mean(law.inside(measured, level)) for level in LEVELS}


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _mean_distance(offset: Floats, deviation: Floats) -> Floats:
    """E|X| of a normal with mean ``offset`` and standard deviation ``deviation``, which may be zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = offset / deviation
        density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
        blurred = offset * (2.0 * ndtr(z) - 1.0) + 2.0 * deviation * density
    return np.where(deviation > 0, blurred, np.abs(offset))
