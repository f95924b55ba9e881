"""Posterior summaries of pixels: moments, quantiles, fit to the observation, flags.

Draws are made per block of pixels from a seed that belongs to the block alone.
Pixels of one call are cut into blocks of a fixed size, so a result depends on
``seed`` and on the order of the pixels, never on which worker computed it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from canopyflow.errors import ConfigError
from canopyflow.models.estimators.amortised import FIT_DRAWS
from canopyflow.models.estimators.contract import Estimator
from canopyflow.observations.observation import Observation
from canopyflow.registry import nearest
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import (
    DERIVED,
    INPUT_OUTSIDE_PHYSICS,
    OUT_OF_DOMAIN,
    OUTPUTS,
    QUANTILES,
    STATISTICS,
    UNREFINED,
    VARIABLES,
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


def check_outputs(outputs: Sequence[str]) -> None:
    """Raise ConfigError for a variable that no model estimates."""
    known = [v.name for v in VARIABLES] + [v.name for v in DERIVED]
    for name in outputs:
        if name not in known:
            raise ConfigError(f"output variable {name!r} is unknown", nearest(name, known))


def check_statistics(statistics: Sequence[str]) -> None:
    """Raise ConfigError for a statistic that nobody computes."""
    for name in statistics:
        if name not in STATISTICS:
            raise ConfigError(f"statistic {name!r} is unknown", nearest(name, STATISTICS))


def summarise(
    estimator: Estimator,
    seen: Observation,
    *,
    samples: int = 100,
    seed: int = 0,
    outputs: Sequence[str] = OUTPUTS,
    batch_pixels: int = BATCH_PIXELS,
) -> Summary:
    """Summarise the posterior of the n pixels of ``seen``, by any estimator.

    ``fit`` is the root of the posterior mean of the squared Mahalanobis distance between observation and
    reconstruction, per band: in units of the observation noise. ``batch_pixels``: pixels in one piece of
    work; fewer are taken where the estimator decodes many spectra per pixel. The result is the same for the
    same arguments on the same kind of machine.
    """
    check_outputs(outputs)
    seen = seen.in_bands(estimator.generative.bands)
    if estimator.spectra_per_pixel:
        batch_pixels = max(1, min(batch_pixels, _EVALUATIONS // estimator.spectra_per_pixel))
    n = len(seen)
    stats = np.empty((n, len(outputs), len(STATISTICS)), np.float32)
    fit, ess = np.empty(n, np.float32), np.full(n, np.nan, np.float32)
    unrefined, weighed = np.zeros(n, bool), False
    # Not inference_mode: the families that follow the target differentiate it.
    with torch.no_grad():
        for block, rows in enumerate(_blocks(n, batch_pixels)):
            generator = torch.Generator(estimator.device).manual_seed(seed_of(seed, block))
            part = seen.rows(rows).to(estimator.device)
            draws = estimator.posterior(part).draw(samples, generator)
            if draws.ess is not None and draws.reliable is not None:
                weighed, ess[rows] = True, draws.ess.cpu().numpy()
                unrefined[rows] = ~draws.reliable.cpu().numpy()
            stats[rows] = _statistics(
                estimator.generative.outputs(draws.z, part, outputs).permute(1, 2, 0).cpu().numpy()
            )
            fit[rows] = estimator.fit(draws.z[:FIT_DRAWS], part).cpu().numpy()
    flags = _flags(estimator.meta, seen, fit) | np.where(unrefined, UNREFINED, 0).astype(np.uint8)
    return Summary(stats, fit, flags, ess if weighed else None)


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _statistics(draws: NDArray[np.float32]) -> NDArray[np.float32]:
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


def _flags(meta: Mapping[str, Any], seen: Observation, fit: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Flags of pixels beyond what ``meta`` says that the model was trained on; an estimator that was never
    trained has no such limits."""
    foreign, outside = np.zeros(len(fit), bool), np.zeros(len(fit), bool)
    if "fit_threshold" in meta:
        foreign |= fit > meta["fit_threshold"]
    if "angle_range" in meta:
        foreign |= outside_geometry(seen.geometry.numpy(), meta["angle_range"])
    if "reflectance_range" in meta:
        beyond = _beyond(seen.reflectance.numpy(), meta["reflectance_range"], _REFLECTANCE_SLACK)
        outside = (beyond & seen.valid.numpy()).any(-1)
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
