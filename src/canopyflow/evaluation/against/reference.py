"""One model against the reference posterior: evidence, distances, what refinement does; and its cost."""

import math
import time
from pathlib import Path

import torch
from torch import Tensor

from canopyflow.evaluation.against.reference_store import load_reference
from canopyflow.evaluation.scores.two_sample import c2st, sliced_wasserstein
from canopyflow.inference.summaries import DRAWN, LEARNED, Wanted, summarise
from canopyflow.models.baseline import Baseline
from canopyflow.models.bundle import Trained
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.estimators.refined import Refined
from canopyflow.models.runtime import generator
from canopyflow.observations.observation import Observation
from canopyflow.observations.sources.contract import Source
from canopyflow.registry import SOURCES
from canopyflow.samplers.importance import LARGEST_K, effective_size, pareto_smooth
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import NAMES, OUTPUTS

C2ST_PIXELS = 64
"""Pixels of a reference on which classifiers are trained: more would cost more than training the model."""

PROPOSALS = 1000
"""Importance-weighted draws per pixel behind evidence and efficiency."""

REFINED_PROPOSALS, REFINED_ESS = 10_000, 100.0
"""How draws are refined before they are held against the reference: as ``canopyflow predict`` does."""

_BATCH = 32
_TIMED, _TIMED_LEARNED = 2048, 65_536

LAI, CAB = NAMES.index("lai"), NAMES.index("cab")


@torch.no_grad()
def against_reference(model: Trained, reference: Path, *, seed: int) -> dict[str, float]:
    """Scores of the model on the pixels of a reference store whose chains have converged, means over pixels.

    ``elbo``, ``log_evidence``: nats per pixel; ``efficiency``: median ESS / K of the importance weights;
    ``pareto_k``: their median tail index, ``k_bad``: share of pixels where it exceeds 0.7; ``c2st``,
    ``wasserstein``: distance from the reference; ``c2st_refined``, ``c2st_flagged``: C2ST of refined draws
    where refinement does not flag the pixel (``kept``: their share) and where it does;
    ``correlation_error``: mean absolute error of the correlation between leaf area and chlorophyll.

    Draws of a baseline have no density: only distances are told, and of one that has no states nothing but
    the number of pixels.
    """
    sample, found = load_reference(reference)
    rows = found.reliable.nonzero()[:, 0]
    truth, known = found.draws[rows], sample.rows(rows)
    seen = known.seen.in_bands(model.bands)
    out = {"pixels": float(len(rows)), "left_out": float((~found.reliable).sum())}
    if not len(rows):
        return out
    if not isinstance(model, Baseline):
        z, log_weights = _weighted_draws(model, seen, PROPOSALS, seed)
        out |= evidence(log_weights)
    elif not model.has_state:
        return out
    else:
        g = torch.Generator().manual_seed(seed_of("accuracy", seed))
        z = torch.cat([model.posterior(part).draw(PROPOSALS, g).z for part in seen.split(_BATCH)], 1)
    draws = z.movedim(0, 1)
    out["wasserstein"] = float(sliced_wasserstein(truth, draws).mean())
    out["correlation_error"] = float((_correlation(draws) - _correlation(truth)).abs().mean())
    if known.truth is not None:
        out |= _reconstruction(model, z[:100], known.truth, seen)
    few = slice(C2ST_PIXELS)
    out["c2st"] = float(c2st(truth[few], draws[few], seed).mean())
    if isinstance(model, Baseline):
        return out
    return out | _refined(model, seen.rows(few), truth[few], seed)


