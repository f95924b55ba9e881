"""Models side by side."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from canopyflow.evaluation.figures.style import (
    INK,
    PALE,
    PALETTE,
    TALLEST,
    legend_below,
    message,
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
_TEXT: Any = {"ha": "center", "va": "bottom", "fontsize": 8, "color": INK}
_NAMES = {
    "simulations": "simulations",
    "hidden": "simulations, hidden dates",
    "maps": "reference maps",
    "clouded": "reference maps, clouded",
    "plots": "field plots",
}
_MARKS = dict(
    zip(
        SOURCES,
        ((PALETTE[0], "o"), (PALETTE[5], "o"), (PALETTE[1], "s"), (PALETTE[4], "s"), (PALETTE[2], "D")),
        strict=True,
    )
)
"""Colour and mark of each source: what nobody saw is paler than what was seen."""


_OF_MODEL = (
    ("c2st", "C2ST: 0.5 is the true posterior", (0.48, 1.0)),
    ("efficiency", "ESS / K: 1 is best", (0.0, 1.0)),
)
"""What is said of a model and of no single variable: column of ``benchmarks/models.csv``, title, limits."""


def draw_comparison(
    table: Path, out: Path, *, models: Path | None = None, variables: tuple[str, ...] = ()
) -> None:
    """Models by source; columns are error, coverage and width, rows are variables; and one column for how
    well each model meets the true posterior of the physics.

    As many variables are shown as a window has room for.

    ``table`` is the CSV of :func:`canopyflow.evaluation.pages.comparison.compare`. The broken line beside the
    RMSE is the error of always predicting the mean, the line at 0.9 is the nominal coverage. Hollow marks are
    field plots with the error of their labels counted.
    """
    scores = pd.read_csv(table)
    variables = variables or _main(scores)
    scores = scores[scores["variable"].isin(variables)]
    names = sorted(scores["model"].unique())
    shown = [v for v in variables if v in set(scores["variable"])]
    if not shown:
        message(out, "No scores to compare")
        return
    row_height = 1.1 + 0.26 * min(len(names), 7) + 0.19 * max(0, len(names) - 7)
    shown = shown[: max(1, int((TALLEST - 1.0) / row_height))]
    height = min(len(shown) * row_height + 1.0, TALLEST)
    joint = _joint(models, names)
    first = 1 if joint else 0
    figure, grid = panels(13, height, "Models compared", len(shown), first + len(_METRICS))
    for number, (row, variable) in enumerate(zip(grid, shown, strict=True)):
        if joint:
            _joint_dots(row[0], joint, number, names)
        rows = scores[scores["variable"] == variable]
        for axes, (metric, title) in zip(row[first:], _METRICS, strict=True):
            _dots(axes, rows, metric, names, names=axes is row[0])
            axes.set_xlabel("share" if metric == "coverage90" else label(variable))
            axes.set_title(f"{MEASURANDS[variable].symbol}: {title}", fontsize=11)
    legend_below(figure, columns=4)
    save(figure, out)


def _joint(
    models: Path | None, names: list[str]
) -> "list[tuple[str, tuple[float, float], pd.Series[float]]]":
    """Of each of :data:`_OF_MODEL` that any model has: title, limits and the values of ``names``."""
    if models is None:
        return []
    known = pd.read_csv(models).set_index("model").reindex(names)
    every = [(title, limits, known[column]) for column, title, limits in _OF_MODEL if column in known]
    return [entry for entry in every if entry[2].notna().any()]


def _joint_dots(
    axes: Axes, joint: "list[tuple[str, Any, pd.Series[float]]]", row: int, names: list[str]
) -> None:
    """C2ST in the first row, ESS / K in the second; further rows have none."""
    at = np.arange(len(names))[::-1]
    axes.set_ylim(-0.6, len(names) - 0.2)
    axes.set_yticks(at, names, fontsize=_size(names))
    if row >= len(joint):
        for part in (axes.spines["bottom"], axes.xaxis):
            part.set_visible(False)
        axes.grid(False)
        return
    title, limits, values = joint[row]
    axes.plot(values, at, "X", color=INK, ms=8, label="reference posterior of the physics")
    for value, height in zip(values, at, strict=True):
        if np.isfinite(value):
            axes.annotate(f"{value:.2f}", (value, height), (0, 5), textcoords="offset points", **_TEXT)
    axes.set_xlim(*limits)
    axes.set_title(title, fontsize=11)
    if limits[0] > 0:
        axes.axvline(0.5, color=PALE, lw=1.5, zorder=0)


def _size(names: list[str]) -> int:
    """Size of the names of models, which share the height of a panel."""
    return 10 if len(names) <= 12 else 7


def _main(scores: pd.DataFrame) -> tuple[str, ...]:
    """What the field plots of the campaign measured, of the variables that users ask for first; without plots
    leaf area and canopy chlorophyll."""
    measured = set(scores.loc[scores["source"] == "plots", "variable"])
    return tuple(v for v in ("lai", "gai", "ccc", "fapar") if v in measured) or ("lai", "ccc")


def _dots(axes: Axes, rows: pd.DataFrame, metric: str, models: list[str], names: bool) -> None:
    """One row per model, one mark per source of truth; as legible for twenty models as for two."""
    at = np.arange(len(models))[::-1]
    alone = rows["source"].nunique() == 1
    for source, (colour, mark) in _MARKS.items():
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
        colour, mark = _MARKS["plots"]
        mine = rows[rows["source"] == "plots"].set_index("model").reindex(models)
        axes.plot(
            mine[counted],
            at,
            mark,
            color=colour,
            ms=7,
            fillstyle="none",
            label="field plots, error of labels counted",
        )
    if metric == "coverage90":
        axes.axvline(0.9, color=PALE, lw=1.5, zorder=0)
        columns = [name for name in (metric, counted) if name in rows]
        lowest = float(np.nan_to_num(rows[columns].to_numpy(float), nan=0.9).min())
        # What matters is a few hundredths about 0.9: the axis does not start at zero unless it must.
        axes.set_xlim(max(0.0, min(0.8, lowest - 0.05)), 1.01)
    else:
        columns = [metric, *(c for c in ("rmse_constant" if metric == "rmse" else counted,) if c in rows)]
        largest = float(np.nan_to_num(rows[columns].to_numpy(float)).max())
        axes.set_xlim(0, 1.12 * largest if largest > 0 else 1)
    axes.set_ylim(-0.6, len(models) - 0.2)
    axes.set_yticks(at, models if names else [""] * len(models), fontsize=_size(models))
