"""Measured against retrieved at the field plots, both with their uncertainty."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from canopyflow.evaluation.against.plots import NOT_ESTIMATED, OK
from canopyflow.evaluation.figures.style import INK, PALE, PALETTE, legend_below, message, panels, save
from canopyflow.evaluation.measurands import MEASURANDS, label, word
from canopyflow.evaluation.scores.metrics import bias, coverage, rmse
from canopyflow.evaluation.scores.predictive import Predictive
from canopyflow.vocabulary import STATISTICS


def draw_matchups(matchups: Path | None, out: Path, *, model: str, most: int = 3) -> None:
    """Scatter of in-situ value against posterior mean, one panel per variable, with error bars on both axes.

    Where no mean was mapped it is the median. Vertical bars are 90 % intervals, horizontal bars one standard
    deviation of the label's own error; squares are labels that the interval misses and, with that error
    counted, covers.
    """
    if matchups is None:
        message(out, "This campaign has no field plots")
        return
    table = pd.read_parquet(matchups)
    statuses = set(table["status"])
    table = table[table["status"] == OK]
    order = ["lai", "gai", "ccc", "cab", *MEASURANDS, *sorted(set(table["variable"]))]
    variables = sorted(set(table["variable"]), key=order.index)[:most]
    if not variables:
        other = "No field plot measured what this campaign estimates"
        late = "No field plot has a clear acquisition near its date"
        message(out, other if statuses == {NOT_ESTIMATED} else late)
        return
    title = f"Field plots against the posterior, {model}"
    figure, [row] = panels(4.6 * len(variables) + 0.4, 5.6, title, columns=len(variables))
    for axes, variable in zip(row, variables, strict=True):
        _panel(axes, table[table["variable"] == variable], variable)
    legend_below(figure)
    save(figure, out)


def _panel(axes: Axes, rows: pd.DataFrame, variable: str) -> None:
    x, y = rows["value"].to_numpy(float), rows["mean"].to_numpy(float)
    y = np.where(np.isfinite(y), y, rows["q50"].to_numpy(float) if "q50" in rows else np.nan)
    low, high = rows["q05"].to_numpy(float), rows["q95"].to_numpy(float)
    error = np.nan_to_num(rows["error"].to_numpy(float))
    top = 1.04 * float(np.nanmax([high, y, x + error]))
    axes.plot([0, top], [0, top], color=PALE, lw=1.2, zorder=1, label="_one to one")
    # Few, solid points or many, thin ones: the bars of hundreds of plots would paint the panel over.
    faint = float(np.clip(12 / np.sqrt(len(rows)), 0.35, 1.0))
    law = Predictive.of({name: rows[name].to_numpy(float) for name in STATISTICS if name in rows}, error)
    counted = law.inside(x, 0.9)
    for keep, colour, marker, what in _kinds(x, low, high, counted):
        bars = [np.abs(y - low)[keep], np.abs(high - y)[keep]]
        axes.errorbar(
            x[keep],
            y[keep],
            yerr=bars,
            xerr=np.where(error[keep] > 0, error[keep], np.nan),
            fmt="none",
            ecolor=colour,
            elinewidth=0.9,
            alpha=0.5 * faint,
            zorder=2,
            label=f"_{what}",
        )
        axes.plot(x[keep], y[keep], marker, color=colour, ms=4.5, alpha=faint, zorder=3, label=what)
    summary = (
        f"n = {len(rows)}\nRMSE {rmse(x, y):.3g}\nbias {bias(x, y):+.3g}\n"
        f"90 % interval covers {coverage(x, low, high):.2f},\n"
        f"with the labels' error {np.nanmean(counted) if np.isfinite(counted).any() else np.nan:.2f}"
    )
    axes.text(
        0.03,
        0.97,
        summary,
        transform=axes.transAxes,
        va="top",
        fontsize=10,
        color=INK,
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 2},
    )
    axes.set(
        xlim=(0, top),
        ylim=(0, top),
        xlabel=f"measured {label(variable)}{_other_words(rows, variable)}",
        ylabel=f"retrieved {label(variable)}",
    )
    axes.set_box_aspect(1)
    axes.set_title(MEASURANDS[variable].long_name if variable in MEASURANDS else variable)


def _kinds(
    x: NDArray[np.floating],
    low: NDArray[np.floating],
    high: NDArray[np.floating],
    counted: NDArray[np.floating],
) -> list[tuple[NDArray[np.bool_], str, str, str]]:
    """Which labels lie in the interval, which do with their own error counted, which do not: with colour,
    marker and name of each."""
    inside = (x >= low) & (x <= high)
    within = ~inside & (counted == 1)
    if np.isfinite(high - low).any():
        missed = "outside"
    else:
        missed = "the maps have no 90 % interval"
    return [
        (inside, PALETTE[0], "o", "label inside the 90 % interval"),
        (within, PALETTE[4], "s", "inside with its own error counted"),
        (~inside & ~within, PALETTE[1], "D", missed),
    ]


def _other_words(rows: pd.DataFrame, variable: str) -> str:
    """What the plot table calls the variable, where that is another word than its symbol."""
    own = MEASURANDS[variable].symbol if variable in MEASURANDS else variable
    words = sorted({name for name in rows["measurand"] if word(name) != word(own)})
    return f"\n({', '.join(words)} in the table)" if words else ""
