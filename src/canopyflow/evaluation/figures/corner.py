"""A model's joint posterior over the reference, for a few telling pixels."""

from pathlib import Path
from typing import Any

import torch
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from canopyflow.evaluation.against.reference_store import load_reference
from canopyflow.evaluation.figures.style import INK, PALETTE, message, new_figure, save
from canopyflow.evaluation.measurands import MEASURANDS
from canopyflow.models.bundle import load
from canopyflow.models.runtime import generator
from canopyflow.vocabulary import NAMES

VARIABLES = ("lai", "cab", "lidfa")
"""Variables that trade off most visibly; nobody would read a figure of all eleven."""

LEVELS = (0.1, 0.5, 0.9)
"""Quantiles of the reference's leaf area at which the pixels are picked."""


def draw_corner(bundle: Path, reference: Path, out: Path, *, model: str, seed: int) -> None:
    """Pairs of variables, one block of panels per pixel: the reference in grey, the model in colour."""
    sample, found = load_reference(reference)
    rows = found.reliable.nonzero()[:, 0]
    if not len(rows):
        message(out, "No pixel with a reliable reference")
        return
    by_leaf_area = rows[found.draws[rows, :, NAMES.index("lai")].mean(1).argsort()]
    chosen = by_leaf_area[[round(level * (len(rows) - 1)) for level in LEVELS]]
    known = sample.rows(chosen)
    with torch.no_grad():
        q = load(bundle).posterior(known.seen)
        draws = q.draw(found.draws.shape[1], generator("corner", seed)).z.movedim(0, 1)
    size = len(VARIABLES)
    figure = new_figure(4.5 * len(chosen), 4.9, f"{model} over the reference posterior")
    parts: Any = figure.subfigures(1, len(chosen))
    for pixel, part in enumerate(parts):
        part.suptitle(f"pixel at the {LEVELS[pixel]:.0%} quantile of leaf area", fontsize=11)
        grid = part.subplots(size, size)
        truth = None if known.truth is None else known.truth[pixel]
        for i, row in enumerate(grid):
            for j, axes in enumerate(row):
                _panel(axes, found.draws[chosen[pixel]], draws[pixel], truth, i, j)
        key = [
            Patch(color="0.8", label="reference"),
            Patch(color=PALETTE[0], label=model),
            Line2D([], [], color=INK, marker="+", ms=9, lw=1, label="truth"),
        ]
        handles = key[: 2 if truth is None else 3]
        part.legend(handles=handles, loc="upper right", bbox_to_anchor=(1, 0.92), frameon=False, fontsize=9)
    save(figure, out)


def _panel(
    axes: Any, reference: torch.Tensor, draws: torch.Tensor, truth: torch.Tensor | None, i: int, j: int
) -> None:
    """Row ``i``, column ``j``: the marginal on the diagonal, the pair below it, nothing above."""
    if j > i:
        axes.set_visible(False)
        return
    both = torch.cat([reference, draws])
    across, up = (NAMES.index(VARIABLES[k]) for k in (j, i))
    # Limits of both together: no draw of the model is out of sight, and a column shares its axis.
    span, height = ((float(both[:, k].min()), float(both[:, k].max())) for k in (across, up))
    axes.set_xlim(*span)
    if i == j:
        shared = {"bins": 24, "range": span, "density": True}
        axes.hist(reference[:, across], color="0.8", **shared)
        axes.hist(draws[:, across], color=PALETTE[0], histtype="step", lw=1.4, **shared)
        if truth is not None:
            axes.axvline(truth[across], color=INK, lw=1)
        # A density has the scale that makes its area one.
        axes.set_yticks([])
    else:
        axes.set_ylim(*height)
        axes.plot(reference[:, across], reference[:, up], ".", color="0.75", ms=2, rasterized=True)
        axes.plot(draws[:, across], draws[:, up], ".", color=PALETTE[0], ms=1.5, alpha=0.35, rasterized=True)
        if truth is not None:
            axes.plot(truth[across], truth[up], "+", color=INK, ms=9)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    if i != j:
        axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=9, labelbottom=i == len(VARIABLES) - 1, labelleft=j == 0)
    if j == 0 and i > 0:
        axes.set_ylabel(MEASURANDS[VARIABLES[i]].label, fontsize=10)
    if i == len(VARIABLES) - 1:
        axes.set_xlabel(MEASURANDS[VARIABLES[j]].label, fontsize=10)
