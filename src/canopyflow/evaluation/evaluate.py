"""All scores of one model, from every source there is and over its seeds: one JSON, one long table."""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from canopyflow.atomic import atomic_file, write_json
from canopyflow.evaluation.against.maps import evaluate_maps
from canopyflow.evaluation.against.season_maps import evaluate_season_maps, of_seasons
from canopyflow.evaluation.corrections import correct, nothing
from canopyflow.evaluation.matched import BY, PlotScores, intervals, plain, score_matchups
from canopyflow.evaluation.tables import SOURCES, group_table, long_table, with_null

log = logging.getLogger("canopyflow")


class Files(NamedTuple):
    """Where the scores of a model go: ``scores``, all of them (JSON); ``table``, a long table of
    them (CSV, :data:`canopyflow.evaluation.tables.LONG`); ``groups``, those of field plots by site, class
    and month (CSV, :data:`canopyflow.evaluation.tables.GROUP`), without a row where there are no plots."""

    scores: Path
    table: Path
    groups: Path


def evaluate(
    model: str,
    *,
    seeds: Sequence[Path],
    products: list[Path],
    matchups: Path | None,
    truth: Path | None,
    corrections: Sequence[str] = (),
    out: Files,
) -> dict[str, Any]:
    """Score one model and write its files.

    Parameters
    ----------
    seeds: what :func:`score_seed` wrote for each seed; maps and plots are those of the first.
    products: product stores of the model; read only if there are reference maps.
    matchups: matchup table, or None for a campaign without field plots.
    truth: folder of reference maps, or None.
    corrections: methods of :data:`canopyflow.evaluation.corrections.METHODS`, beside the raw posterior.
    out: where the scores go. Of the JSON: ``{"model", "bundle_sha256", "calibration", "scores": {source:
        {variable: {metric: value}}}, "spread", "against", "against_spread", "intervals", "groups", "pit",
        "corrections"}``; simulations and all under "against" are means over the seeds, the spreads standard
        deviations between them, the calibration curves the first's. Intervals, groups and histograms are of
        field plots, see :class:`canopyflow.evaluation.matched.PlotScores`. What is undefined is null.
    """
    results = [json.loads(path.read_text()) for path in seeds]
    plots = score_matchups(matchups) if matchups is not None else PlotScores({}, {by: {} for by in BY}, {})
    scores = {
        "simulations": over_seeds([result["scores"] for result in results], np.mean),
        "hidden": over_seeds([result.get("hidden", {}) for result in results], np.mean),
        **_against_maps(products, truth),
        "plots": plots.values(),
    }
    found = correct(matchups, corrections) if matchups is not None else nothing()
    for variable, reason in found["refused"].items():
        log.warning("%s: intervals of %s are not corrected: %s", model, variable, reason)
    result = {
        "model": model,
        "bundle_sha256": results[0]["bundle_sha256"],
        "calibration": results[0]["calibration"],
        "spread": with_null(over_seeds([result["scores"] for result in results], _spread)),
        "against": with_null(over_seeds([result["against"] for result in results], np.mean)),
        "against_spread": with_null(over_seeds([result["against"] for result in results], _spread)),
        "seeds": len(results),
        "scores": {source: with_null(scores[source]) for source in SOURCES},
        "intervals": {"plots": intervals(plots.scores)},
        "groups": {
            by: {name: plain(of) for name, of in groups.items()} for by, groups in plots.groups.items()
        },
        "pit": {"plots": plots.pit},
        "corrections": {
            "scores": {method: with_null(of) for method, of in found["scores"].items()},
            "tests": found["tests"],
            "refused": found["refused"],
        },
    }
    write_json(out.scores, result)
    with atomic_file(out.table) as scratch:
        long_table(result).to_csv(scratch, index=False, float_format="%.6g")
    with atomic_file(out.groups) as scratch:
        group_table(result).to_csv(scratch, index=False, float_format="%.6g")
    for source, variables in scores.items():
        for variable in ("lai", "gai", "ccc"):
            if variable in variables and not variables[variable]["n"]:
                log.info("%s on %s, %s: no clear pixel to compare", model, source, variable)
            elif variable in variables:
                told = "%s on %s, %s: n %d, RMSE %.3g, bias %+.3g, 90 %% interval covers %.2f (width %.3g)"
                names = ("n", "rmse", "bias", "coverage90", "width90")
                log.info(told, model, source, variable, *(variables[variable][name] for name in names))
                if "coverage90_label" in variables[variable]:
                    covered = variables[variable]["coverage90_label"]
                    log.info("with the error of the labels the 90 %% interval covers %.2f", covered)
    return result


_Scores = dict[str, dict[str, float]]


def _against_maps(products: list[Path], truth: Path | None) -> dict[str, _Scores]:
    """Scores of maps by source; of pixels under clouds only models of seasons say something."""
    if truth is None:
        return {"maps": {}, "clouded": {}}
    if products and of_seasons(products[0]):
        return evaluate_season_maps(products, truth)
    return {"maps": evaluate_maps(products, truth), "clouded": {}}


def over_seeds(
    results: Sequence[Mapping[str, Mapping[str, float | None]]], join: Callable[..., Any]
) -> _Scores:
    """Scores of several seeds joined number by number; NaN where one of them has none."""
    return {
        group: {
            metric: float(join([math.nan if (v := r[group][metric]) is None else v for r in results]))
            for metric in metrics
        }
        for group, metrics in results[0].items()
    }


def _spread(values: Sequence[float]) -> float:
    """Standard deviation between seeds; NaN for a single seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
