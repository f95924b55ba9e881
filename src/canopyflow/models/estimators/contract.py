"""What every estimator is: it is given an observation and returns a posterior, which can be drawn from."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.models.domain import Domain
from canopyflow.models.generative.contract import Generative
from canopyflow.observations.observation import Observation
from canopyflow.samplers.contract import Draws
from canopyflow.vocabulary import PLATFORMS, Variable


class Posterior(Protocol):
    """What is known of the state after an observation."""

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draws:
        """``count`` joint draws (count, *batch, D) in physical units."""
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

    ``generative``: the model whose posterior it is; ``meta``: what its bundle says of it (``fit_threshold``,
    ``reflectance_range``, ``angle_range``, ...); ``spectra_per_pixel``: spectra that one
    :meth:`Posterior.draw` decodes at once for each pixel, which bounds the size of a batch; 0 for none.
    """

    generative: Generative
    meta: dict[str, Any]
    spectra_per_pixel: int = 0

    @property
    def estimates(self) -> tuple[Variable, ...]:
        """What it can say of a pixel; by default all that the generative model can."""
        return self.generative.estimates

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

    def understood(self, seen: Observation) -> Observation:
        """``seen`` in the bands of the generative model. Raises DataError for a band that was not observed,
        or for a platform that the model does not know."""
        known = self.generative.platforms
        for index in seen.platform.unique().tolist():
            if PLATFORMS[index] not in known:
                raise DataError(
                    f"platform {PLATFORMS[index]!r} is unknown to this model", f"it knows {', '.join(known)}"
                )
        return seen.in_bands(self.generative.bands)

    def fit(self, z: Tensor, seen: Observation) -> Tensor:
        """Distance (*batch) of draws ``z`` (K, *batch, D) from the observation, in units of its noise."""
        return self.generative.fit(z, seen.in_bands(self.generative.bands))


class Learning(Estimator):
    """An estimator that can also learn the summaries of its posteriors."""

    @property
    @abc.abstractmethod
    def learns(self) -> bool:
        """Whether it has learned them well enough for maps."""

    @abc.abstractmethod
    def learned(self, seen: Observation, names: Sequence[str], statistics: Sequence[str]) -> Learned:
        """Summaries of the variables ``names`` of each element of ``seen``, without draws."""
