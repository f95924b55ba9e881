"""A pixel over a season: the pixel model at every date, tied together by a prior over trajectories."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.generative.contract import Generative, Prior
from canopyflow.models.priors.seasons.contract import SeasonPrior
from canopyflow.observations.observation import Given, Observation, Sample, View
from canopyflow.samplers.contract import Target
from canopyflow.vocabulary import PLATFORMS

_UNIFORM = 1e-3
"""How far the log density of a prior that counts as uniform on the base box may differ between places."""


class Season(Generative):
    """``base``, a model of single dates, with trajectories from ``dynamics``; ``space``, ``estimates``,
    ``bands`` and ``platforms`` are those of ``base``.

    States z have shape (*sample, *batch, T, D): the T dates are those of the observation. A date without a
    valid band is only asked about, and whatever stands there, geometry and platform included, changes
    nothing. The likelihood is the sum over the valid entries of all dates; it is not divided by their number,
    which would temper it. Its probit coordinates are the normal scores of ``base``.

    Raises ConfigError for a pixel model whose prior is not uniform on its base box and that does not say how
    normal scores are found.
    """

    def __init__(self, base: Generative, dynamics: SeasonPrior) -> None:
        super().__init__()
        self.base, self.dynamics = base, dynamics
        self.space, self.estimates = base.space, base.estimates
        self.bands, self.platforms = base.bands, base.platforms
        if type(base).from_scores is Generative.from_scores:
            _check_uniform(base)

    def of_rows(self, index: Tensor | slice) -> Season:
        """The model of the seasons at ``index`` alone: another one where it knows something of each."""
        return self

    def target(self, seen: Observation) -> Target:
        # Imported late: it is about this class.
        from canopyflow.models.generative._season_density import season_density

        return season_density(self, seen)

    def prior(self, given: Given | None = None) -> SeasonLaw:
        """Trajectories on the days of ``given``. Raises DataError without days."""
        if given is None:
            raise DataError("the prior of a season needs its days", "give the season itself")
        return SeasonLaw(self, _days(given))

    def decode(self, z: Tensor, given: Given) -> Tensor:
        """As the contract says, with dates as part of the batch: (*sample, *batch, T, band)."""
        return self.base.decode(z, by_date(self.base, given))

    def log_likelihood(self, z: Tensor, seen: Observation) -> Tensor:
        return self._summed(self.base.log_likelihood, z, seen)

    def distance2(self, z: Tensor, seen: Observation) -> Tensor:
        return self._summed(self.base.distance2, z, seen)

    def _summed(self, of: Callable[[Tensor, Observation], Tensor], z: Tensor, seen: Observation) -> Tensor:
        """The sum over dates, (*sample, *batch), of what ``of`` says of each; dates of which nothing was seen
        add nothing and are not decoded."""
        dates, known = _dates(self.base, seen), seen.valid.any(-1)
        if bool(known.all()):
            return of(z, dates).sum(-1)
        behind = known.ndim
        rows = known.flatten().nonzero()[:, 0]
        some = dates.each(lambda t: t.flatten(0, behind - 1)[rows])
        found = of(z.flatten(-behind - 1, -2).index_select(-2, rows), some)
        whole = found.new_zeros(*found.shape[:-1], known.numel()).index_copy(-1, rows, found)
        return whole.unflatten(-1, known.shape).sum(-1)

    def fit(self, z: Tensor, seen: Observation) -> Tensor:
        """As the contract says; 0 for a season of which nothing was seen."""
        count = seen.valid.sum((-2, -1)).clamp_min(1)
        return (self.distance2(z, seen).mean(0) / count).sqrt()

    def noise_precision(self, value: Tensor, valid: Tensor | None = None) -> Tensor:
        return self.base.noise_precision(value, valid)

    def outputs(self, z: Tensor, given: Given, names: Sequence[str]) -> Tensor:
        """As the contract says, of each date: (*sample, *batch, T, len(names))."""
        return self.base.outputs(z, by_date(self.base, given), names)

    def observe(self, sample: Sample, generator: torch.Generator | None = None) -> Observation:
        seen = sample.seen
        dates = seen.geometry.shape[-2]
        flat = _dates(self.base, seen).each(lambda t: t.flatten(0, 1))
        clean = sample.noise_free.repeat_interleave(dates)
        noisy = self.base.observe(Sample(flat, None, clean), generator)
        return replace(seen, reflectance=noisy.reflectance.reshape(seen.reflectance.shape))

    def log_density(self, w: Tensor, seen: Observation) -> Tensor:
        """log p(x, w), (*sample, *batch), at normal scores ``w`` (*sample, *batch, T, D)."""
        law = self.prior(seen)
        z = law.to_physical(self.from_probit(w))
        return self.log_likelihood(z, seen) + law.log_prob_scores(w)

    def from_probit(self, w: Tensor) -> Tensor:
        """Normal scores (..., D) to base coordinates."""
        return self.base.from_scores(w)

    def to_probit(self, u: Tensor) -> Tensor:
        """Inverse of :meth:`from_probit`."""
        return self.base.to_scores(u)

    def from_scores(self, w: Tensor) -> Tensor:
        return self.base.from_scores(w)

    def to_scores(self, u: Tensor) -> Tensor:
        return self.base.to_scores(u)


class SeasonLaw:
    """A distribution over trajectories on ``day`` (*batch, T), a
    :class:`canopyflow.models.generative.contract.Prior`: maps between coordinates are those of the pixel
    model, date by date; densities (*sample, *batch) are those of whole trajectories."""

    def __init__(self, season: Season, day: Tensor) -> None:
        self.season, self.day = season, day
        self._pixel: Prior = season.base.prior()

    @property
    def lower(self) -> Tensor:
        """Bounds (D,) of the base box of a date."""
        return self._pixel.lower

    @property
    def upper(self) -> Tensor:
        return self._pixel.upper

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` trajectories (n, T, D), physical: one for each season, or as many rounds over all of them as
        make ``n``. Raises DataError where ``n`` is no multiple of their number."""
        day = self.day.reshape(-1, self.day.shape[-1])
        if n % len(day):
            raise DataError(f"{n} draws of {len(day)} seasons", f"draw a multiple of {len(day)}")
        w = self.season.dynamics.sample(day.repeat(n // len(day), 1), generator)
        return self.to_physical(self.season.from_probit(w))

    def log_prob(self, z: Tensor) -> Tensor:
        u = self.to_base(z)
        return self.log_prob_base(u) - self.log_abs_det(u)

    def log_prob_base(self, u: Tensor) -> Tensor:
        # Each date's density is that of the pixel model; the normal one of its scores is taken off.
        w = self.season.to_probit(u)
        dates = self._pixel.log_prob_base(u) + (0.5 * w.square() + 0.5 * math.log(2.0 * math.pi)).sum(-1)
        return self.log_prob_scores(w) + dates.sum(-1)

    def log_prob_scores(self, w: Tensor) -> Tensor:
        """Log density of normal scores ``w`` (*sample, *batch, T, D)."""
        batch = self.day.shape[:-1]
        flat = w.reshape(*w.shape[: w.ndim - 2 - len(batch)], -1, *w.shape[-2:])
        found = self.season.dynamics.log_prob(flat, self.day.reshape(-1, self.day.shape[-1]))
        return found.reshape(w.shape[:-2])

    def to_physical(self, u: Tensor) -> Tensor:
        return self._pixel.to_physical(u)

    def to_base(self, z: Tensor) -> Tensor:
        return self._pixel.to_base(z)

    def log_abs_det(self, u: Tensor) -> Tensor:
        return self._pixel.log_abs_det(u).sum(-1)


def by_date(base: Generative, given: Given) -> Given:
    """The circumstances of a season as those of pixels, one for each date, (*batch, T).

    A date of an observation without a valid band gets a geometry and a platform of its own: that of
    :func:`nearest_geometry`, for what depends on the sun.
    """
    geometry, platform = given.geometry, given.platform
    if isinstance(given, Observation):
        known = given.valid.any(-1)
        if not bool(known.all()):
            geometry, platform = _filled(base, given, known)
    return Given(geometry=geometry, platform=platform, bands=given.bands)


def _dates(base: Generative, seen: Observation) -> Observation:
    """A season as pixels, one for each date, (*batch, T)."""
    given = by_date(base, seen)
    return Observation(
        geometry=given.geometry,
        platform=given.platform,
        bands=seen.bands,
        reflectance=seen.reflectance,
        valid=seen.valid,
    )


def _filled(base: Generative, seen: Observation, known: Tensor) -> tuple[Tensor, Tensor]:
    """Geometry (*batch, T, 3) and platform (*batch, T) with harmless values where nothing is ``known``."""
    first = PLATFORMS.index(base.platforms[0])
    platform = torch.where(known, seen.platform, torch.full_like(seen.platform, first))
    return nearest_geometry(seen, known), platform


def nearest_geometry(seen: Observation, known: Tensor) -> Tensor:
    """Angles (*batch, T, 3) of each date, where nothing is ``known`` (*batch, T) those of the nearest date of
    which something is: the mean, of two equally near; zeros in a season without any."""
    clean = torch.where(known.unsqueeze(-1), seen.geometry, 0.0)
    day = _days(seen).to(clean.dtype)
    apart = (day.unsqueeze(-1) - day.unsqueeze(-2)).abs()
    apart = torch.where(known.unsqueeze(-2), apart, math.inf)
    near = apart == apart.amin(-1, keepdim=True)
    # In a season without any valid date all are equally far, and the geometry is that of zeros.
    share = near.to(clean.dtype) / near.sum(-1, keepdim=True)
    return torch.where(known.unsqueeze(-1), clean, share @ clean)


def _days(given: Given) -> Tensor:
    if given.view is not View.SEASON or given.day is None:
        raise DataError(
            f"a season needs the view {View.SEASON.value!r} and its days",
            "give an Observation with view=View.SEASON and day (*batch, date)",
        )
    return given.day


def _check_uniform(base: Generative) -> None:
    prior = base.prior()
    shares = torch.linspace(0.05, 0.95, 7)[:, None]
    places = base.space.lower + (base.space.upper - base.space.lower) * shares
    density = prior.log_prob_base(places)
    if not bool((density - density[0]).abs().max() < _UNIFORM):
        raise ConfigError(
            f"the prior of {type(base).__name__} is not uniform on its base box",
            "a season needs its from_scores and to_scores",
        )
