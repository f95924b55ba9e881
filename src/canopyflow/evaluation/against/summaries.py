"""Learned summaries held against draws of the same posterior, and against the truth of held-back
simulations."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.evaluation.against.simulations import REPORTED, model_of
from canopyflow.models.baseline import Baseline
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.runtime import generator
from canopyflow.models.statistics import errors_of_summaries
from canopyflow.models.summaries import LEVELS
from canopyflow.observations.observation import Observation
from canopyflow.observations.sources.contract import Source
from canopyflow.registry import SOURCES

MANY, FEW = 2000, 100
"""Draws that stand for the truth, and those a map would take."""

_COMPARED = 256
"""Pixels of which many draws are taken."""


def evaluate_summaries(bundle: Path, simulations: Path, *, n: int, seed: int) -> dict[str, float]:
    """Errors of learned and of drawn summaries, and coverage of the learned intervals; one number each.

    Parameters
    ----------
    bundle, simulations, n, seed: see :func:`canopyflow.evaluation.against.simulations.evaluate_simulations`.

    Returns
    -------
    ``learned_error``, ``learned_error_99``: median and 99th percentile of the absolute error
    of all summaries of all variables, in standard deviations of the posterior; ``drawn_error``,
    ``drawn_error_99``: the same of :data:`FEW` draws; ``learned_better``: share of (variable, statistic) in
    which the learned summary is better in both; ``learned_coverage50`` ...: share of the truths inside the
    learned interval, mean over variables. Without learned summaries, NaN for what is theirs; nothing of a
    baseline, which cannot learn them.
    """
    model = model_of(bundle)
    if isinstance(model, Baseline):
        return {}
    source: Source = SOURCES.build("simulations")
    sample = source.load(simulations, model.bands, model.platforms, n, seed)
    seen = model.generative.observe(sample, generator("learned summaries", seed))
    names = [variable.name for variable in model.generative.estimates]
    assert sample.truth is not None
    return compare_summaries(model, seen, model.generative.outputs(sample.truth, seen, names), seed)


def compare_summaries(model: Amortised, seen: Observation, truth: Tensor, seed: int) -> dict[str, float]:
    """As :func:`evaluate_summaries`, of noisy pixels ``seen`` with what the model estimates ``truth`` (n,
    variables); or of seasons and (n, date, variables), where every date counts."""
    g = generator("draws beside learned summaries", seed)
    dates = seen.geometry[0, ..., 0].numel()
    some = seen.rows(slice(0, -(-_COMPARED // dates)))
    names = [variable.name for variable in model.generative.estimates]
    errors = errors_of_summaries(model, some, many=MANY, few=FEW, names=names, generator=g)
    return _errors(errors) | _coverage(model, seen, truth.flatten(0, -2).numpy())


def _errors(errors: dict[str, NDArray[np.float32]]) -> dict[str, float]:
    out = {"learned_error": np.nan, "learned_error_99": np.nan, "learned_better": np.nan}
    for kind, values in errors.items():
        out[f"{kind}_error"] = float(np.median(values))
        out[f"{kind}_error_99"] = float(np.quantile(values, 0.99))
    if "learned" in errors:
        levels = [0.5, 0.99]
        mine, theirs = (np.quantile(errors[kind], levels, axis=0) for kind in ("learned", "drawn"))
        out["learned_better"] = float((mine <= theirs).all(0).mean())
    return out


def _coverage(model: Amortised, seen: Observation, truth: NDArray[np.float32]) -> dict[str, float]:
    """Share of ``truth`` (n, variables) inside the learned central intervals, mean over variables."""
    if model.head is None:
        return {f"learned_{name}": np.nan for name in REPORTED.values()}
    with torch.no_grad():
        (_, _, quantiles, _), _ = model.head.answer(seen, model.head.names, LEVELS)
    out = {}
    for level, name in REPORTED.items():
        below, above = (
            quantiles[int(np.argmin(np.abs(np.array(LEVELS) - p)))].T.numpy() for p in _ends(level)
        )
        out[f"learned_{name}"] = float(((below <= truth) & (truth <= above)).mean())
    return out


def _ends(level: float) -> tuple[float, float]:
    return 0.5 - level / 2, 0.5 + level / 2
