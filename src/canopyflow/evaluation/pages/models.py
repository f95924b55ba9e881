"""One row per model: the table for a paper, mean ± standard deviation over seeds."""

import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from canopyflow.atomic import atomic_file

COLUMNS: dict[str, tuple[tuple[str, str, str], str, int]] = {
    "elbo": (("against", "simulated", "elbo"), "ELBO", 2),
    "log_evidence": (("against", "simulated", "log_evidence"), "evidence", 2),
    "efficiency": (("against", "simulated", "efficiency"), "ESS/K", 2),
    "pareto_k": (("against", "simulated", "pareto_k"), "Pareto k", 2),
    "c2st": (("against", "simulated", "c2st"), "C2ST", 3),
    "c2st_refined": (("against", "simulated", "c2st_refined"), "C2ST refined", 3),
    "kept": (("against", "simulated", "kept"), "kept", 2),
    "wasserstein": (("against", "simulated", "wasserstein"), "sliced W1", 3),
    "c2st_observed": (("against", "observed", "c2st"), "C2ST observed", 3),
    "correlation_error": (("against", "simulated", "correlation_error"), "corr. error", 3),
    "reconstruction": (("against", "simulated", "reconstruction_worst"), "worst band RMSE", 4),
    "tarp": (("against", "simulations", "tarp"), "TARP", 3),
    "energy_score": (("against", "simulations", "energy_score"), "energy score", 3),
    "active_units": (("against", "simulations", "active_units"), "active", 0),
    "aggregate": (("against", "simulations", "aggregate"), "aggregate", 3),
    **{
        f"{variable}_{metric}": (("scores", variable, metric), f"{symbol} {heading}", digits)
        for variable, symbol in (
            ("lai", "LAI"),
            ("cab", "Cab"),
            ("ccc", "CCC"),
            ("cwc", "CWC"),
            ("fapar", "FAPAR"),
        )
        for metric, heading, digits in (
            ("rmse", "RMSE", 3),
            ("crps", "CRPS", 3),
            ("coverage50", "50 %", 3),
            ("coverage80", "80 %", 3),
            ("coverage90", "90 %", 3),
            ("coverage95", "95 %", 3),
        )
    },
    **{
        f"{variable}_plots_{metric}": (("plots", variable, metric), f"{symbol} {heading}", digits)
        for variable, symbol in (("lai", "LAI"), ("gai", "GAI"), ("ccc", "CCC"), ("fapar", "FAPAR"))
        for metric, heading, digits in (
            ("rmse", "RMSE", 3),
            ("bias", "bias", 3),
            ("crps_label", "CRPS", 3),
            ("coverage90", "90 %", 2),
            ("coverage90_label", "90 %, label", 2),
        )
    },
    "learned_error": (("against", "summaries", "learned_error"), "learned", 3),
    "drawn_error": (("against", "summaries", "drawn_error"), "drawn", 3),
    "learned_error_99": (("against", "summaries", "learned_error_99"), "learned 99 %", 2),
    "drawn_error_99": (("against", "summaries", "drawn_error_99"), "drawn 99 %", 2),
    "learned_better": (("against", "summaries", "learned_better"), "better", 2),
    "learned_coverage50": (("against", "summaries", "learned_coverage50"), "50 %", 3),
    "learned_coverage80": (("against", "summaries", "learned_coverage80"), "80 %", 3),
    "learned_coverage90": (("against", "summaries", "learned_coverage90"), "90 %", 3),
    "learned_coverage95": (("against", "summaries", "learned_coverage95"), "95 %", 3),
    "parameters": (("cost", "", "parameters"), "parameters", 0),
    "seconds_per_million": (("cost", "", "seconds_per_million"), "s / Mpx drawn", 0),
    "seconds_per_million_learned": (("cost", "", "seconds_per_million_learned"), "s / Mpx learned", 1),
}
"""Column: where it is found, its heading, digits shown."""

BLOCKS = {
    "Against the reference posterior": ("elbo", "reconstruction"),
    "Held-back simulations, all variables together": ("tarp", "aggregate"),
    "LAI on held-back simulations": ("lai_rmse", "lai_coverage95"),
    "Chlorophyll (Cab) on held-back simulations": ("cab_rmse", "cab_coverage95"),
    "Canopy chlorophyll (CCC) on held-back simulations": ("ccc_rmse", "ccc_coverage95"),
    "Canopy water (CWC) on held-back simulations": ("cwc_rmse", "cwc_coverage95"),
    "Absorbed light (FAPAR) on held-back simulations": ("fapar_rmse", "fapar_coverage95"),
    "Leaf area on field plots": ("lai_plots_rmse", "lai_plots_coverage90_label"),
    "Green area on field plots": ("gai_plots_rmse", "gai_plots_coverage90_label"),
    "Canopy chlorophyll on field plots": ("ccc_plots_rmse", "ccc_plots_coverage90_label"),
    "Absorbed light on field plots": ("fapar_plots_rmse", "fapar_plots_coverage90_label"),
    "Summaries of maps: learned by a network, or of 100 draws": ("learned_error", "learned_coverage95"),
    "Cost": ("parameters", "seconds_per_million_learned"),
}
"""Tables of the page, as wide as a sheet of paper: first and last column of each."""

