"""Fit one baseline: from simulations, or from labelled spectra, to a model bundle."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from canopyflow.errors import ConfigError
from canopyflow.models import bundle
from canopyflow.models.baseline import (
    LABELS,
    SIMULATIONS,
    Baseline,
    BaselineOptions,
    Lesson,
    baseline,
)
from canopyflow.models.runtime import generator
from canopyflow.observations.labels import read_labels
from canopyflow.observations.observation import Observation, Sample
from canopyflow.observations.sources.contract import Source
from canopyflow.registry import SOURCES
from canopyflow.training.ranges import angle_range, fit_threshold, reflectance_range
from canopyflow.training.stores import Stores, check_finite, digest_of_store
from canopyflow.vocabulary import ANGLES

_JUDGED = 2048
"""Simulations that say what a good fit is."""


def train_baseline(
    out: str | Path,
    options: BaselineOptions,
    stores: Stores,
    *,
    labels: str | Path | None = None,
    seed: int = 0,
    fingerprints: Mapping[str, str] | None = None,
    threads: int = 1,
) -> None:
    """Fit one baseline and write its bundle to ``out``, on the processor: it takes a minute at most.

    ``stores``: those of simulations; ``labels``: a table of labelled spectra, for a baseline that is fitted
    to plots. Raises ConfigError if what it needs is not given, DataError for what teaches nothing.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            made = baseline(options)
            lesson, data = _lesson(made, stores, labels, seed)
            history = made.learn(lesson)
            made.requires_grad_(False).eval()
            ranges = _ranges(made, lesson, seed)
    finally:
        torch.set_num_threads(before)
    meta = {
        **made.meta,
        **ranges,
        "training": {"needs": made.needs},
        "data": data,
        "code": dict(fingerprints or {}),
        "seed": seed,
    }
    bundle.save(made, out, meta, history)


def _lesson(
    made: Baseline, stores: Stores, labels: str | Path | None, seed: int
) -> tuple[Lesson, dict[str, str]]:
    """What it is fitted to, and the digests of that."""
    if made.needs == LABELS:
        if labels is None:
            raise ConfigError(
                f"{made.options.estimator} is fitted to labelled plots, and there are none",
                "give evaluation.plots, or leave it out",
            )
        digest = hashlib.sha256(Path(labels).read_bytes()).hexdigest()
        return Lesson({}, read_labels(labels, made.bands), seed), {LABELS: digest}
    splits = stores.get(SIMULATIONS)
    if splits is None:
        raise ConfigError(f"{made.options.estimator} is fitted to simulations, and there are none")
    source: Source = SOURCES.build("simulations")
    samples: dict[str, Sample] = {}
    for split, path in splits.items():
        samples[split] = source.load(path, made.bands, made.platforms, None, 0)
        check_finite(samples[split], path)
    data = {f"{SIMULATIONS}/{split}": digest_of_store(path) for split, path in sorted(splits.items())}
    return Lesson(samples, None, seed), data


def _ranges(made: Baseline, lesson: Lesson, seed: int) -> dict[str, Any]:
    """What it was fitted to, and what a good fit is for one that has a fit."""
    if lesson.labels is not None:
        return _limits(lesson.labels.seen)
    words = (made.options.estimator, seed)
    out = _limits(made.generative.observe(lesson.simulations["train"], generator("ranges", *words)))
    if made.has_fit:
        held_back = lesson.simulations["validation"]
        held_back = held_back.rows(torch.arange(min(_JUDGED, len(held_back))))
        seen = made.generative.observe(held_back, generator("fit", *words))
        out["fit_threshold"] = fit_threshold(made, seen, generator("fit draws", *words))
    return out


def _limits(seen: Observation) -> dict[str, Any]:
    if not len(seen):
        nothing = {side: [0.0] * len(seen.bands) for side in ("lower", "upper")}
        return {"reflectance_range": nothing, "angle_range": dict.fromkeys(nothing, [0.0] * len(ANGLES))}
    return {
        "reflectance_range": reflectance_range(seen.reflectance),
        "angle_range": angle_range(seen.geometry),
    }
