"""Do the intervals mean what they say? Coverage curves and rank histograms."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from canopyflow.evaluation.figures.style import INK, PALE, PALETTE, message, panels, save
from canopyflow.evaluation.measurands import MEASURANDS

_DRAWN = ("lai", "cab", "ccc")
_MARKS = {"maps": ("s", "reference maps"), "plots": ("D", "field plots")}


def draw_coverage(metrics: Path, out: Path) -> None:
    """Actual against nominal coverage of intervals: lines from simulations, marks from maps and plots."""
    result = json.loads(metrics.read_text())
    figure, [[axes]] = panels(10.2, 5.8)
    axes.plot([0, 1], [0, 1], color=PALE, lw=1.2, label="as promised")
    count = result["calibration"]["n"]
    for variable, colour in zip(_DRAWN, PALETTE, strict=False):
        symbol = MEASURANDS[variable].symbol
        shares = result["calibration"]["coverage"].get(variable, {})
        curve = {float(level): share for level, share in shares.items()}
        if curve:
            levels = sorted(curve)
            axes.plot(
                [0, *levels],
                [0, *(curve[v] for v in levels)],
                "o-",
                color=colour,
                ms=3.5,
                label=f"{symbol}, simulations (n = {count})",
            )
        for source, (marker, name) in _MARKS.items():
            scores = result["scores"][source].get(variable)
            if scores and scores["coverage90"] is not None:
                half = scores["coverage50"]  # of maps without these quantiles there is none
                axes.plot(
                    [0.5, 0.9],
                    [np.nan if half is None else half, scores["coverage90"]],
                    marker,
                    color=colour,
                    ms=8,
                    mec="white",
                    label=f"{symbol}, {name} (n = {scores['n']:.0f})",
                )
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="nominal probability of the interval",
        ylabel="share of the truth inside",
        title=f"Coverage of intervals, {result['model']}",
    )
    axes.text(
        0.97,
        0.05,
        "below the line:\ntoo sure of itself",
        transform=axes.transAxes,
        ha="right",
        color=INK,
        fontsize=10,
    )
    axes.text(0.03, 0.95, "above: too cautious", transform=axes.transAxes, va="top", color=INK, fontsize=10)
    figure.legend(loc="outside right center", fontsize=10, frameon=False)
    save(figure, out)


def draw_ranks(metrics: Path, out: Path) -> None:
    """Rank of the truth among posterior draws; the band holds 99 % of a calibrated model's bars."""
    result = json.loads(metrics.read_text())
    ranks: dict[str, Any] = result["calibration"]["ranks"]
    variables = sorted(ranks, key=lambda v: ([*_DRAWN, *MEASURANDS].index(v) if v in MEASURANDS else 99, v))
    if not variables:
        message(out, "No simulations were held back")
        return
    columns = 5
    rows = -(-len(variables) // columns)
    title = f"Simulation-based calibration, {result['model']}: rank of the truth among draws"
    figure, by_row = panels(12.5, 2.4 * rows + 0.9, title, rows, columns, sharex=True)
    grid = [axes for row in by_row for axes in row]
    for axes in grid[len(variables) :]:
        axes.set_axis_off()
    for index, (axes, variable) in enumerate(zip(grid, variables, strict=False)):
        counts = np.asarray(ranks[variable], dtype=float)
        total, bins = counts.sum(), len(counts)
        low, high = binom.interval(0.99, total, 1 / bins)
        axes.axhspan(low / total * bins, high / total * bins, color="#BBBBBB", alpha=0.6, lw=0, zorder=3)
        axes.bar(
            (np.arange(bins) + 0.5) / bins,
            counts / total * bins,
            width=1 / bins,
            color=PALETTE[0],
            edgecolor="white",
            lw=0.5,
            zorder=2,
        )
        axes.axhline(1.0, color=INK, lw=0.8, zorder=4)
        axes.set(xlim=(0, 1), ylim=(0, max(2.0, 1.05 * float(counts.max()) / total * bins)))
        axes.set_title(MEASURANDS[variable].symbol if variable in MEASURANDS else variable, fontsize=11)
        axes.grid(False)
        if index % columns == 0:
            axes.set_ylabel("relative\nfrequency")
        if index + columns >= len(variables):
            axes.set_xlabel("relative rank")
            axes.tick_params(labelbottom=True)
    save(figure, out)
