"""What every estimator is: it is given an observation and returns a posterior, which can be drawn from."""

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.models.domain import Domain
from canopyflow.models.generative.contract import Generative
from canopyflow.observations.observation import Observation, View
from canopyflow.samplers.contract import Draws
from canopyflow.vocabulary import PLATFORMS, Variable


class Posterior(Protocol):
    """What is known after an observation: of the state, or of what a product says of it."""

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draws:
        """``count`` joint draws (count, *batch, D) in physical units; what their columns are is the
        estimator's own, and :meth:`Estimator.outputs` reads them."""
        ...


@dataclass(frozen=True)
class Learned:
    """Summaries of n pixels that were not drawn: ``stats`` (statistics, outputs, n), ``fit`` (n,), and where
    both can be ``trusted``, (n,) bool."""

    stats: Tensor
    fit: Tensor
    trusted: Tensor


class Estimator(abc.ABC):
    """From an observation to a posterior.

    ``generative``: the model whose posterior it is, or whose pixels it was made for; ``meta``: what its
    bundle says of it (``fit_threshold``, ``reflectance_range``, ``angle_range``, ...); ``spectra_per_pixel``:
    spectra that one :meth:`Posterior.draw` decodes at once for each pixel, which bounds the size of a batch;
    0 for none.

    ``has_state``: whether its draws are states of ``generative``; else they hold what it estimates, variable
    by variable. ``has_fit``: whether it explains the spectrum, so that :meth:`fit` is a number.
    """

    generative: Generative
    meta: dict[str, Any]
    spectra_per_pixel: int = 0
    has_state: ClassVar[bool] = True
    has_fit: ClassVar[bool] = True

    @property
    def reads_incomplete(self) -> bool:
        """Whether it knows the posterior of a pixel that lacks bands."""
        return False

    @property
    @abc.abstractmethod
    def device(self) -> torch.device:
        """Where it computes; a generator must live there too."""

    @property
    def domain(self) -> Domain | None:
        """What tells spectra of its training from others; None: it was not trained, or never asked."""
        return None

    @abc.abstractmethod
    def posterior(self, seen: Observation) -> Posterior:
        """The posterior of each element of ``seen``. Raises DataError for bands or platforms it cannot
        know."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands that it needs, in its own order."""
        return self.generative.bands

    @property
    def platforms(self) -> tuple[str, ...]:
        """Satellites that it knows."""
        return self.generative.platforms

    @property
    def estimates(self) -> tuple[Variable, ...]:
        """What :meth:`outputs` can say."""
        return self.generative.estimates

    def outputs(self, z: Tensor, seen: Observation, names: Sequence[str]) -> Tensor:
        """What a product says of draws ``z`` (*sample, *batch, D): (*sample, *batch, len(names)).

        ``names``: some of :attr:`estimates`.
        """
        return self.generative.outputs(z, seen, names)

    def understood(self, seen: Observation) -> Observation:
        """``seen`` in the bands of the generative model. Raises DataError for a band that was not observed,
        or for a platform that the model does not know; at dates of a season where nothing was seen no
        platform is looked at. Raises DataError too for a season whose days are unknown: all dates are asked
        about."""
        if seen.view is View.SEASON and (seen.day is None or not bool(seen.day.isfinite().all())):
            raise DataError("a date of a season has no day", "give day (*batch, date), one for each")
        known = self.platforms
        used = seen.platform[seen.valid.any(-1)] if seen.view is View.SEASON else seen.platform
        for index in used.unique().tolist():
            name = PLATFORMS[index] if 0 <= index < len(PLATFORMS) else f"number {index}"
            if name not in known:
                raise DataError(f"platform {name!r} is unknown to this model", f"it knows {', '.join(known)}")
        return seen.in_bands(self.bands)

    def fit(self, z: Tensor, seen: Observation) -> Tensor:
        """Distance (*batch) of draws ``z`` (K, *batch, D) from the observation, in units of its noise; NaN
        for an estimator that explains no spectrum (``has_fit`` is false)."""
        if not self.has_fit:
            return seen.geometry.new_full(seen.batch_shape, math.nan)
        return self.generative.fit(z, seen.in_bands(self.bands))

    def comparable(self, fit: Tensor, seen: Observation) -> Tensor:
        """``fit`` (n,) as one threshold can judge it: that of few bands is larger, by factors which the
        bundle knows (``fit_by_bands``); that of a season of few entries scatters more, and counts as
        if it were of one pass, by a power of their number (``fit_by_entries``)."""
        power = self.meta.get("fit_by_entries")
        if power is not None:
            count = seen.valid.flatten(1).sum(-1).clamp_min(1).to(fit)
            return fit * (count / len(seen.bands)) ** power
        factors = self.meta.get("fit_by_bands")
        if factors is None or seen.complete:
            return fit
        known = torch.tensor(factors, dtype=fit.dtype, device=fit.device)
        return fit * known[seen.valid.sum(-1).to(fit.device) - 1]


class Learning(Estimator):
    """An estimator that can also learn the summaries of its posteriors."""

    @property
    @abc.abstractmethod
    def learns(self) -> bool:
        """Whether it has learned them well enough for maps."""

    @abc.abstractmethod
    def learned(self, seen: Observation, names: Sequence[str], statistics: Sequence[str]) -> Learned:
        """Summaries of the variables ``names`` of each element of ``seen``, without draws."""