def _refined(model: Amortised, seen: Observation, truth: Tensor, seed: int) -> dict[str, float]:
    """How near refined draws come to the reference, where they are believed and where they are flagged."""
    g = torch.Generator().manual_seed(seed_of("refine", seed))
    estimator = Refined(model, REFINED_PROPOSALS, REFINED_ESS)
    parts = [estimator.posterior(part).draw(truth.shape[1], g) for part in seen.split(8)]
    z = torch.cat([part.z for part in parts], dim=1).movedim(0, 1)
    reliable = torch.cat([part.reliable for part in parts if part.reliable is not None])
    accuracy = c2st(truth, z, seed)
    out = {"kept": float(reliable.float().mean())}
    for name, chosen in (("c2st_refined", reliable), ("c2st_flagged", ~reliable)):
        out[name] = float(accuracy[chosen].mean()) if chosen.any() else math.nan
    return out


def _weighted_draws(model: Amortised, seen: Observation, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draws (count, n, D) of the model and their log importance weights (count, n)."""
    g = torch.Generator().manual_seed(seed_of("accuracy", seed))
    draws, weights = [], []
    for part in seen.split(_BATCH):
        q = model.posterior(part)
        u, log_q = q.base.rsample_and_log_prob((count,), g)
        draws.append(q.prior.to_physical(u))
        weights.append(q.base_log_joint(u) - log_q)
    return torch.cat(draws, 1), torch.cat(weights, 1)


def evidence(log_weights: Tensor) -> dict[str, float]:
    """The bound, the evidence, and how good the importance weights (K, n) behind it are."""
    count = len(log_weights)
    khat = pareto_smooth(log_weights)[1]
    return {
        "elbo": float(log_weights.mean(0).mean()),
        "log_evidence": float((torch.logsumexp(log_weights, 0) - math.log(count)).mean()),
        "efficiency": float((effective_size(log_weights) / count).median()),
        "pareto_k": float(khat.median()),
        "k_bad": float((khat > LARGEST_K).float().mean()),
    }


def _correlation(draws: Tensor) -> Tensor:
    """Correlation (n,) of leaf area and chlorophyll over ``draws`` (n, draws, D)."""
    a, b = (draws[..., i] - draws[..., i].mean(1, keepdim=True) for i in (LAI, CAB))
    scale = (a.square().sum(1) * b.square().sum(1)).sqrt().clamp_min(1e-12)
    return (a * b).sum(1) / scale


def _reconstruction(model: Trained, z: Tensor, truth: Tensor, seen: Observation) -> dict[str, float]:
    """RMSE of the mean spectrum of ``z`` (K, n, D) against that of ``truth``, by band and of the worst."""
    decode = model.generative.decode
    errors = decode(z, seen).mean(0) - decode(truth, seen)
    rmse = errors.square().mean(0).sqrt()
    by_band = {f"reconstruction_{band}": float(e) for band, e in zip(model.bands, rmse, strict=True)}
    return by_band | {"reconstruction_worst": float(rmse.max())}


def cost(model: Trained, simulations: Path) -> dict[str, float]:
    """Count of learned parameters, and seconds to summarise a million pixels, best of three.

    ``seconds_per_million`` by 100 draws, ``seconds_per_million_learned`` by the network, where maps take it;
    neither of a model that estimates nothing.
    """
    source: Source = SOURCES.build("simulations")
    sample = source.load(simulations, model.bands, model.platforms, None, 0)
    seen = model.generative.observe(sample, generator("timed"))

    estimated = [quantity.name for quantity in model.estimates]
    outputs = [name for name in OUTPUTS if name in estimated] or estimated[:1]

    def seconds(n: int, summaries: str) -> float:
        pixels = seen.rows(torch.arange(n) % len(sample))
        times = []
        for _ in range(3):
            start = time.perf_counter()
            summarise(model, pixels, Wanted(outputs, summaries=summaries))
            times.append(time.perf_counter() - start)
        return min(times) * 1e6 / n

    learns = isinstance(model, Amortised) and model.learns
    learned = {"seconds_per_million_learned": seconds(_TIMED_LEARNED, LEARNED)} if learns else {}
    drawn = {"seconds_per_million": seconds(_TIMED, DRAWN)} if outputs else {}
    return {"parameters": float(sum(value.numel() for value in model.parameters())), **drawn, **learned}
