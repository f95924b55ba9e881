"""Posterior summaries of pixels: moments, quantiles, fit to the observation, flags.

An estimator that has learned its summaries gives them at once; where they cannot be trusted, and for every
other estimator, they are computed from draws. Draws are made per block of pixels from a seed that belongs to
the block alone. Pixels of one call are cut into blocks of a fixed size, so a result depends on ``seed`` and
on the order of the pixels, never on which worker computed it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import chdtrc, chdtri

from canopyflow.errors import CanopyflowError, ConfigError
from canopyflow.models.estimators.amortised import FIT_DRAWS
from canopyflow.models.estimators.contract import Estimator, Learning
from canopyflow.models.statistics import statistics_of_draws
from canopyflow.observations.observation import Observation, View
from canopyflow.registry import nearest
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import (
    DERIVED,
    INPUT_OUTSIDE_PHYSICS,
    MISFIT,
    OUT_OF_DOMAIN,
    OUTPUTS,
    STATISTICS,
    UNREFINED,
    VARIABLES,
)

BATCH_PIXELS = 512
"""Pixels in one piece of work: with a hundred draws each they stay in a processor's cache."""

_EVALUATIONS = 65_536
"""Spectra of one piece of work under refinement, where each proposal is decoded."""

_LEARNED_PIXELS, _LEARNED_PIXELS_GPU = 2048, 2**18
"""Pixels whose summaries are given at a time: what a layer works on stays in a processor's second cache."""

LEARNED, DRAWN = "learned", "drawn"
"""How summaries are made: by the network that learned them where it can be trusted, or from draws
everywhere."""

_REFLECTANCE_SLACK = 0.01
"""Reflectance beyond the simulated range that is still believed: the additive noise of one band."""

_ANGLE_SLACK = 1.0
"""Degrees beyond the simulated range of zenith angles that are still believed."""


@dataclass(frozen=True)
class Summary:
    """stats (n, outputs, statistics) float32; fit (n,) float32; flags (n,) uint8; ess (n,) float32 if
    refined.

    ``drawn``: of how many pixels the posterior was drawn from.
    """

    stats: NDArray[np.float32]
    fit: NDArray[np.float32]
    flags: NDArray[np.uint8]
    ess: NDArray[np.float32] | None = None
    drawn: int = 0


def check_outputs(outputs: Sequence[str]) -> None:
    """Raise ConfigError for a variable that no model of any kind estimates."""
    known = [v.name for v in VARIABLES] + [v.name for v in DERIVED]
    for name in outputs:
        if name not in known:
            raise ConfigError(f"output variable {name!r} is unknown", nearest(name, known))


def check_estimated(estimator: Estimator, outputs: Sequence[str]) -> None:
    """Raise ConfigError for a variable that ``estimator`` does not estimate."""
    known = [quantity.name for quantity in estimator.estimates]
    for name in outputs:
        if name not in known:
            raise ConfigError(f"this model does not estimate {name!r}", nearest(name, known))


def check_statistics(statistics: Sequence[str]) -> None:
    """Raise ConfigError for a statistic that nobody computes."""
    for name in statistics:
        if name not in STATISTICS:
            raise ConfigError(f"statistic {name!r} is unknown", nearest(name, STATISTICS))


@dataclass(frozen=True)
class Wanted:
    """What is asked of every pixel: ``statistics`` of the variables ``outputs``.

    ``summaries``: :data:`LEARNED` or :data:`DRAWN`; ``samples``: draws per pixel where it is drawn from, in
    pieces of ``batch_pixels``, which are part of what the draws depend on, as their seed is.
    """

    outputs: Sequence[str] = OUTPUTS
    statistics: Sequence[str] = STATISTICS
    summaries: str = LEARNED
    samples: int = 100
    batch_pixels: int = BATCH_PIXELS

    def __post_init__(self) -> None:
        check_outputs(self.outputs)
        check_statistics(self.statistics)
        if self.summaries not in (LEARNED, DRAWN):
            raise ConfigError(f"summaries {self.summaries!r} are unknown", f"use {LEARNED} or {DRAWN}")


