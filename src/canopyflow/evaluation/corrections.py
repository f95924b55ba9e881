"""Intervals corrected by labelled plots, each plot by what other sites say: raw and corrected side by side.

A posterior whose law lacks something of nature is too narrow by a factor that labels can tell. The factor is
learned on the plots of all other sites and applied to a site that it has not seen, so what is reported is
what a user may expect at a new place, and not how well a factor fits the plots it was fitted to. Nothing of
this reaches a map.

``variance``: posteriors drawn out about their means by one factor, the most probable one if errors of
retrieval and label are normal. It corrects what is said of the truth.

``conformal``: each central interval of the *measurement*, label error included, drawn out about its median
until it covers its share of the other sites' labels (split conformal prediction with a scaled score: Lei et
al., Journal of the American Statistical Association 113, 2018). Whatever the posterior, it covers
measurements at its level if sites are alike; of the truth it says nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from canopyflow.evaluation.against.plots import OK
from canopyflow.evaluation.scores.clustered import Difference, codes, paired
from canopyflow.evaluation.scores.metrics import score
from canopyflow.evaluation.scores.predictive import LEVELS, Predictive, interval_scores
from canopyflow.evaluation.sites import sites_of
from canopyflow.evaluation.tables import finite
from canopyflow.vocabulary import STATISTICS

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]

LEAST_SITES = 3
"""With fewer, what is learned is that of one other place."""

LEAST_LABELS = 20
"""Fewest labels that a factor is learned on: with 18 a conformal 95 % interval has no end."""

_NARROWEST, _WIDEST = 0.05, 20.0
_POINTS = "n", "rmse", "bias", "mae", "r2", "rmse_constant"
"""Scores of means, which no correction moves."""


@dataclass(frozen=True)
class Labels:
    """Labels of one variable: ``measured`` (n,), the posterior with the error of each label, and the number
    of the ``site``, the ``group`` and the ``plot`` of each (n,)."""

    measured: Floats
    law: Predictive
    site: Codes
    group: Codes
    plot: Codes


def nothing() -> dict[str, Any]:
    """What :func:`correct` returns without a method or a plot."""
    return {"scores": {}, "tests": [], "refused": {}}


def correct(matchups: Path, methods: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Scores of matched plots after each of ``methods``, with tests against the raw posterior.

    Returns plain values: ``{"scores": {method: {variable: {metric: value}}}, "tests": [{"method", "variable",
    "loss", "value", "low", "high", "p", "clusters"}], "refused": {variable: reason}}``. A score that is not
    defined is NaN, a number of a test None. A test is of the corrected loss less the raw one, over plots:
    ``crps`` and ``interval90`` (the interval score of Gneiting & Raftery), both with the error of labels
    counted.
    """
    table = pd.read_parquet(matchups)
    table = table[table["status"] == OK].reset_index(drop=True)
    if not methods or table.empty:
        return nothing()
    out = nothing() | {"scores": {method: {} for method in methods}}
    table["place"] = sites_of(table)
    for name, rows in table.groupby("variable", sort=True):
        variable, labels = str(name), _labels(rows)
        reason = _refusal(labels)
        if reason is not None:
            out["refused"][variable] = reason
            continue
        raw = _losses(labels.measured, labels.law)
        for method in methods:
            law = corrected(labels, METHODS[method])
            summary = {name: rows[name].to_numpy(float) for name in STATISTICS}
            points = score(rows["value"].to_numpy(float), summary, variable)
            out["scores"][method][variable] = {name: points[name] for name in _POINTS} | {
                f"{name}_label": value for name, value in interval_scores(labels.measured, law).items()
            }
            if method != "conformal":
                # A conformal interval holds the error of labels, and there is none without.
                out["scores"][method][variable] |= interval_scores(labels.measured, law.exact())
            for loss, values in _losses(labels.measured, law).items():
                test = paired(values, raw[loss], labels.plot, seed=seed)
                out["tests"].append(_test(method, variable, loss, test))
    return out


def corrected(labels: Labels, method: Callable[[Floats, Predictive, Predictive], Predictive]) -> Predictive:
    """The laws (n,) of all labels, those of each site corrected by the labels of the others.

    The others of its own group if they are enough, else all others. ``method`` learns from labels and their
    laws, and applies it to further laws.
    """
    parts = []
    order = []
    law = _Tabulated.of_all(labels.law)
    for place in np.unique(labels.site):
        for kind in np.unique(labels.group[labels.site == place]):
            mine = np.flatnonzero((labels.site == place) & (labels.group == kind))
            others = labels.site != place
            alike = others & (labels.group == kind)
            used = alike if alike.sum() >= LEAST_LABELS else others
            parts.append(method(labels.measured[used], law.rows(used), law.rows(mine)))
            order.append(mine)
    back = np.argsort(np.concatenate(order))
    return Predictive(
        parts[0].levels,
        np.concatenate([part.values for part in parts], axis=1)[:, back],
        np.concatenate([part.error for part in parts])[back],
    )


