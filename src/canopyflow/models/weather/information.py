"""What weather says of a variable on clouded dates, as information for a season's posterior.

A model of maps from weather knows the law of, say, leaf area at a pixel on a date, p(w|X), in normal scores w
of the pixel model. The season's prior already holds p(w) = N(0, 1) for each date. What weather adds is
the ratio of the two: a measurement of w of precision 1/s² − 1 where p(w|X) = N(m, s²). It is nothing where
weather says no more than the prior, and it is left out on dates that were seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.generative._season import Season
from canopyflow.models.generative.contract import Generative
from canopyflow.models.priors.seasons.contract import SeasonPrior
from canopyflow.observations.observation import Observation
from canopyflow.registry import nearest

MEMORY = 30.0
"""Days over which errors of forecasts from weather are alike: a late field stays late."""

_EDGE = 1e-4
"""Values beyond what the variable's law allows count as this share of its range inside."""


@dataclass(frozen=True)
class Information:
    """Measurements of the normal score of one variable: ``value`` and ``precision`` (*batch, T), the latter 0
    where there is none; ``column``: of the variable among those of the pixel model."""

    column: int
    value: Tensor
    precision: Tensor

    def rows(self, index: Tensor | slice) -> Information:
        """That of the elements at ``index`` of the first axis of the batch."""
        return Information(self.column, self.value[index], self.precision[index])

    def log_factor(self, w: Tensor) -> Tensor:
        """Log likelihood (*sample, *batch), up to a constant, of normal scores (*sample, *batch, T, D)."""
        return (-0.5 * self.precision * (w[..., self.column] - self.value).square()).sum(-1)

    def log_weights(self, w: Tensor) -> Tensor:
        """Normalised log weights (K, *batch) by which draws ``w`` (K, *batch, T, D) of a posterior that did
        not know the weather become draws of one that does."""
        found = self.log_factor(w)
        return found - found.logsumexp(0)


def information(
    base: Generative, name: str, drawn: Tensor, seen: Observation, memory: float = MEMORY
) -> Information:
    """From ``drawn`` (S, *batch, T), values of the variable ``name`` that weather makes likely at the dates
    of ``seen``, each date on its own, in the variable's unit (see
    :func:`canopyflow.models.weather.forecast.draw_maps`).

    Errors of dates within ``memory`` days are alike: together they count as about one. Raises ConfigError
    for a name that ``base`` lacks.
    """
    names = base.space.names
    if name not in names:
        raise ConfigError(f"no variable {name!r} to be informed about", nearest(name, names))
    column = names.index(name)
    w = normal_scores(base, column, drawn)
    mean, variance = w.mean(0), w.var(0).clamp(min=1e-4)
    asked = ~seen.valid.any(-1)
    precision = (1.0 / variance - 1.0).clamp(min=0.0) * asked
    assert seen.day is not None
    day = seen.day.to(precision.dtype)
    alike = torch.exp(-(day.unsqueeze(-1) - day.unsqueeze(-2)).abs() / memory)
    crowd = (alike * (precision > 0.0).to(alike.dtype).unsqueeze(-2)).sum(-1).clamp(min=1.0)
    # N(m, s²) / N(0, 1) has its centre beyond m.
    value = torch.where(precision > 0.0, mean / variance / (1.0 / variance - 1.0).clamp(min=1e-6), 0.0)
    return Information(column, value, precision / crowd)


def normal_scores(base: Generative, column: int, values: Tensor) -> Tensor:
    """Normal scores (...) of ``values`` (...) of one variable; the others are at the middle of their law."""
    prior = base.prior()
    middle = prior.to_physical(base.from_scores(torch.zeros(len(base.space.names), dtype=values.dtype)))
    z = middle.expand(*values.shape, -1).clone()
    z[..., column] = values
    u = prior.to_base(z)
    lower, upper = prior.lower.to(u), prior.upper.to(u)
    edge = _EDGE * (upper - lower)
    return base.to_scores(u.clamp(lower + edge, upper - edge))[..., column]


class Informed(Season):
    """A season that also knows ``extra``, what weather says on dates without a measurement.

    Samplers that take a likelihood (``hmc``, ``importance``) use it; ``smoother`` linearises the measurement
    alone and does not. Draws of a trained encoder are weighted (:meth:`Information.log_weights`).
    """

    def __init__(self, base: Generative, dynamics: SeasonPrior, extra: Information) -> None:
        super().__init__(base, dynamics)
        self.extra = extra

    def of_rows(self, index: Tensor | slice) -> Informed:
        return Informed(self.base, self.dynamics, self.extra.rows(index))

    def log_likelihood(self, z: Tensor, seen: Observation) -> Tensor:
        if self.extra.value.shape != seen.valid.shape[:-1]:
            raise DataError(
                f"information for {tuple(self.extra.value.shape)} seasons and dates, "
                f"and {tuple(seen.valid.shape[:-1])} were seen",
                "make it of the same observation, or take of_rows",
            )
        w = self.to_scores(self.prior(seen).to_base(z))
        return super().log_likelihood(z, seen) + self.extra.log_factor(w)
