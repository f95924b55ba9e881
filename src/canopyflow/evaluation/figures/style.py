"""How every figure looks, and how it is written: same data, same bytes."""

from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from canopyflow.atomic import atomic_file

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B4C9A", "#000000")
"""Okabe & Ito's colours, which colour-blind readers tell apart, the strong ones first."""
INK, PALE = "#222222", "#8C8C8C"
MEAN_MAP, WIDTH_MAP = "viridis", "magma"
TALLEST = 7.2
"""Inches: 792 pixels, so that a figure fits into a window and its top is seen."""

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "figure.dpi": 110,
    "svg.hashsalt": "canopyflow",
}


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """An empty figure, inches; made without pyplot, so nothing global is left open."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=13)
    return figure


def panels(
    width: float, height: float, title: str = "", rows: int = 1, columns: int = 1, sharex: bool = False
) -> tuple[Figure, list[list[Axes]]]:
    """A figure, and its grid of axes in the common style as rows of columns."""
    figure = new_figure(width, height, title)
    with matplotlib.rc_context(_STYLE):
        grid = figure.subplots(rows, columns, squeeze=False, sharex=sharex)
    return figure, [list(row) for row in grid]


def legend_below(figure: Figure, columns: int = 3) -> None:
    """One legend under all panels; an entry that several panels have appears once, bars before marks."""
    found: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    names = sorted(found, key=lambda name: isinstance(found[name], Line2D))
    if names:
        handles = [found[name] for name in names]
        figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)


def save(figure: Figure, path: Path) -> None:
    """Write PNG or SVG by the ending of ``path``, without date and version in the metadata."""
    kind = path.suffix.lstrip(".").lower()
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    with matplotlib.rc_context(_STYLE), atomic_file(path) as scratch:
        figure.savefig(scratch, format=kind, metadata=metadata, facecolor="white")


def message(path: Path, text: str) -> None:
    """A figure that says why there is nothing to see; the report always has its place for it."""
    figure, [[axes]] = panels(8, 2.2)
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=13, color=PALE, wrap=True)
    save(figure, path)