_LEGEND = (
    "Mean ± standard deviation over seeds. ELBO, evidence: nats per pixel, higher is better, and all "
    "evidences agree where the weights can be believed. ESS/K: importance-sampling efficiency, 1 is best."
    " Pareto k: above 0.7 weights cannot be believed. C2ST: accuracy of a classifier that tells the "
    "model from the reference, 0.5 is best; refined: after importance refinement, on the share of pixels"
    " kept. Sliced W1: in standard deviations of the reference. TARP: distance of expected from nominal "
    "coverage, 0 is best. 50 to 95 %: share of the truth inside that interval, of the learned ones mean "
    "over variables. On field plots: of the maps of the first seed; CRPS and the last column count the "
    "error of the labels. Learned, drawn: error of summaries against 2,000 draws in standard deviations of "
    "the posterior, median and 99 %; better: share of variables and statistics in which the learned ones "
    "have both smaller. s / Mpx: seconds for the summaries of a million pixels. Held-back simulations of a "
    "model of seasons are seasons of its own prior, which do not compare with those of other models."
)


def compare_models(scores: Sequence[Path], costs: Sequence[Path], out_csv: Path, out_html: Path) -> None:
    """Write the table of models: ``{column}`` and ``{column}_sd`` in the CSV, "mean ± sd" in the page.

    ``scores``: a file of :func:`canopyflow.evaluation.evaluate.evaluate` per model. ``costs``: files of
    :func:`canopyflow.evaluation.score.score_seed` in folders named after the model.
    """
    rows = []
    for path in sorted(scores):
        result = json.loads(path.read_text())
        mine = [json.loads(p.read_text()) for p in sorted(costs) if p.parent.name == result["model"]]
        row: dict[str, Any] = {"model": result["model"], "seeds": result["seeds"]}
        for column, (place, _, _) in COLUMNS.items():
            row[column], row[f"{column}_sd"] = _mean_and_spread(result, mine, place)
        rows.append(row)
    table = pd.DataFrame(rows)
    with atomic_file(out_csv) as scratch:
        table.to_csv(scratch, index=False, float_format="%.6g")
    with atomic_file(out_html) as scratch:
        scratch.write_text(_page(table), encoding="utf-8")


def _mean_and_spread(
    result: dict[str, Any], costs: list[dict[str, float]], place: tuple[str, str, str]
) -> tuple[float, float]:
    kind, group, metric = place
    if kind == "cost":
        values = [cost.get(metric, math.nan) for cost in costs]
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    if kind == "plots":
        # Maps are those of the first seed: there is no spread.
        value = result["scores"]["plots"].get(group, {}).get(metric)
        return math.nan if value is None else float(value), math.nan
    means, spreads = (
        (result["scores"]["simulations"], result["spread"])
        if kind == "scores"
        else (result["against"], result["against_spread"])
    )
    found = (side.get(group, {}).get(metric) for side in (means, spreads))
    mean, spread = (math.nan if value is None else float(value) for value in found)
    return mean, spread


_STYLE = (
    "body{font:14px/1.4 sans-serif;margin:1.5em}table{border-collapse:collapse}"
    "th,td{padding:.25em .6em;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}"
    "th{border-bottom:2px solid #444}td:first-child,th:first-child{text-align:left}"
    "h2{font-size:1.1em;margin:1.5em 0 .4em}p{max-width:60em}"
)


def _page(table: pd.DataFrame) -> str:
    """A page without any dependency, for the report; columns that no model has are left out."""
    head = "<!doctype html><html lang='en'><meta charset='utf-8'><title>Models</title>"
    lines = [f"{head}<style>{_STYLE}</style>"]
    order = list(COLUMNS)
    for title, (first, last) in BLOCKS.items():
        columns = order[order.index(first) : order.index(last) + 1]
        shown = [column for column in columns if table[column].notna().any()]
        if shown:
            lines += [f"<h2>{html.escape(title)}</h2>", *_block(table, shown)]
    return "\n".join([*lines, f"<p>{html.escape(_LEGEND)}</p></html>", ""])


def _block(table: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    heads = "".join(f"<th>{html.escape(h)}</th>" for h in ("model", *(COLUMNS[c][1] for c in shown)))
    lines = [f"<table><tr>{heads}</tr>"]
    for _, row in table.iterrows():
        cells = [row["model"], *(_cell(row[c], row[f"{c}_sd"], COLUMNS[c][2]) for c in shown)]
        lines.append("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>")
    return [*lines, "</table>"]


def _cell(mean: float, spread: float, digits: int) -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:.{digits}f}" + ("" if math.isnan(spread) else f" ± {spread:.{digits}f}")
