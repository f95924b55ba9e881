"""Shapes of the score tables; imports no model, so that comparing models depends on none of them."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

SOURCES = ("simulations", "maps", "plots")
"""Where truth comes from, in the order of how much is known about it."""


def long_table(result: dict[str, Any]) -> pd.DataFrame:
    """``model, source, variable, metric, value``: one row per score that is defined.

    Intervals that were corrected are those of another model, named "model, method".
    """
    parts = [(result["model"], source, result["scores"][source]) for source in SOURCES]
    for method, scores in result.get("corrections", {}).get("scores", {}).items():
        parts.append((f"{result['model']}, {method}", "plots", scores))
    rows = [
        (model, source, variable, metric, value)
        for model, source, scores in parts
        for variable, metrics in scores.items()
        for metric, value in metrics.items()
        if value is not None
    ]
    return pd.DataFrame(rows, columns=["model", "source", "variable", "metric", "value"])


def with_null(scores: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """The scores with None for NaN, which JSON does not have."""
    return {variable: finite(metrics) for variable, metrics in scores.items()}


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """The numbers with None for NaN and infinity."""
    return {metric: value if math.isfinite(value) else None for metric, value in metrics.items()}
