"""Scores of one trained model where the truth, or the true posterior, is known; and what it costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from canopyflow.atomic import content_digest, write_json
from canopyflow.evaluation.against.reference import against_reference, cost
from canopyflow.evaluation.against.simulations import evaluate_simulations, model_of
from canopyflow.evaluation.against.summaries import evaluate_summaries
from canopyflow.evaluation.tables import with_null
from canopyflow.inference.allocation import Map


@dataclass(frozen=True)
class Scoring:
    """How a model is scored: on ``n`` held-back simulations, with ``samples`` posterior draws of each."""

    n: int
    samples: int
    seed: int


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
    """Score one trained model where the truth, or the true posterior, is known.

    Parameters
    ----------
    bundle, simulations, over: see :func:`canopyflow.evaluation.against.simulations.evaluate_simulations`.
    references: reference stores by source, "simulated" and perhaps "observed".
    out: JSON ``{"bundle_sha256", "calibration", "scores": {variable: {metric: value}},
        "against": {"simulations" | "summaries" | "simulated" | "observed": {metric: value}}}``.
    cost_out: JSON of parameters and time; apart, for a time is never twice the same.
    """
    # First, because a reference is one long piece of work beside which there is room for the others.
    compared = over(partial(_against_reference, bundle, scoring.seed), references.values())
    calibration = evaluate_simulations(
        bundle, simulations, n=scoring.n, samples=scoring.samples, seed=scoring.seed, over=over
    )
    scores = calibration.pop("scores")
    against = {
        "simulations": calibration.pop("joint"),
        "summaries": evaluate_summaries(bundle, simulations, n=scoring.n, seed=scoring.seed),
    } | dict(zip(references, compared, strict=True))
    write_json(
        out,
        {
            "bundle_sha256": content_digest(bundle),
            "calibration": calibration,
            "scores": with_null(scores),
            "against": with_null(against),
        },
    )
    # Last: a time says little while other workers are busy.
    write_json(cost_out, cost(model_of(bundle), simulations))


def _against_reference(bundle: Path, seed: int, store: Path) -> dict[str, float]:
    return against_reference(model_of(bundle), store, seed=seed)
