"""What every season prior is: a distribution of trajectories, drawn from and perhaps with a density.

A trajectory is given in the *normal scores* of the pixel model
(:meth:`canopyflow.models.generative.contract.Generative.from_scores`): coordinates in which the law of a
single date is a standard normal distribution.
"""

import abc
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from canopyflow.errors import ConfigError
from canopyflow.models.generative.contract import Generative
from canopyflow.options import Table


class SeasonPrior(nn.Module, abc.ABC):
    """Built with the pixel model ``base``; ``names``: its variables, in the order of the last axis.

    ``has_density``: whether :meth:`log_prob` exists. Days are days since 1 January of the season's year: they
    may be negative, beyond 365, and in any order. ``TABLES``: its options that are tables, see
    :mod:`canopyflow.options`.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {}
    has_density: ClassVar[bool] = False

    def __init__(self, base: Generative) -> None:
        super().__init__()
        self.names: tuple[str, ...] = base.space.names

    @abc.abstractmethod
    def sample(self, day: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A trajectory (n, T, D), normal scores, for each row of ``day`` (n, T)."""

    def log_prob(self, w: Tensor, day: Tensor) -> Tensor:
        """Log density (*sample, n) of ``w`` (*sample, n, T, D), normal scores. Raises ConfigError for a prior
        that can only be drawn from."""
        raise without_density(self)

    def root(self, day: Tensor) -> Tensor | None:
        """For a normal prior, (n, D, T, T): variable k of a trajectory is root[:, k] times standard normal
        numbers. None for others."""
        return None

    def expected(self, day: Tensor) -> Tensor | None:
        """Roots (n, D, T, T), in order of the ``day`` (n, T), of the normal process by which a chain of dates
        tells innovations. Any will do; the nearer it is to this prior the less is left to learn. Dates of it
        have some variance of their own, so that two on one day do not determine each other. None: the chain
        tells the states themselves."""
        return None


def without_density(prior: SeasonPrior) -> ConfigError:
    """What to raise where the density of a ``prior`` is asked for that has none."""
    return ConfigError(
        f"the season prior {type(prior).__name__} has no density",
        "it can be drawn from, which npe needs; for elbo, smoother and chains take season_gp",
    )
