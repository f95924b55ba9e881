"""Scores of a trained model of seasons on held-back seasons of its own prior; and what it costs."""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.atomic import content_digest, write_json
from canopyflow.evaluation.against.simulations import calibrate, model_of
from canopyflow.evaluation.against.summaries import compare_summaries
from canopyflow.evaluation.score import Scoring
from canopyflow.evaluation.scores.joint import joint_scores
from canopyflow.evaluation.tables import with_null
from canopyflow.inference.allocation import Map
from canopyflow.inference.season_summaries import located, summarise_seasons
from canopyflow.inference.summaries import DRAWN, LEARNED, Wanted
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.phenology import NAMES, phenology
from canopyflow.models.runtime import generator
from canopyflow.observations.observation import Observation
from canopyflow.observations.sources.contract import Source
from canopyflow.progress import track
from canopyflow.registry import SOURCES
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import OUTPUTS

_BATCH = 4
"""Seasons of a piece of work."""

_TIMED = 32
"""Seasons whose summaries are timed."""


def score_seed(
    bundle: Path,
    scoring: Scoring,
    *,
    simulations: Path,
    references: Mapping[str, Path],
    out: Path,
    cost_out: Path,
    over: Map = map,
) -> None:
    """Score one trained model of seasons where the truth is known.

    Args:
        bundle: folder of a saved model of seasons.
        scoring: its ``n`` counts dates, so that a season takes the work of as many spectra.
        simulations: store of held-back drawn seasons, free of noise.
        references: none: the reference posteriors are of single dates.
        out: JSON as :func:`canopyflow.evaluation.score.score_seed` writes it; beside the "scores" of dates
            that were seen, and of seasons as a whole, those of dates that were "hidden".
        cost_out: JSON of parameters and time; seconds are per million dates.
        over: the ``map`` that hands out batches of seasons.
    """
    assert not references, "the reference posteriors are of single dates"
    model = _model(bundle)
    seen, truth = _held_back(model, simulations, scoring)
    known = seen.valid.any(-1)
    parts = seen.split(_BATCH)
    seeds = [seed_of("held-back seasons", scoring.seed, batch) for batch in range(len(parts))]
    drawn = iter(over(partial(_draws, bundle, scoring.samples), parts, seeds))
    z = torch.cat([next(drawn) for _ in track(seeds, "posterior of held-back seasons")], dim=1)
    names = [variable.name for variable in model.generative.estimates]
    right = _columns(model, truth, seen, names)
    found = torch.cat(
        [_columns(model, *pair, names) for pair in zip(z.split(_BATCH, 1), parts, strict=True)], 1
    )
    calibration: dict[str, Any] = {
        "n": int(known.sum()),
        "samples": scoring.samples,
        "coverage": {},
        "ranks": {},
    }
    scores: dict[str, dict[str, float]] = {}
    hidden: dict[str, dict[str, float]] = {}
    for column, name in enumerate(names):
        result = calibrate(_flat(right[known][:, column]), _flat(found[:, known][..., column]), name)
        scores[name], calibration["coverage"][name], calibration["ranks"][name] = result
        if not bool(known.all()):
            hidden[name] = calibrate(
                _flat(right[~known][:, column]), _flat(found[:, ~known][..., column]), name
            )[0]
    scores |= _whole(right[..., names.index("lai")], found[..., names.index("lai")], seen)
    joint = joint_scores(z[:, known], truth[known], scoring.seed)
    learned = compare_summaries(model, seen, right, scoring.seed)
    write_json(
        out,
        {
            "bundle_sha256": content_digest(bundle),
            "calibration": calibration,
            "scores": with_null(scores),
            "hidden": with_null(hidden),
            "against": with_null({"simulations": joint, "summaries": learned}),
        },
    )
    write_json(cost_out, _cost(model, seen))


def _model(bundle: Path) -> Amortised:
    model = model_of(bundle)
    assert isinstance(model, Amortised), "a baseline knows no seasons"
    return model


def _held_back(model: Amortised, simulations: Path, scoring: Scoring) -> tuple[Observation, Tensor]:
    """Noisy seasons of which dates are hidden as in training, and the trajectories behind them; dates that
    are left have all bands, as the spectra have that models of single dates are scored on."""
    source: Source = SOURCES.build("seasons_drawn")
    sample = source.load(simulations, model.bands, model.platforms, None, scoring.seed)
    assert sample.truth is not None
    count = -(-scoring.n // sample.truth.shape[1])
    chosen = np.random.default_rng(scoring.seed).permutation(len(sample))[:count]
    sample = sample.rows(torch.from_numpy(np.sort(chosen)))
    noisy = model.generative.observe(sample, generator("held-back seasons", scoring.seed))
    left = model.encoder.thinned(noisy, generator("hidden dates", scoring.seed)).valid.any(-1)
    hidden = replace(noisy, valid=noisy.valid & left.unsqueeze(-1))
    keep = left.any(-1)
    assert sample.truth is not None
    # Geometries of dates that were seen: what depends on the sun is compared under the same one.
    return located(hidden.rows(keep)), sample.truth[keep]


@torch.no_grad()
def _draws(bundle: Path, samples: int, seen: Observation, seed: int) -> Tensor:
    """Draws (samples, n, T, D) of the posterior of a batch of seasons, with random numbers of its own."""
    return model_of(bundle).posterior(seen).draw(samples, torch.Generator().manual_seed(seed)).z


@torch.no_grad()
def _columns(model: Amortised, z: Tensor, seen: Observation, names: list[str]) -> Tensor:
    """Outputs (*sample, n, T, names) of trajectories."""
    return model.generative.outputs(z, seen, names)


def _flat(values: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.ascontiguousarray(values.numpy())
    return found


def _whole(truth: Tensor, draws: Tensor, seen: Observation) -> dict[str, dict[str, float]]:
    """Scores of the timing and the duration of leaf area (n, T), by its joint draws (K, n, T)."""
    assert seen.day is not None
    right, found = phenology(truth, seen.day), phenology(draws, seen.day)
    return {
        name: calibrate(_flat(right[:, column]), _flat(found[..., column]), name)[0]
        for column, name in enumerate(NAMES)
    }


def _cost(model: Amortised, seen: Observation) -> dict[str, float]:
    """Count of learned parameters, and seconds to summarise a million dates, best of two."""
    some = seen.rows(torch.arange(_TIMED) % len(seen))
    dates = some.valid.shape[1]
    estimated = [quantity.name for quantity in model.estimates]
    outputs = [name for name in OUTPUTS if name in estimated]
    found = {"parameters": float(sum(value.numel() for value in model.parameters()))}
    ways = {DRAWN: "seconds_per_million"} | ({LEARNED: "seconds_per_million_learned"} if model.learns else {})
    for summaries, name in ways.items():
        times = []
        for _ in range(2):
            start = time.perf_counter()
            summarise_seasons(model, some, np.arange(dates), Wanted(outputs, summaries=summaries))
            times.append(time.perf_counter() - start)
        found[name] = min(times) * 1e6 / (_TIMED * dates)
    return found
