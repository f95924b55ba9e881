"""Scores of matched field plots: all together, and of each site, kind of plot and month.

Every score has its interval over plots, for rows of one plot err alike. A table of sites shows where a model
fails; with few plots in a group its interval is wide, and with one there is none.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from canopyflow.evaluation.against.plots import OK
from canopyflow.evaluation.scores.clustered import Interval, codes
from canopyflow.evaluation.scores.metrics import score
from canopyflow.evaluation.scores.predictive import Predictive, pit_histogram
from canopyflow.evaluation.scores.set_scores import contributions, scored
from canopyflow.evaluation.sites import sites_of
from canopyflow.evaluation.tables import finite
from canopyflow.vocabulary import STATISTICS

_OF_QUANTILES = ("coverage50", "coverage90", "width50", "width90", "interval90")

Scores = dict[str, dict[str, Interval]]
"""By variable and metric."""

GROUPED = (
    "n", "rmse", "bias", "mae", "crps", "crps_label", "interval90", "interval90_label", "log_score",
    "log_score_label", "coverage90", "coverage90_label", "width90", "gcos_threshold", "gcos_threshold_label",
)  # fmt: skip
"""Scores of a group of plots."""

BY = ("site", "class", "month")
"""What plots are grouped by: their site, their kind (``land_cover``, or ``group`` where no plot of the table
has one), the month of the year in which they were measured, "01" to "12"."""


@dataclass(frozen=True)
class PlotScores:
    """``scores``: by variable and metric; ``groups``: by one of :data:`BY`, group, variable and metric;
    ``pit``: by variable, histograms of where labels lie in the posterior, as if they were ``exact`` and with
    their error, ``label``."""

    scores: Scores
    groups: dict[str, dict[str, Scores]]
    pit: dict[str, dict[str, list[int]]]

    def values(self) -> dict[str, dict[str, float]]:
        """The scores without their intervals."""
        return {
            variable: {metric: found.value for metric, found in metrics.items()}
            for variable, metrics in self.scores.items()
        }


def score_matchups(matchups: Path, *, seed: int = 0) -> PlotScores:
    """Scores of the matched rows of a matchup table; empty if no row has a match.

    Of each variable those of :func:`canopyflow.evaluation.scores.set_scores.scored`, with the label error and
    without, ``width50`` and ``rmse_constant``; intervals are over plots (bootstrap, from ``seed``).
    """
    table = pd.read_parquet(matchups)
    table = table[table["status"] == OK].reset_index(drop=True)
    if not len(table):
        return PlotScores({}, {by: {} for by in BY}, {})
    # A plot of one name may be at two sites.
    cluster = codes(table["plot_id"].astype(str) + "\0" + sites_of(table))
    rows = {variable: _contributions(part, str(variable)) for variable, part in table.groupby("variable")}
    scores, pit = {}, {}
    for variable, part in table.groupby("variable", sort=True):
        name = str(variable)
        own = cluster[part.index]
        scores[name] = scored(rows[variable], codes(own), seed=seed)
        value = part["value"].to_numpy(float)
        summary = {statistic: part[statistic].to_numpy(float) for statistic in STATISTICS}
        for metric, own_value in score(value, summary, name).items():
            found = scores[name].get(metric)
            # What maps with a few quantiles say themselves stands; only the CRPS is counted in one way.
            if found is None or (
                metric in _OF_QUANTILES and not math.isclose(own_value, found.value, rel_tol=1e-6)
            ):
                scores[name][metric] = Interval(own_value, np.nan, np.nan)
        law = _law(part)
        pit[name] = {
            ending: pit_histogram(each.probability(value))
            for ending, each in (("exact", law.exact()), ("label", law))
        }
    groups = {by: _of_groups(table, rows, cluster, names, seed) for by, names in groups_of(table).items()}
    return PlotScores(scores, groups, pit)


def groups_of(table: pd.DataFrame) -> dict[str, "pd.Series[str]"]:
    """By one of :data:`BY`, the group (n,) of each row of a matchup table; "" where it has none."""
    nothing = pd.Series("", index=table.index)
    kinds = table.get("land_cover", nothing).fillna("").astype(str)
    if not (kinds != "").any():
        kinds = table.get("group", nothing).fillna("").astype(str)
    month = pd.to_datetime(table["date"]).dt.strftime("%m") if "date" in table else nothing
    return {"site": pd.Series(sites_of(table), table.index), "class": kinds, "month": month}


def _of_groups(
    table: pd.DataFrame,
    rows: Mapping[Any, Mapping[str, Any]],
    cluster: np.ndarray[Any, np.dtype[np.intp]],
    names: "pd.Series[str]",
    seed: int,
) -> dict[str, Scores]:
    out: dict[str, Scores] = {}
    for (name, variable), part in table.groupby([names.rename("by"), table["variable"]], sort=True):
        if name == "":
            continue
        within = np.searchsorted(table.index[table["variable"] == variable], part.index)
        some = {key: values[within] for key, values in rows[variable].items()}
        found = scored(some, codes(cluster[part.index]), seed=seed)
        kept = {metric: found[metric] for metric in GROUPED if metric in found}
        out.setdefault(str(name), {})[str(variable)] = kept
    return out


def _contributions(part: pd.DataFrame, variable: str) -> dict[str, Any]:
    value, mean = (part[name].to_numpy(float) for name in ("value", "mean"))
    return contributions(value, mean, _law(part), {}, variable)


def _law(part: pd.DataFrame) -> Predictive:
    summary = {name: part[name].to_numpy(float) for name in STATISTICS}
    return Predictive.of(summary, part["error"].to_numpy(float))


def intervals(scores: Scores) -> dict[str, dict[str, dict[str, float | None]]]:
    """For JSON: by variable and metric ``{"low", "high"}`` of the scores that have an interval."""
    return {
        variable: {
            metric: {"low": found.low, "high": found.high}
            for metric, found in metrics.items()
            if np.isfinite([found.low, found.high]).all()
        }
        for variable, metrics in scores.items()
    }


def plain(scores: Scores) -> dict[str, dict[str, dict[str, float | None]]]:
    """For JSON: by variable and metric ``{"value", "low", "high"}``, None for what is not defined."""
    return {
        variable: {metric: finite(found._asdict()) for metric, found in metrics.items()}
        for variable, metrics in scores.items()
    }
