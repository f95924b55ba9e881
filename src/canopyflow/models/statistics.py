"""Statistics of posterior draws, and how far other summaries are from them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.summaries import LEARNED
from canopyflow.observations.observation import Observation
from canopyflow.vocabulary import QUANTILES, STATISTICS

_AT_ONCE = 64 * 500
"""Draws of a piece of work: what a flow works on stays in a processor's cache."""


def statistics_of_draws(draws: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, outputs, K) -> (n, outputs, 7); quantiles by linear interpolation of sorted draws.

    The i-th of K sorted draws stands for the probability i/(K + 1) (Weibull): with that, intervals of few
    draws cover what they say, where numpy's default is biased inwards. Below 19 draws the outer quantiles are
    the extremes. numpy's sort of short float32 rows is several times faster than torch.quantile.
    """
    out = np.empty((*draws.shape[:-1], len(STATISTICS)), np.float32)
    out[..., 0] = draws.mean(-1, dtype=np.float64)
    out[..., 1] = draws.std(-1, dtype=np.float64)
    ordered = np.sort(draws, axis=-1)
    last = draws.shape[-1] - 1
    for column, p in enumerate(QUANTILES.values(), start=2):
        position = min(max(p * (last + 2) - 1, 0.0), float(last))
        low = int(position)
        share = np.float32(position - low)
        below, above = ordered[..., low], ordered[..., min(low + 1, last)]
        out[..., column] = below + share * (above - below)
    return out


def errors_of_summaries(
    model: Amortised,
    seen: Observation,
    *,
    many: int,
    few: int,
    names: Sequence[str],
    generator: torch.Generator,
) -> dict[str, NDArray[np.float32]]:
    """Errors of learned and of drawn summaries of n pixels, in standard deviations of their posterior.

    ``many`` draws stand for the truth; ``few`` other ones are what a map would take. Returns "learned" and
    "drawn", each (n, names, statistics), absolute values. Raises nothing: a model without learned summaries
    has no "learned".
    """
    parts: dict[str, list[NDArray[np.float32]]] = {"learned": [], "drawn": []}
    with torch.no_grad():
        for part in seen.split(max(1, _AT_ONCE // many)):
            truth = _drawn(model, part, many, names, generator)
            found = {"drawn": _drawn(model, part, few, names, generator)}
            if model.summaries is not None:
                found["learned"] = model.learned(part, names, STATISTICS).stats.cpu().numpy().T
            scale = np.maximum(truth[..., STATISTICS.index("std")], 1e-12)[..., None]
            for kind, stats in found.items():
                parts[kind].append(np.abs(stats - truth) / scale)
    return {kind: np.concatenate(found) for kind, found in parts.items() if found}


def _drawn(
    model: Amortised, seen: Observation, count: int, names: Sequence[str], generator: torch.Generator
) -> NDArray[np.float32]:
    z = model.posterior(seen).rsample((count,), generator)
    values: Tensor = model.generative.outputs(z, seen, names)
    return statistics_of_draws(values.permute(1, 2, 0).cpu().numpy())


def check_summaries(model: Amortised, seen: Observation, generator: torch.Generator) -> dict[str, Any]:
    """Whether the learned summaries are good enough for maps, on pixels they were not trained on.

    They pass if neither the median of their errors nor the 99th percentile exceeds that of :data:`_LEAST`
    draws.
    """
    errors = errors_of_summaries(model, seen, many=_MANY, few=_LEAST, names=LEARNED, generator=generator)
    told = {
        f"{kind}_{name}": round(float(np.quantile(values, level)), 4)
        for kind, values in errors.items()
        for name, level in (("error_median", 0.5), ("error_p99", 0.99))
    }
    passed = all(told[f"learned_{name}"] <= told[f"drawn_{name}"] for name in ("error_median", "error_p99"))
    return {**told, "drawn": _LEAST, "passed": passed}


_MANY, _LEAST = 1000, 50
"""Draws that stand for the truth in the check of learned summaries, and those it must not be worse than."""
