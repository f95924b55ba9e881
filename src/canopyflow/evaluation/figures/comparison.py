"""Families side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from canopyflow.evaluation.figures.style import (
    INK,
    PALE,
    PALETTE,
    legend_below,
    message,
    new_figure,
    panels,
    save,
)
from canopyflow.evaluation.measurands import MEASURANDS, label
from canopyflow.evaluation.tables import SOURCES

_METRICS = (
    ("rmse", "RMSE"),
    ("coverage90", "share inside the 90 % interval"),
    ("width90", "width of the 90 % interval"),
)
_PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8}
_NAMES = {"simulations": "simulations", "maps": "reference\nmaps", "plots": "field\nplots"}


def draw_comparison(table: Path, out: Path, *, variables: tuple[str, ...] = ("lai", "ccc")) -> None:
    """Bars per family and source; columns are error, coverage and width, rows are variables.

    ``table`` is the CSV of :func:`canopyflow.evaluation.compare.compare`. The tick across an
    RMSE bar is the error of always predicting the mean, the line at 0.9 is the promise.
    """
    scores = pd.read_csv(table)
    scores = scores[scores["variable"].isin(variables)]
    families = sorted(scores["family"].unique())
    shown = [v for v in variables if v in set(scores["variable"])]
    if not shown:
        message(out, "No scores to compare")
        return
    figure = new_figure(12, 3.3 * len(shown) + 1.1 + 0.2 * (len(families) // 5))
    figure.suptitle("Families compared", fontsize=13)
    for row, variable in zip(panels(figure, len(shown), len(_METRICS)), shown, strict=True):
        rows = scores[scores["variable"] == variable]
        sources = [s for s in SOURCES if s in set(rows["source"])]
        for axes, (metric, title) in zip(row, _METRICS, strict=True):
            _bars(axes, rows, metric, sources, families)
            unit = "" if metric == "coverage90" else f" of {label(variable)}"
            axes.set_ylabel(f"{title}{unit}" if metric == "rmse" else "width" + unit if unit else "share")
            axes.set_title(f"{MEASURANDS[variable].symbol}: {title}")
    legend_below(figure, columns=5)
    save(figure, out)


def _bars(axes: Axes, rows: pd.DataFrame, metric: str, sources: list[str], families: list[str]) -> None:
    width = 0.8 / len(families)
    for i, family in enumerate(families):
        mine = rows[rows["family"] == family].set_index("source")
        at = np.arange(len(sources)) + (i - (len(families) - 1) / 2) * width
        heights = mine[metric].reindex(sources).to_numpy(float)
        bars = axes.bar(at, heights, width=0.92 * width, color=PALETTE[i % len(PALETTE)], label=family)
        if len(families) * len(sources) <= 9:
            labels = ["" if np.isnan(h) else f"{h:.2f}" if h < 10 else f"{h:.0f}" for h in heights]
            axes.bar_label(bars, labels=labels, fontsize=9.5, color=INK, padding=3, bbox=_PLATE)
        if metric == "rmse":
            constant = mine["rmse_constant"].reindex(sources).to_numpy(float)
            axes.hlines(
                constant,
                at - width / 2,
                at + width / 2,
                color=INK,
                lw=1.6,
                label="always predicting the mean" if i == len(families) - 1 else "_",
            )
    if metric == "coverage90":
        axes.axhline(0.9, color=PALE, lw=1.5, zorder=0)
        axes.set_ylim(0, 1.08)
    else:
        axes.margins(y=0.18)
    axes.set_xticks(range(len(sources)), [_NAMES[s] for s in sources])
    axes.set_xlim(-0.6, len(sources) - 0.4)
    axes.grid(False, axis="x")