def summarise(
    estimator: Estimator, seen: Observation, wanted: Wanted | None = None, seed: int = 0
) -> Summary:
    """Summarise the posterior of the n pixels of ``seen``, by any estimator.

    ``fit`` is the root of the posterior mean of the squared Mahalanobis distance between observation and
    reconstruction, per band: in units of the observation noise. Fewer than ``batch_pixels`` are drawn at a
    time where the estimator decodes many spectra per pixel. The result is the same for the same arguments on
    the same kind of machine. Of an estimator that explains no spectrum (``has_fit`` is false) ``fit`` is NaN.
    Raises ConfigError for a variable that the estimator does not say, CanopyflowError for a pixel whose
    summaries are no finite numbers: in a product it would look as if it had not been seen, without a flag
    that says why.
    """
    wanted = wanted or Wanted()
    check_estimated(estimator, wanted.outputs)
    seen = estimator.understood(seen)
    n = len(seen)
    # Pixels lie side by side in memory: what is done to a statistic next is done to all of them.
    stats = np.empty((len(wanted.statistics), len(wanted.outputs), n), np.float32).T
    fit = np.empty(n, np.float32)
    summary = Summary(stats, fit, np.zeros(n, np.uint8))
    # Not inference_mode: the families that follow the target differentiate it.
    with torch.no_grad():
        wished = wanted.summaries == LEARNED
        if wished and isinstance(estimator, Learning) and estimator.learns:
            left = np.flatnonzero(~_learn(estimator, seen, wanted, summary))
        else:
            left = np.arange(n)
        ess, unrefined = _draw(estimator, seen, wanted, summary, left, seed)
    flags = flags_of(estimator, seen, fit) | np.where(unrefined, UNREFINED, 0).astype(np.uint8)
    return Summary(stats, fit, flags, ess, len(left))


def _learn(estimator: Learning, seen: Observation, wanted: Wanted, out: Summary) -> NDArray[np.bool_]:
    """Fill ``out`` with learned summaries; where they are to be trusted, (n,)."""
    trusted = np.empty(len(seen), bool)
    size = _LEARNED_PIXELS if estimator.device.type == "cpu" else _LEARNED_PIXELS_GPU
    for rows in _blocks(len(seen), size):
        found = estimator.learned(seen.rows(rows).to(estimator.device), wanted.outputs, wanted.statistics)
        out.stats.T[..., rows], out.fit[rows] = found.stats.cpu().numpy(), found.fit.cpu().numpy()
        trusted[rows] = found.trusted.cpu().numpy()
    return trusted


