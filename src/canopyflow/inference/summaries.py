"""Posterior summaries of pixels: moments, quantiles, fit to the observation, flags.

Draws are made per block of pixels from a seed that belongs to the block alone.
Pixels of one call are cut into blocks of a fixed size, so a result depends on
``seed`` and on the order of the pixels, never on which worker computed it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.retrieval import FIT_DRAWS, RetrievalModel
from canopyflow.models.runtime import seed_of
from canopyflow.physics import VARIABLES
from canopyflow.physics.variables import derived
from canopyflow.samplers.importance import refine
from canopyflow.vocabulary import (
    DERIVED,
    INPUT_OUTSIDE_PHYSICS,
    OUT_OF_DOMAIN,
    OUTPUTS,
    QUANTILES,
    STATISTICS,
    UNREFINED,
)

BATCH_PIXELS = 512
"""Pixels in one piece of work: with a hundred draws each they stay in a processor's cache."""

_EVALUATIONS = 65_536
"""Spectra of one piece of work under refinement, where each proposal is decoded."""

_REFLECTANCE_SLACK = 0.01
"""Reflectance beyond the simulated range that is still believed: the additive noise of one band."""

_ANGLE_SLACK = 1.0
"""Degrees beyond the simulated range of zenith angles that are still believed."""


@dataclass(frozen=True)
class Summary:
    """stats (n, outputs, 7) float32; fit (n,) float32; flags (n,) uint8; ess (n,) float32 if refined."""

    stats: NDArray[np.float32]
    fit: NDArray[np.float32]
    flags: NDArray[np.uint8]
    ess: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Refinement:
    """Importance refinement: ``proposals`` draws of the family a pixel; below ``least_ess`` effective ones a
    pixel is flagged ``unrefined``."""

    proposals: int = 2000
    least_ess: float = 100.0


def refinement(kind: str, proposals: int, least_ess: float) -> Refinement | None:
    """What the word of a campaign or a command line asks for. Raises ConfigError for another word."""
    if kind == "none":
        return None
    if kind != "importance":
        raise ConfigError(f"refinement {kind!r} is unknown", "use none or importance")
    return Refinement(proposals, least_ess)


def check_outputs(outputs: Sequence[str]) -> None:
    """Raise ConfigError for a variable that no model estimates."""
    known = [v.name for v in VARIABLES] + [v.name for v in DERIVED]
    for name in outputs:
        if name not in known:
            near = get_close_matches(name, known, n=1) or known
            raise ConfigError(f"output variable {name!r} is unknown", f"did you mean {near[0]!r}?")


def summarise(
    model: RetrievalModel,
    reflectance: NDArray[np.floating],
    angles: NDArray[np.floating],
    platform: str | NDArray[np.integer],
    samples: int = 100,
    seed: int = 0,
    outputs: Sequence[str] = OUTPUTS,
    batch_pixels: int = BATCH_PIXELS,
    refinement: Refinement | None = None,
) -> Summary:
    """Summarise the posterior of n pixels.

    ``reflectance`` (n, bands), finite; ``angles`` (n, 3) degrees; ``platform``
    a name or (n,) indices into ``model.platforms``. ``fit`` is the root of the
    posterior mean of the squared Mahalanobis distance between observation and
    reconstruction, per band: in units of the observation noise.

    ``batch_pixels``: pixels in one piece of work. The result is the same for the
    same arguments on the same kind of machine. With ``refinement`` the draws are resampled
    by importance (:mod:`canopyflow.samplers.importance`).
    """
    check_outputs(outputs)
    if refinement is not None:
        batch_pixels = max(1, min(batch_pixels, _EVALUATIONS // refinement.proposals))
    device = next(model.parameters()).device
    n = len(reflectance)
    stats = np.empty((n, len(outputs), len(STATISTICS)), np.float32)
    fit = np.empty(n, np.float32)
    ess = None if refinement is None else np.empty(n, np.float32)
    unrefined = np.zeros(n, bool)
    # Not inference_mode: the families that follow the target differentiate it.
    with torch.no_grad():
        for block, rows in enumerate(_blocks(n, batch_pixels)):
            generator = torch.Generator(device).manual_seed(seed_of(seed, block))
            x, a = (
                torch.as_tensor(v[rows], dtype=torch.float32, device=device) for v in (reflectance, angles)
            )
            kind = platform if isinstance(platform, str) else torch.as_tensor(platform[rows], device=device)
            q = model.posterior(x, a, kind)
            if refinement is None or ess is None:
                z = q.rsample((samples,), generator)
            else:
                refined = refine(q, refinement.proposals, samples, generator)
                z, ess[rows] = refined.z, refined.ess.cpu().numpy()
                unrefined[rows] = ~refined.reliable(refinement.least_ess).cpu().numpy()
            stats[rows] = _statistics(_select(z, outputs))
            fit[rows] = model.fit(z[:FIT_DRAWS], x, a, kind).cpu().numpy()
    flags = _flags(model, np.asarray(reflectance), np.asarray(angles), fit)
    return Summary(stats, fit, flags | np.where(unrefined, UNREFINED, 0).astype(np.uint8), ess)


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _select(z: Tensor, outputs: Sequence[str]) -> NDArray[np.float32]:
    """Draws (K, n, 11) -> the wanted variables (n, outputs, K); derived ones from each joint draw."""
    columns = {v.name: z[..., i] for i, v in enumerate(VARIABLES)} | derived(z)
    out: NDArray[np.float32] = torch.stack([columns[name].T for name in outputs], dim=1).cpu().numpy()
    return out


def _statistics(draws: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, outputs, K) -> (n, outputs, 7); quantiles by linear interpolation of sorted draws.

    The i-th of K sorted draws stands for the probability i/(K + 1) (Weibull): with
    that, intervals of few draws cover what they say, where numpy's default is
    biased inwards. Below 19 draws the outer quantiles are the extremes.
    numpy's sort of short float32 rows is several times faster than torch.quantile.
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


def _flags(
    model: RetrievalModel,
    reflectance: NDArray[np.floating],
    angles: NDArray[np.floating],
    fit: NDArray[np.float32],
) -> NDArray[np.uint8]:
    foreign = (fit > model.meta["fit_threshold"]) | outside_geometry(angles, model.meta["angle_range"])
    outside = _beyond(reflectance, model.meta["reflectance_range"], _REFLECTANCE_SLACK).any(-1)
    flags = np.where(foreign, OUT_OF_DOMAIN, 0) | np.where(outside, INPUT_OUTSIDE_PHYSICS, 0)
    return flags.astype(np.uint8)


def outside_geometry(
    angles: NDArray[np.floating], angle_range: Mapping[str, Sequence[float]]
) -> NDArray[np.bool_]:
    """Whether (n, 3) ``angles`` have a sun or view zenith that no simulation of the model had, (n,).

    The relative azimuth is simulated over its whole circle. NaN is not outside.
    """
    zeniths = {side: limit[:2] for side, limit in angle_range.items()}
    return np.any(_beyond(angles[:, :2], zeniths, _ANGLE_SLACK), axis=-1)


def _beyond(
    values: NDArray[np.floating], limits: Mapping[str, Sequence[float]], slack: float
) -> NDArray[np.bool_]:
    lower, upper = (np.asarray(limits[side], np.float64) for side in ("lower", "upper"))
    return np.logical_or(values < lower - slack, values > upper + slack)
