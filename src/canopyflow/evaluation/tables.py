"""Shapes of the score tables; imports no model, so that comparing models depends on none of them."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

SOURCES = ("simulations", "hidden", "maps", "clouded", "plots")
"""Where truth comes from, in the order of how much is known about it; "hidden" and "clouded" are dates of
simulated seasons and pixels of maps that nobody saw, where only models of seasons say something."""


LONG = ("model", "source", "variable", "metric", "value", "low", "high")
"""Columns of a long table of scores."""

GROUP = ("model", "by", "group", "variable", "metric", "value", "low", "high")
"""Columns of a long table of scores of groups of plots."""


def long_table(result: dict[str, Any]) -> pd.DataFrame:
    """:data:`LONG`: one row per score that is defined; ``low`` and ``high``, the ends of its 95 % interval,
    where it has one.

    Intervals that were corrected are those of another model, named "model, method".
    """
    parts = [(result["model"], source, result["scores"].get(source, {})) for source in SOURCES]
    for method, scores in result.get("corrections", {}).get("scores", {}).items():
        parts.append((f"{result['model']}, {method}", "plots", scores))
    known = result.get("intervals", {})
    rows = [
        (
            model,
            source,
            variable,
            metric,
            value,
            *_ends(known, model == result["model"], source, variable, metric),
        )
        for model, source, scores in parts
        for variable, metrics in scores.items()
        for metric, value in metrics.items()
        if value is not None
    ]
    return pd.DataFrame(rows, columns=list(LONG))


def _ends(
    intervals: Mapping[str, Any], own: bool, source: str, variable: str, metric: str
) -> tuple[float, float]:
    """Ends of the interval of a score; NaN where it has none, as a correction has."""
    found = intervals.get(source, {}).get(variable, {}).get(metric, {}) if own else {}
    return found.get("low", math.nan), found.get("high", math.nan)


def group_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """:data:`GROUP`: one row per score of a site, class or month that is defined."""
    rows = [
        (result["model"], by, group, variable, metric, found["value"], found["low"], found["high"])
        for by, groups in result["groups"].items()
        for group, variables in groups.items()
        for variable, metrics in variables.items()
        for metric, found in metrics.items()
        if found["value"] is not None
    ]
    return pd.DataFrame(rows, columns=list(GROUP))


def with_null(scores: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """The scores with None for NaN, which JSON does not have."""
    return {variable: finite(metrics) for variable, metrics in scores.items()}


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """The numbers with None for NaN and infinity."""
    return {metric: value if math.isfinite(value) else None for metric, value in metrics.items()}
