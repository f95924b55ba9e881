"""All models of a campaign in one table: for the eye, for the report and for other programs."""

import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from canopyflow.atomic import atomic_file
from canopyflow.errors import DataError
from canopyflow.evaluation.measurands import MEASURANDS, label
from canopyflow.evaluation.tables import SOURCES, long_table

METRICS = (
    "n", "rmse", "rmse_constant", "bias", "mae", "r2", "crps",
    "coverage50", "coverage80", "coverage90", "coverage95", "width50", "width90", "gcos_threshold",
    "crps_label", "coverage50_label", "coverage80_label", "coverage90_label", "coverage95_label",
    "width90_label", "interval90", "log_score", "interval90_label", "log_score_label", "gcos_threshold_label",
)  # fmt: skip
"""Columns of the comparison table; a metric that a source does not have is empty. Those that end in
``_label`` count the error of the labels."""

SHOWN = {
    "n": "n", "rmse": "RMSE", "rmse_constant": "constant", "bias": "bias", "r2": "R²", "crps": "CRPS",
    "coverage50": "cover 50", "coverage90": "cover 90", "width90": "width 90",
    "crps_label": "CRPS, label", "coverage90_label": "cover 90, label",
}  # fmt: skip
"""Metrics that are shown to readers, with their headings."""

TITLES = {
    "simulations": "Held-back simulations (truth known, model's own noise)",
    "hidden": "Held-back simulated seasons (dates that were hidden)",
    "maps": "Reference maps (clear pixels)",
    "clouded": "Reference maps (clouded pixels, filled by models of seasons)",
    "plots": "Field plots (matched pixels)",
}

_OF_SEASONS = (
    "; of models of seasons they are seasons of their own prior, and do not compare with those of others"
)


def _title(source: str, table: pd.DataFrame) -> str:
    """The heading of a source of a whole table; where dates were hidden there are models of seasons."""
    beside = source == "simulations" and "hidden" in set(table["source"])
    return TITLES[source] + (_OF_SEASONS if beside else "")


def compare(metrics: list[Path], out_csv: Path, out_html: Path) -> pd.DataFrame:
    """Join the JSON scores of several models into one table and write it as CSV and HTML.

    Rows are ordered by source, variable and model, so that what is to be compared stands together; columns
    are ``source, variable, model`` and :data:`METRICS`. Raises DataError if one model is given twice.
    """
    results = [json.loads(path.read_text()) for path in sorted(metrics)]
    names = [result["model"] for result in results]
    if len(set(names)) < len(names):
        raise DataError(f"two score files are of one model: {', '.join(names)}", "give one file per model")
    table = wide_table(pd.concat([long_table(result) for result in results], ignore_index=True))
    with atomic_file(out_csv) as scratch:
        table.to_csv(scratch, index=False, float_format="%.6g")
    with atomic_file(out_html) as scratch:
        scratch.write_text(_html(table, results), encoding="utf-8")
    return table