def _draw(
    estimator: Estimator, seen: Observation, wanted: Wanted, out: Summary, which: NDArray[np.intp], seed: int
) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_]]:
    """Fill ``out`` with summaries of draws at the pixels ``which``; effective draws, if weighed, and where
    they are too few."""
    batch, weighed = wanted.batch_pixels, False
    if estimator.spectra_per_pixel:
        batch = max(1, min(batch, _EVALUATIONS // estimator.spectra_per_pixel))
    ess, unrefined = np.full(len(seen), np.nan, np.float32), np.zeros(len(seen), bool)
    columns = [STATISTICS.index(name) for name in wanted.statistics]
    for block, piece in enumerate(_blocks(len(which), batch)):
        rows = which[piece]
        generator = torch.Generator(estimator.device).manual_seed(seed_of(seed, block))
        part = seen.rows(torch.from_numpy(rows)).to(estimator.device)
        draws = estimator.posterior(part).draw(wanted.samples, generator)
        if draws.ess is not None and draws.reliable is not None:
            weighed, ess[rows] = True, draws.ess.cpu().numpy()
            unrefined[rows] = ~draws.reliable.cpu().numpy()
        values = estimator.outputs(draws.z, part, wanted.outputs)
        out.stats[rows] = statistics_of_draws(values.permute(1, 2, 0).cpu().numpy())[..., columns]
        out.fit[rows] = estimator.fit(draws.z[:FIT_DRAWS], part).cpu().numpy()
        _check_numbers(out, rows, estimator.has_fit)
    return (ess if weighed else None), unrefined


def _check_numbers(summary: Summary, rows: NDArray[np.intp], has_fit: bool) -> None:
    """Raise CanopyflowError for the first of the pixels ``rows`` whose summaries are no finite numbers; a fit
    that there is not must be NaN."""
    finite = np.isfinite(summary.stats[rows]).all((1, 2)) & (np.isfinite(summary.fit[rows]) == has_fit)
    if not finite.all():
        raise CanopyflowError(
            f"the posterior of pixel {rows[~finite][0]} (of {len(summary.fit)}) has no finite summaries",
            "if its spectrum is sound, the model is not: train it again, with another seed or lower rates",
        )


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def flags_of(estimator: Estimator, seen: Observation, fit: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Flags of pixels beyond what ``estimator`` was trained on; one that was never trained has no such
    limits."""
    return unusual(estimator, seen) | misfits(estimator, seen, fit)


def misfits(estimator: Estimator, seen: Observation, fit: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The flag (n,) of a ``fit`` (n,) that what the estimator knows does not explain."""
    meta, bad = estimator.meta, np.zeros(len(fit), bool)
    if "fit_threshold" in meta:
        if "fit_by_bands" in meta or seen.view is View.SEASON:
            bad = estimator.comparable(torch.from_numpy(fit), seen).numpy() > meta["fit_threshold"]
        else:
            bad = fit > _fit_threshold(meta["fit_threshold"], seen)
    return np.where(bad, MISFIT, 0).astype(np.uint8)


def unusual(estimator: Estimator, seen: Observation) -> NDArray[np.uint8]:
    """Flags (n,) of pixels whose spectra or angles are none that ``estimator`` knows."""
    meta = estimator.meta
    foreign, outside = (np.zeros(len(seen), bool) for _ in range(2))
    if estimator.domain is not None:
        foreign |= estimator.domain.outside(seen.to(estimator.device)).cpu().numpy()
    if "angle_range" in meta:
        foreign |= outside_geometry(seen.geometry.numpy(), meta["angle_range"])
    if "reflectance_range" in meta:
        x = seen.reflectance.numpy()
        # The digital number 0 stands for no data, and no noise makes exactly that.
        beyond = _beyond(x, meta["reflectance_range"], _REFLECTANCE_SLACK) | (x == 0.0)
        outside = (beyond & seen.valid.numpy()).any(-1)
    flags = np.zeros(len(seen), np.uint8)
    for where, bit in ((foreign, OUT_OF_DOMAIN), (outside, INPUT_OUTSIDE_PHYSICS)):
        flags[where] |= bit
    return flags


def _fit_threshold(complete: float, seen: Observation) -> float | NDArray[np.float64]:
    """Largest fit that is still believed, of spectra with all bands ``complete``; (n,) where some lack bands.

    If a state made the spectrum, its squared distance is distributed as chi² with as many degrees of freedom
    as there are bands, so a mean over few bands scatters more. The threshold of each number of bands is
    exceeded with the same probability.
    """
    if seen.complete:
        return complete
    count = seen.valid.sum(-1).numpy()
    least = chdtrc(len(seen.bands), len(seen.bands) * complete**2)
    return np.sqrt(chdtri(np.maximum(count, 1), least) / np.maximum(count, 1))


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
    lower, upper = (np.asarray(limits[side], values.dtype) for side in ("lower", "upper"))
    return np.logical_or(values < lower - slack, values > upper + slack)
