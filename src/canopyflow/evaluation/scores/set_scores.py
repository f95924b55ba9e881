"""Scores of a set of labels: what each row contributes, and what follows from sums of it.

Kept as sums, so that a score of all rows and of any resampling of them are the same few lines.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from canopyflow.evaluation.scores.clustered import DRAWS, Interval, Sums, bootstrap
from canopyflow.evaluation.scores.metrics import GCOS_AREAS, within_gcos
from canopyflow.evaluation.scores.predictive import LEVELS, Predictive, interval_score

Floats = NDArray[np.float64]


def contributions(
    truth: Floats, mean: Floats, predictive: Predictive, flags: Mapping[str, NDArray[np.bool_]], variable: str
) -> dict[str, Floats]:
    """What each row adds to the scores of a ``variable``, by name, each (n,).

    ``truth``: labels; ``mean``: posterior means; ``predictive``: the posteriors with the error of each label;
    ``flags``: by name, which rows carry it. Names that end in ``_label`` count the error of the labels.
    """
    error = mean - truth
    out = {"one": np.ones_like(truth), "truth": truth, "truth2": truth**2, "error": error, "error2": error**2,
           "absolute": np.abs(error)}  # fmt: skip
    for ending, law in (("", predictive.exact()), ("_label", predictive)):
        out[f"crps{ending}"] = law.crps(truth)
        low, high = law.quantile(0.05), law.quantile(0.95)
        out[f"interval90{ending}"], out[f"width90{ending}"] = interval_score(truth, low, high), high - low
        out[f"log_score{ending}"] = law.log_score(truth)
        for level in LEVELS:
            out[f"coverage{100 * level:.0f}{ending}"] = law.inside(truth, level)
        if variable in GCOS_AREAS:
            out[f"gcos_threshold{ending}"] = within_gcos(truth, mean, law.error)
    any_flag = np.any(list(flags.values()), axis=0) if flags else np.zeros(len(truth), bool)
    for name, where in (*flags.items(), ("flagged", any_flag)):
        out[name] = where.astype(np.float64)
        out[f"absolute {name}"] = out["absolute"] * where
    return out


_MEANS = ("crps", "interval", "log_score", "width", "coverage", "gcos")
"""How the names of scores begin that are means over the rows which have them."""


def scored(
    rows: Mapping[str, Floats], cluster: NDArray[np.intp], *, seed: int, draws: int = DRAWS
) -> dict[str, Interval]:
    """All scores of :func:`contributions` with their intervals over clusters.

    ``n rmse bias mae r2``; ``crps``, ``interval90``, ``log_score``, ``width90``, ``coverage50`` to
    ``coverage95``, of leaf areas ``gcos_threshold``, and the same with ``_label``; for each flag, and
    ``flagged`` for any of them, its share, and ``{flag}_ratio``: mean absolute
    error of the rows that carry it to that of the others, NaN without either. Rows whose value is not defined
    do not count in that score.
    """
    scores: dict[str, Callable[[Sums], Floats]] = {
        "rmse": lambda s: np.sqrt(s["error2"] / s["one"]),
        "bias": lambda s: s["error"] / s["one"],
        "mae": lambda s: s["absolute"] / s["one"],
        "r2": lambda s: 1.0 - s["error2"] / (s["truth2"] - s["truth"] ** 2 / s["one"]),
    }
    sums = dict(rows)
    for name, values in rows.items():
        if name.startswith(_MEANS):
            there = np.isfinite(values)
            sums[name], sums[f"rows of {name}"] = np.where(there, values, 0.0), there.astype(np.float64)
            scores[name] = _share_of(name, f"rows of {name}")
        elif f"absolute {name}" in rows:
            scores[name], scores[f"{name}_ratio"] = _share_of(name, "one"), _ratio_of(name)
    out = {"n": Interval(float(rows["one"].sum()), np.nan, np.nan)}
    return out | bootstrap(sums, cluster, scores, seed=seed, draws=draws)


def _share_of(name: str, count: str) -> Callable[[Sums], Floats]:
    return lambda s: s[name] / s[count]


def _ratio_of(name: str) -> Callable[[Sums], Floats]:
    def ratio(s: Sums) -> Floats:
        theirs = s[f"absolute {name}"] / s[name]
        others = (s["absolute"] - s[f"absolute {name}"]) / (s["one"] - s[name])
        return theirs / others

    return ratio