def wide_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Long scores -> one row per source x variable x model, one column per metric."""
    keys = ["source", "variable", "model"]
    wide = scores.pivot(index=keys, columns="metric", values="value").reindex(columns=list(METRICS))
    wide = wide.reset_index()
    order = list(MEASURANDS) + sorted(set(wide["variable"]) - set(MEASURANDS))
    rank = pd.DataFrame(
        {
            "source": wide["source"].map(SOURCES.index),
            "variable": wide["variable"].map(order.index),
            "model": wide["model"],
        }
    )
    wide = wide.loc[rank.sort_values(keys, kind="stable").index].reset_index(drop=True)
    wide.columns.name = None
    return wide


def format_table(csv: Path, variables: tuple[str, ...] = ("lai", "gai", "cab", "ccc", "fapar")) -> str:
    """The table as text for a terminal: a block per source, the models of one variable together."""
    table = pd.read_csv(csv)
    table = table[table["variable"].isin(variables)]
    if table.empty:
        return "no scores"
    blocks = []
    for source in SOURCES:
        rows = table[table["source"] == source]
        if rows.empty:
            continue
        shown = _shown(rows)
        head = ["variable", "model", *(SHOWN[metric] for metric in shown)]
        cells = [head] + [
            [label(row["variable"]), row["model"], *(_cell(metric, row[metric]) for metric in shown)]
            for _, row in rows.iterrows()
        ]
        widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
        sides = ["<", "<", *">" * len(shown)]
        lines = [
            "  ".join(f"{c:{side}{w}}" for c, side, w in zip(line, sides, widths, strict=True))
            for line in cells
        ]
        rule = "-" * len(lines[0])
        blocks.append(
            "\n".join([_title(source, table), lines[0].rstrip(), rule, *(x.rstrip() for x in lines[1:])])
        )
    return "\n\n".join(blocks)


def _shown(rows: pd.DataFrame) -> list[str]:
    """The metrics of :data:`SHOWN` that a source has: only labels have an error to count."""
    return [metric for metric in SHOWN if not metric.endswith("_label") or rows[metric].notna().any()]


def _cell(metric: str, value: float) -> str:
    if pd.isna(value):
        return "–"
    if metric == "n":
        return f"{value:.0f}"
    if metric.startswith(("coverage", "r2")):
        return f"{value:.2f}"
    digits = 4 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1
    if 0.0 < abs(value) < 1e-3:
        # One figure that is not zero: a bias of -0.0000 says nothing.
        digits = min(1 - math.floor(math.log10(abs(value))), 7)
    return f"{value:{'+' if metric == 'bias' else ''}.{digits}f}"


_STYLE = (
    "body{font:15px/1.4 sans-serif;margin:1.5em;color:#222}table{border-collapse:collapse;margin:0 0 2em}"
    "th,td{padding:.25em .7em;text-align:right;border-bottom:1px solid #ddd}"
    "th{border-bottom:2px solid #444}td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}"
    "tr.first td{border-top:2px solid #bbb}h2{font-size:1.1em}"
)


_LEGEND = (
    "cover 50 and cover 90: share of the truth inside the 50 % and 90 % interval; constant: RMSE of always "
    "predicting the mean of the truth; label: the error of the label is counted, so that an honest interval "
    "covers its share of what was measured."
)


LOSSES = {"crps": "CRPS", "interval90": "interval score, 90 %"}
"""Losses of which corrections are tested, with their headings."""

_CORRECTED = (
    "Below zero the correction helps. Paired over plots: intervals by drawing plots, p by the signs of their "
    "differences. Both losses count the error of the labels. conformal: intervals of the measurement, drawn "
    "out until they cover their share of the labels at other sites; variance: posteriors drawn out by the "
    "most probable factor. Maps hold the raw posterior."
)


def _corrections(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What corrections of intervals bring at sites that they were not learned on; nothing without any."""
    found = [(result["model"], result["corrections"]) for result in results if "corrections" in result]
    rows = [_tested(model, test) for model, of in found for test in of["tests"]]
    refused = [(model, variable, why) for model, of in found for variable, why in of["refused"].items()]
    if not rows and not refused:
        return []
    lines = ["<h2>Corrected intervals against the raw ones (field plots, each by other sites)</h2>"]
    if rows:
        heads = ("variable", "model", "correction", "loss", "difference", "95 % interval", "p", "plots")
        lines.append("<table><tr>" + "".join(f"<th>{h}</th>" for h in heads) + "</tr>")
        for cells in rows:
            lines.append("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + "</tr>")
        lines.append(f"</table><p>{html.escape(_CORRECTED)}</p>")
    for model, variable, reason in refused:
        lines.append(f"<p>{html.escape(f'{label(variable)}, {model}: not corrected, {reason}.')}</p>")
    return lines


def _tested(model: str, test: Mapping[str, Any]) -> list[str]:
    """Cells of one test; a number that is not defined is a dash."""
    value, low, high = (
        "–" if test[name] is None else _cell("bias", test[name]) for name in ("value", "low", "high")
    )
    p = "–" if test["p"] is None else f"{test['p']:.2g}"
    names = [label(test["variable"]), model, test["method"], LOSSES[test["loss"]]]
    return [*names, value, f"{low} to {high}", p, f"{test['clusters']:.0f}"]


def _html(table: pd.DataFrame, results: Sequence[Mapping[str, Any]]) -> str:
    """A page without any dependency, for the report."""
    head = "<!doctype html><html lang='en'><meta charset='utf-8'><title>Models</title>"
    parts = [f"{head}<style>{_STYLE}</style>"]
    for source in SOURCES:
        rows = table[table["source"] == source]
        if rows.empty:
            continue
        shown = _shown(rows)
        heads = "".join(
            f"<th>{html.escape(h)}</th>" for h in ("variable", "model", *(SHOWN[m] for m in shown))
        )
        parts.append(f"<h2>{html.escape(_title(source, table))}</h2><table><tr>{heads}</tr>")
        previous = None
        for _, row in rows.iterrows():
            cells = [label(row["variable"]), row["model"], *(_cell(m, row[m]) for m in shown)]
            first = " class='first'" if row["variable"] != previous else ""
            previous = row["variable"]
            parts.append(f"<tr{first}>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + "</tr>")
        parts.append("</table>")
    parts += _corrections(results)
    parts.append(f"<p>{html.escape(_LEGEND)}</p></html>")
    return "\n".join(parts) + "\n"
