"""Is the posterior honest where the answer is known? Held-back simulations, with the model's own noise.

On such data a calibrated posterior has uniform ranks (Talts et al. 2018) and intervals that cover what they
say. That is necessary and says nothing about real fields, for which the plots are there.
"""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.evaluation.scores.joint import joint_scores
from canopyflow.evaluation.scores.metrics import crps_from_samples, score
from canopyflow.evaluation.scores.predictive import Predictive
from canopyflow.inference.allocation import Map
from canopyflow.models.bundle import Trained, load
from canopyflow.models.runtime import generator
from canopyflow.observations.observation import Observation
from canopyflow.observations.sources.contract import Source
from canopyflow.progress import track
from canopyflow.registry import SOURCES
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import QUANTILES

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Nominal probabilities of the central intervals whose coverage is counted."""
REPORTED = {0.5: "coverage50", 0.8: "coverage80", 0.9: "coverage90", 0.95: "coverage95"}
BINS = 20
"""Number of bins of the rank histograms."""
_BATCH = 64  # spectra at once: with 500 draws what a flow works on stays in the processor's cache


@lru_cache(maxsize=1)
def model_of(bundle: Path) -> Trained:
    """The model of a bundle, read once by a process however many parts of the work it is given."""
    return load(bundle)


def evaluate_simulations(
    bundle: Path, simulations: Path, *, n: int, samples: int, seed: int, over: Map = map
) -> dict[str, Any]:
    """Scores, coverage and ranks of every variable on ``n`` simulated spectra, plain values for JSON.

    Parameters
    ----------
    bundle: folder of a saved model.
    simulations: store of a split that the model has not seen; its spectra are free of noise.
    n: at most this many spectra, chosen by ``seed``.
    samples: posterior draws per spectrum, K.
    seed: of the choice, the noise and the draws.
    over: the ``map`` that hands out batches of spectra.

    Returns
    -------
    ``{"n", "samples", "scores": {variable: {metric: value}}, "coverage": {variable: {level: share}},
    "ranks": {variable: [count per bin]}, "joint": {metric: value}}``, of all that the model
    estimates; what follows from a state is computed from each joint draw. For
    ``joint`` see :func:`canopyflow.evaluation.scores.joint.joint_scores`; it is empty where draws are no
    states.

    Raises
    ------
    DataError
        if the simulations lack a band or platform of the model.
    """
    model = model_of(bundle)
    source: Source = SOURCES.build("simulations")
    sample = source.load(simulations, model.bands, model.platforms, n, seed)
    truth = sample.truth
    assert truth is not None
    seen = model.generative.observe(sample, generator("held back", seed))
    parts = seen.split(_BATCH)
    seeds = [seed_of("held back", seed, batch) for batch in range(len(parts))]
    drawn = iter(over(partial(_draws, bundle, samples), parts, seeds))
    z = torch.cat([next(drawn) for _ in track(seeds, "posterior of held-back simulations")], dim=1)
    known_to_both = {variable.name for variable in model.generative.estimates}
    names = [variable.name for variable in model.estimates if variable.name in known_to_both]
    out: dict[str, Any] = {"n": len(truth), "samples": samples, "scores": {}, "coverage": {}, "ranks": {}}
    out["joint"] = joint_scores(z, truth, seed) if model.has_state else {}
    if not names:
        return out
    known = _rows(model.generative.outputs(truth, seen, names))
    draws = np.concatenate(
        [_rows(model.outputs(*part, names)) for part in zip(z.split(_BATCH, 1), parts, strict=True)], 2
    )
    for name, right, values in zip(names, known, draws, strict=True):
        scores, shares, ranks = calibrate(right, values, name)
        out["scores"][name], out["coverage"][name], out["ranks"][name] = scores, shares, ranks
    return out


@torch.no_grad()
def _draws(bundle: Path, samples: int, seen: Observation, seed: int) -> Tensor:
    """Draws (samples, n, D) of the posterior of a batch of spectra, with random numbers of its own."""
    return model_of(bundle).posterior(seen).draw(samples, torch.Generator().manual_seed(seed)).z


def _rows(outputs: Tensor) -> NDArray[np.float32]:
    """Outputs (*sample, n, names) with what belongs to one variable side by side: (names, *sample, n)."""
    values: NDArray[np.float32] = outputs.movedim(-1, 0).detach().numpy()
    return np.ascontiguousarray(values)


def calibrate(
    truth: NDArray[np.floating], draws: NDArray[np.floating], variable: str
) -> tuple[dict[str, float], dict[str, float], list[int]]:
    """Scores, coverage by nominal level, and rank histogram of one variable.

    ``truth`` is (n,), ``draws`` (K, n). All coverages follow from the rank of the
    truth among the draws, mapped to (rank + 1/2)/(K + 1): with that, a perfect
    posterior covers the nominal share for any K, which quantiles of few draws do not.
    """
    k = len(draws)
    rank = (draws < truth).sum(axis=0)
    distance = np.abs((rank + 0.5) / (k + 1) - 0.5)
    coverage = {f"{level:g}": float(np.mean(distance <= level / 2)) for level in LEVELS}
    summary = {name: np.quantile(draws, level, axis=0, method="weibull") for name, level in QUANTILES.items()}
    scores = score(truth, {"mean": draws.mean(axis=0), **summary}, variable)
    scores |= {name: coverage[f"{level:g}"] for level, name in REPORTED.items()}
    scores["crps"] = crps_from_samples(truth, draws)
    # The same reading of five quantiles as of maps and plots, so that the numbers can be compared.
    density = Predictive.of(summary).log_score(truth)
    scores["log_score"] = float(np.nanmean(density)) if np.isfinite(density).any() else float("nan")
    return scores, coverage, rank_histogram(truth, draws)


def rank_histogram(truth: NDArray[np.floating], draws: NDArray[np.floating]) -> list[int]:
    """Counts in :data:`BINS` bins of the rank of ``truth`` (n,) among ``draws`` (K, n).

    Only as many draws are used as make every bin hold the same number of ranks;
    otherwise the histogram of a perfect posterior would not be flat.
    """
    bins = min(BINS, len(draws) + 1)
    used = (len(draws) + 1) // bins * bins - 1
    rank = (draws[:used] < truth).sum(axis=0)
    return [int(c) for c in np.bincount(rank * bins // (used + 1), minlength=bins)]
