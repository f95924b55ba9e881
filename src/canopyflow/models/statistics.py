"""Statistics of posterior draws, and how far other summaries are from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.models.estimators.amortised import FIT_DRAWS, Amortised
from canopyflow.observations.observation import Observation
from canopyflow.vocabulary import QUANTILES, STATISTICS

_AT_ONCE = 64 * 500
"""Draws of a piece of work: what a flow works on stays in a processor's cache."""

_BLOCK = 512
"""Pixels whose fits are computed at a time."""

_MANY, _LEAST, _COMPARED = 1000, 50, 512
"""Of the check: draws that stand for the truth, draws that learned summaries must not be worse than,
pixels."""

_FIT_DRAWS = 64
"""Draws whose mean fit the learned one is held against: that of few scatters."""

_LOST = 0.02
"""Share of bad fits that the network takes for good ones, by the limit that is set."""

_UNSEEN = 0.03
"""Error, in standard deviations of the posterior, that nobody sees: a product rounds to as much. Of a
variable that lies at its bound draws are more exact than that."""

_MOST = {"fit_error": 0.1, "lost": 0.05, "drawn_share": 0.1}
"""The most of each that passes."""


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
    "drawn", each (n, names, statistics), absolute values; of seasons n counts all dates. Raises nothing: a
    model without learned summaries has no "learned".
    """
    parts: dict[str, list[NDArray[np.float32]]] = {"learned": [], "drawn": []}
    with torch.no_grad():
        for part in seen.split(max(1, _AT_ONCE // (many * seen.geometry[0, ..., 0].numel()))):
            truth = _drawn(model, part, many, names, generator)
            found = {"drawn": _drawn(model, part, few, names, generator)}
            if model.head is not None:
                learned = model.learned(part, names, STATISTICS).stats.flatten(2)
                found["learned"] = learned.cpu().numpy().T
            scale = np.maximum(truth[..., STATISTICS.index("std")], 1e-12)[..., None]
            for kind, stats in found.items():
                parts[kind].append(np.abs(stats - truth) / scale)
    return {kind: np.concatenate(found) for kind, found in parts.items() if found}


def _drawn(
    model: Amortised, seen: Observation, count: int, names: Sequence[str], generator: torch.Generator
) -> NDArray[np.float32]:
    z = model.posterior(seen).rsample((count,), generator)
    values: Tensor = model.generative.outputs(z, seen, names).flatten(1, -2)
    return statistics_of_draws(values.permute(1, 2, 0).cpu().numpy())


def check_summaries(
    model: Amortised,
    seen: Observation,
    foreign: Observation,
    fit_threshold: float,
    generator: torch.Generator,
    beside: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Whether the learned summaries are good enough for maps, on pixels ``seen`` that they were not trained
    on.

    They pass if for every variable and statistic neither the median of their errors nor (by half, for few
    pixels make it up) their 99th percentile exceeds that of :data:`_LEAST` draws, or :data:`_UNSEEN`; if the
    learned fit is right within a tenth; if few of the ``foreign`` pixels whose drawn fit is beyond
    ``fit_threshold`` are trusted, and most of the ordinary ones. ``fit_trusted``, the network's own fit up to
    which a pixel is not drawn, is set on half of the foreign pixels; ``lost`` is counted on the others. With
    ``beside`` (see :func:`canopyflow.models.season_check.beside_draws`) that stands for the comparison with
    draws.
    """
    dates = seen.geometry[0, ..., 0].numel()
    apart = max(1, len(seen) * dates // _COMPARED)
    few = seen.rows(torch.arange(0, len(seen), apart, device=seen.geometry.device))
    names = [variable.name for variable in model.generative.estimates]
    errors = errors_of_summaries(model, few, many=_MANY, few=_LEAST, names=names, generator=generator)
    told: dict[str, Any] = {
        f"{kind}_{name}": float(np.quantile(values, level))
        for kind, values in errors.items()
        for name, level in (("error_median", 0.5), ("error_p99", 0.99))
    }
    told |= _trust(model, seen, foreign, fit_threshold, generator)
    ratios = {f"{name} is {told[name]:.3f}": told[name] / most for name, most in _MOST.items()}
    ratios |= _beside_draws(errors, names) if beside is None else beside
    # What is no number passes nothing.
    failed = {text: ratio for text, ratio in ratios.items() if not ratio <= 1.0}
    worst = max(ratios, key=lambda text: ratios[text] if math.isfinite(ratios[text]) else math.inf)
    numbers = {name: round(value, 4) if math.isfinite(value) else None for name, value in told.items()}
    return {**numbers, "drawn": _LEAST, "worst": worst, "passed": not failed}


def _beside_draws(errors: Mapping[str, NDArray[np.float32]], names: Sequence[str]) -> dict[str, float]:
    """In words where learned summaries err most beside drawn ones, each with how much of what passes it is:
    of the median error, and of the 99th percentile."""
    found = {}
    for level, slack in ((0.5, 1.0), (0.99, 1.5)):
        mine, theirs = (np.quantile(errors[kind], level, axis=0) for kind in ("learned", "drawn"))
        shares = np.where(mine > 0, mine / np.maximum(theirs, _UNSEEN), 0.0)
        i, j = (int(place) for place in np.unravel_index(np.argmax(shares), shares.shape))
        what = f"{names[i]} {STATISTICS[j]} errs by {mine[i, j]:.3f} sd at {level:g}"
        found[f"{what}, {_LEAST} draws by {theirs[i, j]:.3f}"] = float(shares[i, j]) / slack
    return found


def _trust(
    model: Amortised,
    seen: Observation,
    foreign: Observation,
    fit_threshold: float,
    generator: torch.Generator,
) -> dict[str, float]:
    """``fit_trusted``; ``fit_error``: median relative error of the learned fit; ``lost``: share of foreign
    pixels with a bad fit that are trusted all the same; ``drawn_share``: of ordinary pixels that are not."""
    expected, learned, inside = _fits(model, seen, _FIT_DRAWS, generator)
    # As maps draw them: the flag is theirs.
    drawn, told, within = _fits(model, foreign, FIT_DRAWS, generator)
    bad = (drawn > fit_threshold) & within
    setting, counted = (torch.zeros_like(bad) for _ in range(2))
    setting[::2], counted[1::2] = True, True
    unseen = told[bad & setting]
    limit = min(fit_threshold, float(torch.quantile(unseen, _LOST))) if len(unseen) else fit_threshold
    lost = bad & counted & (told <= limit)
    return {
        "fit_trusted": limit,
        "fit_error": float((learned / expected).log().abs().median()),
        "lost": float(lost.sum() / ((drawn > fit_threshold) & counted).sum().clamp_min(1)),
        "drawn_share": float((~inside | (learned > limit)).float().mean()),
    }


def _fits(
    model: Amortised, seen: Observation, draws: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Fit of ``draws`` draws, learned fit, and whether the input is like those of the training, (n,) each."""
    head = model.head
    assert head is not None
    parts = []
    with torch.no_grad():
        for part in seen.split(_BLOCK):
            drawn = model.fit(model.posterior(part).rsample((draws,), generator), part)
            (_, _, _, log_fit2), inside = head.answer(part, (), ())
            drawn, told = (model.comparable(fit, part) for fit in (drawn, (0.5 * log_fit2).exp()))
            parts.append((drawn, told, inside))
    drawn, learned, inside = (torch.cat(found).cpu() for found in zip(*parts, strict=True))
    return drawn, learned, inside
