"""Do the intervals mean what they say? Coverage curves and rank histograms."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from canopyflow.evaluation.figures.style import INK, PALETTE, TALLEST, message, panels, save
from canopyflow.evaluation.measurands import MEASURANDS

_DRAWN = ("lai", "cab", "ccc")
_MARKS = {"maps": ("s", "reference maps"), "plots": ("D", "field plots")}


def draw_coverage(metrics: Path, out: Path) -> None:
    """Share of the truth inside intervals, less what they promise: lines from simulations, marks from maps
    and plots, hollow with the error of labels counted."""
    result = json.loads(metrics.read_text())
    figure, [[axes]] = panels(10.2, 5.8)
    axes.axhline(0, color=INK, lw=1.4, label="as promised")
    count = result["calibration"]["n"]
    off = [0.04]
    for variable, colour in zip(_DRAWN, PALETTE, strict=False):
        symbol = MEASURANDS[variable].symbol
        shares = result["calibration"]["coverage"].get(variable, {})
        curve = {float(level): share - float(level) for level, share in shares.items()}
        if curve:
            levels = sorted(curve)
            heights = [0, *(curve[v] for v in levels), 0]
            name = f"{symbol}, simulations (n = {count})"
            axes.plot([0, *levels, 1], heights, "o-", color=colour, ms=3.5, label=name)
            off += map(abs, heights)
        for source, (marker, name) in _MARKS.items():
            scores = result["scores"][source].get(variable) or {}
            for ending, face, more in (("", colour, ""), ("_label", "white", ", error of labels counted")):
                marks = _differences(scores, ending)
                if marks:
                    told = f"{symbol}, {name} (n = {scores['n']:.0f}){more}"
                    style: Any = {"color": colour, "mfc": face, "ms": 8, "mew": 1.6}
                    axes.plot(*zip(*marks, strict=True), marker, label=told, **style)
                    off += [abs(height) for _, height in marks]
    reach = 1.15 * max(off)
    axes.set(
        xlim=(0, 1),
        ylim=(-reach, reach),
        xlabel="probability that the interval promises",
        ylabel="share of the truth inside − promised",
        title=f"Coverage of intervals, {result['model']}",
    )
    words: Any = {"transform": axes.transAxes, "color": INK, "fontsize": 10}
    axes.text(0.02, 0.03, "below the line: too sure of itself", **words)
    axes.text(0.02, 0.97, "above: too cautious", va="top", **words)
    figure.legend(loc="outside right center", fontsize=10, frameon=False)
    save(figure, out)


def _differences(scores: dict[str, Any], ending: str) -> list[tuple[float, float]]:
    """Level and what is observed beyond it; of maps without some quantiles there are fewer."""
    shares = {level: scores.get(f"coverage{100 * level:.0f}{ending}") for level in (0.5, 0.8, 0.9, 0.95)}
    return [(level, share - level) for level, share in shares.items() if share is not None]


def draw_ranks(metrics: Path, out: Path) -> None:
    """Rank of the truth among posterior draws; the band holds 99 % of a calibrated model's bars."""
    result = json.loads(metrics.read_text())
    ranks: dict[str, Any] = result["calibration"]["ranks"]
    variables = sorted(ranks, key=lambda v: ([*_DRAWN, *MEASURANDS].index(v) if v in MEASURANDS else 99, v))
    if not variables:
        message(out, "No simulations were held back")
        return
    columns = 6
    rows = -(-len(variables) // columns)
    height = min(2.4 * rows + 0.9, TALLEST)
    title = f"Simulation-based calibration, {result['model']}: rank of the truth among draws"
    figure, by_row = panels(12.5, height, title, rows, columns, sharex=True)
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
