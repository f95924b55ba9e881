"""Posterior summaries of whole seasons: of every variable at fixed dates, and of the season itself.

All of them come from the same joint draws of a trajectory, or from a network that has learned them. What is
said of a date that nobody saw is as good as the model's idea of what happens between the passes: how long it
was unobserved stands beside it, and its flags are those of the clear pass nearest in time. The fit is one of
the whole season, and so is its flag.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.errors import CanopyflowError
from canopyflow.inference.summaries import LEARNED, Wanted, check_estimated, misfits, unusual
from canopyflow.models.estimators.amortised import FIT_DRAWS
from canopyflow.models.estimators.contract import Estimator, Learned, Learning
from canopyflow.models.phenology import NAMES, phenology
from canopyflow.models.statistics import statistics_of_draws
from canopyflow.observations.observation import Given, Observation, View
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import STATISTICS

UNKNOWN = 65535
"""Days to the nearest clear pass of a pixel that has none."""

_STATES = 2**19
"""States of one piece of work: draws times pixels times dates, some 30 MB of each array of them."""

_LEARNED_DATES, _LEARNED_DATES_GPU = 2**14, 2**17
"""Dates whose summaries are given by a network at a time: eight times as many take half as long again on a
processor, where what a layer works on then leaves the cache."""


class SeasonLearning(Protocol):
    """What a model of seasons has that learned its summaries (:class:`..contract.Learning`), beside them."""

    def learned_seasons(
        self, seen: Observation, names: Sequence[str], statistics: Sequence[str], dates: Tensor
    ) -> Learned:
        """Summaries of the season itself over some of its ``dates``, ``names`` some of
        :data:`canopyflow.models.phenology.NAMES`: stats (statistics, names, n)."""
        ...


@dataclass(frozen=True)
class SeasonSummary:
    """Of n pixels at F fixed dates: ``stats`` (n, F, outputs, statistics), ``whole`` (n, 5, statistics) of
    :data:`canopyflow.models.phenology.NAMES` over these dates, ``fit`` (n,) of the season, ``flags`` (n, F)
    uint8, ``unobserved`` (n, F) days to the nearest clear pass, uint16; ``drawn``: of how many pixels the
    posterior was drawn from."""

    stats: NDArray[np.float32]
    whole: NDArray[np.float32]
    fit: NDArray[np.float32]
    flags: NDArray[np.uint8]
    unobserved: NDArray[np.uint16]
    drawn: int = 0


@dataclass(frozen=True)
class Calendar:
    """The dates of a product: ``passes`` (T,) and ``fixed`` (F,) days, counted from 1 January.

    ``every`` (U,): the days of both, in order; ``place_of_pass`` (T,) and ``place_of_fixed`` (F,): where each
    stands in it. A fixed date on the day of a pass is that pass.
    """

    passes: NDArray[np.int64]
    fixed: NDArray[np.int64]
    every: NDArray[np.int64]
    place_of_pass: NDArray[np.intp]
    place_of_fixed: NDArray[np.intp]

    @classmethod
    def of(cls, passes: NDArray[np.int64], fixed: NDArray[np.int64]) -> "Calendar":
        """``passes``: days in order, one may be there twice; ``fixed``: all different."""
        alone = np.setdiff1d(fixed, passes)
        days = np.concatenate([passes, alone])
        order = np.argsort(days, kind="stable")
        place = np.argsort(order)
        every = days[order]
        return cls(passes, fixed, every, place[: len(passes)], np.searchsorted(every, fixed))


def summarise_seasons(
    estimator: Estimator, seen: Observation, fixed: NDArray[np.intp], wanted: Wanted, seed: int = 0
) -> SeasonSummary:
    """Summarise the posterior of the n seasons of ``seen`` (n, U, band), each with a valid entry.

    Args:
        estimator: one whose generative model is a :class:`canopyflow.models.generative._season.Season`.
        seen: all have the same dates, in order of day; those without a valid band are only asked about.
        fixed: which of the dates are told, (F,).
        wanted: of each date. Pieces are made of as many pixels as fit in memory; they are part of what draws
            depend on, as ``seed`` is.

    Raises ConfigError for a variable that the estimator does not say, CanopyflowError for summaries that are
    no finite numbers.
    """
    names = [*wanted.outputs]
    check_estimated(estimator, [*names, "lai"])
    seen = located(estimator.understood(seen))
    n, dates = len(seen), len(fixed)
    assert seen.day is not None, "a season has days"
    columns = len(wanted.statistics)
    out = SeasonSummary(
        np.empty((n, dates, len(names), columns), np.float32),
        np.empty((n, len(NAMES), columns), np.float32),
        np.full(n, np.nan, np.float32),
        np.zeros((n, dates), np.uint8),
        np.zeros((n, dates), np.uint16),
    )
    with torch.no_grad():
        wished = wanted.summaries == LEARNED
        left = np.arange(n)
        if wished and isinstance(estimator, Learning) and estimator.learns:
            left = np.flatnonzero(~_learn(estimator, seen, fixed, wanted, out))
        size = max(1, _STATES // (wanted.samples * seen.day.shape[-1]))
        for number, rows in enumerate(_pieces(left, size)):
            generator = torch.Generator(estimator.device).manual_seed(seed_of(seed, number))
            part, places = without_clouds(seen.rows(torch.from_numpy(rows)), fixed)
            _draw(estimator, part.to(estimator.device), places, wanted, (out, rows), generator)
    return replace(out, drawn=len(left))


def _pieces(rows: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    return (rows[first : first + size] for first in range(0, len(rows), size))


def located(seen: Observation) -> Observation:
    """``seen`` with a geometry and a platform at every date: where nothing was seen those of the nearest date
    of the same pixel that was, the earlier of two; what depends on the sun is told for that sun."""
    near, _ = nearest_seen(seen, torch.arange(seen.valid.shape[1]))
    # Of two passes on one day each keeps its own.
    near = torch.where(seen.valid.any(-1), torch.arange(near.shape[1]), near)
    geometry = seen.geometry.gather(1, near.unsqueeze(-1).expand(*near.shape, 3))
    return replace(seen, geometry=geometry, platform=seen.platform.gather(1, near))


def nearest_seen(seen: Observation, dates: Tensor) -> tuple[Tensor, Tensor]:
    """Of each season the date with a valid band that is nearest to each of ``dates`` (F,), the earlier of two
    equally near ones: its place (n, F), and how many days away it is (n, F)."""
    assert seen.day is not None, "a season has days"
    known = seen.valid.any(-1)
    parts = []
    for day, some in zip(seen.day.split(1024), known.split(1024), strict=True):
        apart = (day[:, dates].unsqueeze(-1) - day.unsqueeze(1)).abs().to(torch.float32)
        parts.append(apart.masked_fill(~some.unsqueeze(1), torch.inf).min(-1))
    return torch.cat([part.indices for part in parts]), torch.cat([part.values for part in parts])


def without_clouds(seen: Observation, fixed: NDArray[np.intp]) -> tuple[Observation, NDArray[np.intp]]:
    """``seen`` without the dates that none of its pixels saw and that are not told; where ``fixed`` are then.

    For the model it is the same season, and fewer dates to draw.
    """
    keep = seen.valid.any(-1).any(0).numpy()
    keep[fixed] = True
    places = np.flatnonzero(keep)
    chosen = torch.from_numpy(places)
    return seen.each(lambda tensor: tensor[:, chosen]), np.searchsorted(places, fixed)


def _draw(
    estimator: Estimator,
    seen: Observation,
    fixed: NDArray[np.intp],
    wanted: Wanted,
    into: tuple[SeasonSummary, NDArray[np.intp]],
    generator: torch.Generator,
) -> None:
    """Fill the rows of a summary from draws of the posterior of ``seen``."""
    out, rows = into
    columns = [STATISTICS.index(name) for name in wanted.statistics]
    z = estimator.posterior(seen).draw(wanted.samples, generator).z
    told = torch.from_numpy(fixed).to(z.device)
    values = estimator.generative.outputs(z[:, :, told], _asked(seen, told), [*wanted.outputs, "lai"])
    at_fixed, lai = values[..., :-1], values[..., -1]
    assert seen.day is not None
    # Over the dates that are told: which others there are depends on the pixels of the same piece.
    whole = phenology(lai, seen.day[:, told])
    out.stats[rows] = statistics_of_draws(at_fixed.permute(1, 2, 3, 0).cpu().numpy())[..., columns]
    out.whole[rows] = statistics_of_draws(whole.permute(1, 2, 0).cpu().numpy())[..., columns]
    _judge(estimator, seen, estimator.fit(z[:FIT_DRAWS], seen), told, into)
    if not (np.isfinite(out.stats[rows]).all() and np.isfinite(out.whole[rows]).all()):
        raise CanopyflowError(
            "the posterior of a season has no finite summaries",
            "if its spectra are sound, the model is not: train it again, with another seed or lower rates",
        )


def _asked(seen: Observation, dates: Tensor) -> Given:
    """The circumstances of some of the dates of a season."""
    assert seen.day is not None, "a season has days"
    return Given(
        geometry=seen.geometry[:, dates],
        platform=seen.platform[:, dates],
        bands=seen.bands,
        view=View.SEASON,
        day=seen.day[:, dates],
    )


def passes_as_pixels(seen: Observation) -> Observation:
    """Every date of a season that was seen, as a pixel of its own: (m, band)."""
    known = seen.valid.any(-1)
    return Observation(
        reflectance=seen.reflectance[known],
        valid=seen.valid[known],
        geometry=seen.geometry[known],
        platform=seen.platform[known],
        bands=seen.bands,
    )


def _judge(
    estimator: Estimator,
    seen: Observation,
    fit: Tensor,
    told: Tensor,
    into: tuple[SeasonSummary, NDArray[np.intp]],
) -> None:
    """Fill in the ``fit`` (n,) with its flag, and of the dates ``told`` the flags of the nearest date that
    was seen, and how many days away it is."""
    out, rows = into
    seen, told = seen.to(torch.device("cpu")), told.cpu()
    known = seen.valid.any(-1)
    flags = torch.zeros(known.shape, dtype=torch.uint8)
    flags[known] = torch.from_numpy(unusual(estimator, passes_as_pixels(seen)))
    near, apart = nearest_seen(seen, told)
    out.fit[rows] = fit.cpu().numpy()
    out.flags[rows] = flags.gather(1, near).numpy() | misfits(estimator, seen, out.fit[rows])[:, None]
    out.unobserved[rows] = apart.numpy().round().astype(np.uint16)


def _learn(
    estimator: Learning, seen: Observation, fixed: NDArray[np.intp], wanted: Wanted, out: SeasonSummary
) -> NDArray[np.bool_]:
    """Fill ``out`` with learned summaries; where they are to be trusted, (n,)."""
    trusted = np.empty(len(seen), bool)
    most = _LEARNED_DATES if estimator.device.type == "cpu" else _LEARNED_DATES_GPU
    size = max(1, most // seen.valid.shape[1])
    seasons = cast(SeasonLearning, estimator)
    for rows in _pieces(np.arange(len(seen)), size):
        part, places = without_clouds(seen.rows(torch.from_numpy(rows)), fixed)
        part, told = part.to(estimator.device), torch.from_numpy(places)
        dates = estimator.learned(part, wanted.outputs, wanted.statistics)
        whole = seasons.learned_seasons(part, NAMES, wanted.statistics, told)
        out.stats[rows] = dates.stats[..., told].permute(2, 3, 1, 0).cpu().numpy()
        out.whole[rows] = whole.stats.permute(2, 1, 0).cpu().numpy()
        trusted[rows] = (dates.trusted & whole.trusted).cpu().numpy()
        _judge(estimator, part, dates.fit, told, (out, rows))
    return trusted
