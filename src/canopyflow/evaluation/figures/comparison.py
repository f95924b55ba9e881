"""Models side by side."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from canopyflow.evaluation.figures.style import INK, PALE, PALETTE, legend_below, message, panels, save
from canopyflow.evaluation.measurands import MEASURANDS, label
from canopyflow.evaluation.tables import SOURCES

_METRICS = (
    ("rmse", "RMSE"),
    ("coverage90", "share inside the 90 % interval"),
    ("width90", "width of the 90 % interval"),
)
_TEXT: Any = {"ha": "center", "va": "bottom", "fontsize": 8, "color": INK}
_NAMES = {"simulations": "simulations", "maps": "reference maps", "plots": "field plots"}


def draw_comparison(table: Path, out: Path, *, variables: tuple[str, ...] = ()) -> None:
    """Models by source; columns are error, coverage and width, rows are variables.

    ``table`` is the CSV of :func:`canopyflow.evaluation.pages.comparison.compare`. The broken line beside the
    RMSE is the error of always predicting the mean, the line at 0.9 is the nominal coverage. Hollow marks are
    field plots with the error of their labels counted.
    """
    scores = pd.read_csv(table)
    variables = variables or _main(scores)
    scores = scores[scores["variable"].isin(variables)]
    models = sorted(scores["model"].unique())
    shown = [v for v in variables if v in set(scores["variable"])]
    if not shown:
        message(out, "No scores to compare")
        return
    height = len(shown) * (1.3 + 0.3 * len(models)) + 1.0
    figure, grid = panels(12, height, "Models compared", len(shown), len(_METRICS))
    for row, variable in zip(grid, shown, strict=True):
        rows = scores[scores["variable"] == variable]
        for axes, (metric, title) in zip(row, _METRICS, strict=True):
            _dots(axes, rows, metric, models, names=axes is row[0])
            axes.set_xlabel("share" if metric == "coverage90" else label(variable))
            axes.set_title(f"{MEASURANDS[variable].symbol}: {title}")
    legend_below(figure, columns=4)
    save(figure, out)


def _main(scores: pd.DataFrame) -> tuple[str, ...]:
    """What the field plots of the campaign measured, of the variables that users ask for first; without plots
    leaf area and canopy chlorophyll."""
    measured = set(scores.loc[scores["source"] == "plots", "variable"])
    return tuple(v for v in ("lai", "gai", "ccc", "fapar") if v in measured) or ("lai", "ccc")


def _dots(axes: Axes, rows: pd.DataFrame, metric: str, models: list[str], names: bool) -> None:
    """One row per model, one mark per source of truth; as legible for twenty models as for two."""
    at = np.arange(len(models))[::-1]
    alone = rows["source"].nunique() == 1
    for source, colour, mark in zip(SOURCES, PALETTE, "osD", strict=False):
        mine = rows[rows["source"] == source].set_index("model").reindex(models)
        if mine[metric].isna().all():
            continue
        axes.plot(mine[metric], at, mark, color=colour, ms=7, label=_NAMES[source])
        # Figures of several sources would lie on each other.
        for value, height in zip(mine[metric], at, strict=True):
            if alone and np.isfinite(value):
                text = f"{value:.2f}" if value < 10 else f"{value:.0f}"
                axes.annotate(text, (value, height), (0, 5), textcoords="offset points", **_TEXT)
        if metric == "rmse":
            constant = f"{_NAMES[source]}: always the mean"
            axes.axvline(mine["rmse_constant"].max(), color=colour, lw=1.5, ls="--", label=constant)
    counted = f"{metric}_label"
    if counted in rows and rows[counted].notna().any():
        at_plots = SOURCES.index("plots")
        mine = rows[rows["source"] == "plots"].set_index("model").reindex(models)
        axes.plot(
            mine[counted],
            at,
            "osD"[at_plots],
            color=PALETTE[at_plots],
            ms=7,
            fillstyle="none",
            label="field plots, error of labels counted",
        )
    if metric == "coverage90":
        axes.axvline(0.9, color=PALE, lw=1.5, zorder=0)
        axes.set_xlim(0, 1.05)
    else:
        columns = [metric, *(c for c in ("rmse_constant" if metric == "rmse" else counted,) if c in rows)]
        largest = float(np.nan_to_num(rows[columns].to_numpy(float)).max())
        axes.set_xlim(0, 1.12 * largest if largest > 0 else 1)
    axes.set_ylim(-0.6, len(models) - 0.2)
    axes.set_yticks(at, models if names else [""] * len(models))
