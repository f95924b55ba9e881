"""Whether learned summaries of seasons are good enough for maps: by the truth of drawn seasons.

Of pixels they are held against many draws of the posterior that they were learned from. Of seasons there is
no one such posterior: draws go from date to date, so the law of a date depends, a little, on which other
dates are asked about. (A model of `season_curves` of the default size moves medians of leaf area by .1
posterior standard deviations when unseen dates are left out, one in a hundred by more than one.) So learned
and drawn summaries are both scored against what is true, and the learned ones must do as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.statistics import statistics_of_draws
from canopyflow.observations.observation import Observation
from canopyflow.vocabulary import QUANTILES, STATISTICS

if TYPE_CHECKING:
    from canopyflow.models.season_summaries import SeasonSummaries

DRAWN = 50
"""Draws that learned summaries must not be worse than."""

COST = 1.05
"""The most by which a score of learned summaries may exceed that of draws."""

COST_OF_TIMING = 1.15
"""The same of the timing. It falls on one of the dates: draws hit it exactly, a network does not."""

COVERED = 0.05
"""The most by which the share of truths within the widest interval may be further from what it should be than
that of draws."""

_LEVEL = max(QUANTILES.values()) - min(QUANTILES.values())

_AT_ONCE = 32
"""Seasons that are drawn at a time."""


def beside_draws(
    model: Amortised, seen: Observation, states: Tensor, generator: torch.Generator
) -> dict[str, float]:
    """In words where learned summaries of the n seasons ``seen`` (n, date) do worst beside :data:`DRAWN`
    draws, each with how much of what passes it is; ``states`` (n, date, D) are the true ones.

    Of every variable, on dates that were seen and on others, and of the timing: the mean pinball score of the
    quantiles, of which the best in expectation are those of the posterior, as a ratio to that of the draws;
    and how far from what it should be is the share of truths between the outermost quantiles.
    """
    head = cast("SeasonSummaries", model.head)
    with torch.no_grad():
        truth = model.generative.outputs(states, seen, head.names)
        dates, seasons = [], []
        for part in seen.split(_AT_ONCE):
            learned = model.learned(part, head.names, STATISTICS).stats.permute(2, 3, 1, 0).cpu().numpy()
            whole = model.learned_seasons(part, head.whole.names, STATISTICS).stats.permute(2, 1, 0)
            z = model.posterior(part).rsample((DRAWN,), generator)
            values = model.generative.outputs(z, part, head.names)
            timing = head.timing(values, part)
            dates.append((learned, statistics_of_draws(values.permute(1, 2, 3, 0).cpu().numpy())))
            seasons.append((whole.cpu().numpy(), statistics_of_draws(timing.permute(1, 2, 0).cpu().numpy())))
        when = head.timing(truth, seen).cpu().numpy()
    learned, drawn = (np.concatenate(part) for part in zip(*dates, strict=True))
    known, true = seen.valid.any(-1).cpu().numpy(), truth.cpu().numpy()
    found: dict[str, float] = {}
    for where, which in (("seen", known), ("not seen", ~known)):
        if which.any():
            place = f"on dates {where}"
            found |= _shares(learned[which], drawn[which], true[which], head.names, place, COST)
    learned, drawn = (np.concatenate(part) for part in zip(*seasons, strict=True))
    return found | _shares(learned, drawn, when, head.whole.names, "of seasons", COST_OF_TIMING)


def _shares(
    learned: NDArray[np.float32],
    drawn: NDArray[np.float32],
    truth: NDArray[np.float32],
    names: Sequence[str],
    where: str,
    most: float,
) -> dict[str, float]:
    """The worst score and the worst coverage, in words, as shares of what passes, for scores ``most`` times
    those of draws; statistics (n, names, statistics) of ``truth`` (n, names)."""
    cost = _pinball(learned, truth) / np.maximum(_pinball(drawn, truth), 1e-12)
    mine, theirs = _covered(learned, truth), _covered(drawn, truth)
    beyond = np.abs(mine - _LEVEL) - np.abs(theirs - _LEVEL)
    i, j = int(np.argmax(cost)), int(np.argmax(beyond))
    words = f"{names[i]} {where} costs {cost[i]:.3f} times the score of {DRAWN} draws"
    within = f"{names[j]} {where} is covered {mine[j]:.3f} of the time, by {DRAWN} draws {theirs[j]:.3f}"
    return {words: float(cost[i] / most), within: float(beyond[j] / COVERED)}


def _pinball(stats: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean pinball score (names,), summed over the quantiles."""
    total = np.zeros(truth.shape[-1])
    for name, level in QUANTILES.items():
        error = truth - stats[..., STATISTICS.index(name)]
        total += np.maximum(level * error, (level - 1.0) * error).mean(0, dtype=np.float64)
    return total


def _covered(stats: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share (names,) of truths between the outermost quantiles."""
    low, high = (stats[..., STATISTICS.index(name)] for name in (min(QUANTILES), max(QUANTILES)))
    return np.asarray(((truth >= low) & (truth <= high)).mean(0))
