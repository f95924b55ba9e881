"""Shapes of the score tables; imports no model, so that comparing models depends on none of them."""

import math
from typing import Any

import pandas as pd

SOURCES = ("simulations", "maps", "plots")
"""Where truth comes from, in the order of how much is known about it."""


def long_table(result: dict[str, Any]) -> pd.DataFrame:
    """``model, source, variable, metric, value``: one row per score that is defined."""
    rows = [
        (result["model"], source, variable, metric, value)
        for source in SOURCES
        for variable, metrics in result["scores"][source].items()
        for metric, value in metrics.items()
        if value is not None
    ]
    return pd.DataFrame(rows, columns=["model", "source", "variable", "metric", "value"])


def with_null(scores: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """The scores with None for NaN, which JSON does not have."""
    return {
        variable: {metric: value if math.isfinite(value) else None for metric, value in metrics.items()}
        for variable, metrics in scores.items()
    }
