"""All scores of one family, from every source there is: one JSON, one long table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from canopyflow.atomic import atomic_file, content_digest, write_json
from canopyflow.evaluation.calibration import evaluate_simulations
from canopyflow.evaluation.maps import evaluate_maps
from canopyflow.evaluation.matchup import OK, STATISTICS
from canopyflow.evaluation.metrics import score
from canopyflow.evaluation.tables import SOURCES, long_table, with_null

log = logging.getLogger("canopyflow")


def evaluate(
    family: str,
    *,
    bundle: Path,
    simulations: Path,
    products: list[Path],
    matchups: Path | None,
    truth: Path | None,
    out_json: Path,
    out_csv: Path,
    n: int,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Score one family and write ``out_json`` and ``out_csv``.

    Parameters
    ----------
    bundle, simulations, n, samples, seed: see :func:`canopyflow.evaluation.calibration.evaluate_simulations`.
    products: product stores of the family; read only if there are reference maps.
    matchups: matchup table, or None for a campaign without field plots.
    truth: folder of reference maps, or None.
    out_json: ``{"family", "bundle_sha256", "calibration", "scores": {source: {variable: {metric: value}}}}``;
        a score that is undefined is null.
    out_csv: the scores as a long table ``family, source, variable, metric, value``.
    """
    calibration = evaluate_simulations(bundle, simulations, n=n, samples=samples, seed=seed)
    scores = {
        "simulations": calibration.pop("scores"),
        "maps": evaluate_maps(products, truth) if truth is not None else {},
        "plots": evaluate_matchups(matchups) if matchups is not None else {},
    }
    result = {
        "family": family,
        "bundle_sha256": content_digest(bundle),
        "calibration": calibration,
        "scores": {source: with_null(scores[source]) for source in SOURCES},
    }
    write_json(out_json, result)
    with atomic_file(out_csv) as scratch:
        long_table(result).to_csv(scratch, index=False, float_format="%.6g")
    for source, variables in scores.items():
        for variable in ("lai", "ccc"):
            if variable in variables and not variables[variable]["n"]:
                log.info("%s on %s, %s: no clear pixel to compare", family, source, variable)
            elif variable in variables:
                s = variables[variable]
                log.info(
                    "%s on %s, %s: n %d, RMSE %.3g, bias %+.3g, 90 %% interval covers %.2f (width %.3g)",
                    family,
                    source,
                    variable,
                    s["n"],
                    s["rmse"],
                    s["bias"],
                    s["coverage90"],
                    s["width90"],
                )
    return result


def evaluate_matchups(matchups: Path) -> dict[str, dict[str, float]]:
    """Scores per variable over the matched rows of a matchup table; empty if no row has a match."""
    table = pd.read_parquet(matchups)
    matched = table[table["status"] == OK]
    out = {}
    for variable, rows in matched.groupby("variable", sort=True):
        summary = {name: rows[name].to_numpy(dtype=float) for name in STATISTICS}
        out[str(variable)] = score(rows["value"].to_numpy(dtype=float), summary, str(variable))
    return out
