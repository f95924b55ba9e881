"""How training went: loss per epoch, phase by phase."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from canopyflow.evaluation.figures.style import PALE, PALETTE, legend_below, message, panels, save

_SHADES = ("#F3F6FA", "#FBF5EC")


def draw_learning(histories: list[Path], out: Path, *, model: str) -> None:
    """Training and validation loss in nats per pixel; a panel per phase, a pair of lines per seed.

    ``histories`` are the ``history.jsonl`` of the seeds' bundles. Phases have
    axes of their own because the losses of two objectives cannot be compared.
    """
    runs = [_phases(path) for path in histories]
    names = sorted({key for run in runs for key in run})
    if not names:
        message(out, "Nothing was trained: the history is empty")
        return
    width = max(7.5, 4.4 * len(names))
    figure, [row] = panels(width, 4.3, f"Learning curves, {model}", columns=len(names))
    for index, (axes, name) in enumerate(zip(row, names, strict=True)):
        axes.set_facecolor(_SHADES[index % len(_SHADES)])
        for seed, run in enumerate(runs):
            _lines(axes, run.get(name, []), seed)
        axes.set_title(f"phase {name[0]}: {name[1]}")
        axes.set_xlabel("epoch of training")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.axes[0].set_ylabel("loss [nats per pixel]")
    legend_below(figure)
    save(figure, out)


def _phases(history: Path) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """Lines of a history by phase number and objective, each with its epoch counted through all phases."""
    lines = [json.loads(text) for text in history.read_text().splitlines() if text.strip()]
    for count, line in enumerate(lines, start=1):
        line["count"] = count
    grouped = groupby(lines, key=lambda line: (int(line["phase"]), str(line["objective"])))
    return {key: list(group) for key, group in grouped}


def _lines(axes: Axes, lines: list[dict[str, Any]], seed: int) -> None:
    if not lines:
        return
    epochs = [line["count"] for line in lines]
    # What is not finite stands as null in a history: NaN leaves a gap in a line.
    loss, validation = (
        np.array([line[name] for line in lines], dtype=float) for name in ("loss", "validation")
    )
    mark = "." if len(lines) > 1 else "o"
    first = seed == 0
    axes.plot(epochs, loss, f"{mark}--", color=PALE, label="training" if first else "_")
    axes.plot(epochs, validation, f"{mark}-", color=PALETTE[0], label="validation" if first else "_")
    if not np.isfinite(validation).any():
        return
    best = int(np.nanargmin(validation))
    axes.plot(
        epochs[best],
        validation[best],
        "o",
        color=PALETTE[1],
        ms=8,
        mfc="none",
        mew=1.8,
        label="best, which is kept" if first else "_",
    )