@dataclass(frozen=True)
class _Tabulated(Predictive):
    """The same with the ends of all intervals known: each site asks for those of all others."""

    known: Mapping[float, Floats]

    @classmethod
    def of_all(cls, law: Predictive) -> "_Tabulated":
        levels = {0.5, *(end for level in LEVELS for end in _ends(level))}
        return cls(law.levels, law.values, law.error, {end: law.quantile(end) for end in levels})

    def rows(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> "_Tabulated":
        known = {level: values[which] for level, values in self.known.items()}
        return _Tabulated(self.levels, self.values[:, which], self.error[which], known)

    def quantile(self, level: float) -> Floats:
        return self.known[level] if level in self.known else super().quantile(level)


def _ends(level: float) -> tuple[float, float]:
    """Probabilities at the ends of a central interval."""
    return 0.5 - level / 2, 0.5 + level / 2


def by_variance(measured: Floats, known: Predictive, law: Predictive) -> Predictive:
    """``law`` drawn out about its means by the factor k for which errors of ``known`` are most probable, if
    they are normal with variance k² · posterior variance + label variance."""
    mean, deviation = known.moments()
    error2, variance, label = (measured - mean) ** 2, deviation**2, known.error**2

    def loss(log_factor: float) -> float:
        total = math.exp(2.0 * log_factor) * variance + label
        return float(np.mean(np.log(total) + error2 / total))

    found = minimize_scalar(loss, bounds=(math.log(_NARROWEST), math.log(_WIDEST)), method="bounded")
    return law.stretched(math.exp(float(found.x)), law.moments()[0])


def by_conformal(measured: Floats, known: Predictive, law: Predictive) -> Predictive:
    """Intervals of ``law`` at each of the reported levels, drawn out about the median by the factor that
    covers that share of the ``known`` labels; the error of labels is part of them."""
    middle, before = law.quantile(0.5), known.quantile(0.5)
    levels, values = [0.5], [middle]
    above, below = np.zeros_like(middle), np.zeros_like(middle)
    for level in LEVELS:
        ends = _ends(level)
        low, high = (known.quantile(end) for end in ends)
        distance = np.sort(
            np.where(
                measured < before, (before - measured) / (before - low), (measured - before) / (high - before)
            )
        )
        factor = distance[math.ceil((len(distance) + 1) * level) - 1]
        # Never inside the next smaller interval, whose factor was learned apart.
        below = np.maximum(below, factor * (middle - law.quantile(ends[0])))
        above = np.maximum(above, factor * (law.quantile(ends[1]) - middle))
        levels, values = [ends[0], *levels, ends[1]], [middle - below, *values, middle + above]
    return Predictive(np.array(levels), np.array(values), np.zeros_like(middle))


METHODS: Mapping[str, Callable[[Floats, Predictive, Predictive], Predictive]] = {
    "conformal": by_conformal,
    "variance": by_variance,
}


def _labels(rows: pd.DataFrame) -> Labels:
    value, error = (rows[name].to_numpy(float) for name in ("value", "error"))
    law = Predictive.of({name: rows[name].to_numpy(float) for name in STATISTICS}, error)
    return Labels(value, law, codes(rows["place"]), codes(rows["group"]), codes(rows["plot_id"]))


def _refusal(labels: Labels) -> str | None:
    """Why these labels correct nothing, or None."""
    count = len(np.unique(labels.site))
    if not np.isfinite(labels.law.values).all():
        return "the maps lack the statistics that say how wide a posterior is"
    middle = labels.law.quantile(0.5)
    if any((labels.law.quantile(end) == middle).any() for level in LEVELS for end in _ends(level)):
        return "intervals of some labels have no width, which no factor draws out"
    if count < LEAST_SITES:
        return f"labels of {count} sites, fewer than {LEAST_SITES}"
    fewest = min(int((labels.site != place).sum()) for place in np.unique(labels.site))
    if fewest < LEAST_LABELS:
        return f"a site has {fewest} labels at other sites to learn from, fewer than {LEAST_LABELS}"
    return None


def _losses(measured: Floats, law: Predictive) -> dict[str, Floats]:
    return {"crps": law.crps(measured), "interval90": law.interval_score(measured, 0.9)}


def _test(method: str, variable: str, loss: str, test: Difference) -> dict[str, Any]:
    return {"method": method, "variable": variable, "loss": loss, **finite(test._asdict())}
