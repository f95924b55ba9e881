"""What every encoder is: a network from an :class:`Observation` to features."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from canopyflow.errors import ConfigError
from canopyflow.models.missing import hide
from canopyflow.observations.observation import Observation, View

if TYPE_CHECKING:
    from canopyflow.models.generative.contract import Generative
    from canopyflow.models.summaries import Summaries
    from canopyflow.posteriors.contract import Family


class Encoder(nn.Module, abc.ABC):
    """Built with the ``bands`` and ``platforms`` of a model and with its own options.

    ``view``: what one element of its batches covers; ``features``: length of its output; ``hidden``: share of
    the training pixels that lose some of their bands, so that it can read pixels which lack some; with 0 it
    refuses these. ``SHARES``: the options that are shares.
    """

    SHARES: ClassVar[tuple[str, ...]] = ("hidden",)
    view: ClassVar[View]
    features: int
    hidden: float = 0.0

    @abc.abstractmethod
    def standardise(self, seen: Observation) -> None:
        """Take what normalises the input from noisy observations, once, before training."""

    @abc.abstractmethod
    def normalisation(self) -> dict[str, Any]:
        """What :meth:`standardise` took, as plain values for ``model.json``."""

    def thinned(self, seen: Observation, generator: torch.Generator | None = None) -> Observation:
        """``seen`` as it is trained on: with some of it hidden at random, where it is to read what lacks
        some."""
        return hide(seen, self.hidden, generator) if self.hidden else seen

    # What a model around this encoder is made of besides. An encoder of another view brings its own along:
    # then the code of that view is code of its models alone.

    def generative(self, pixel: Generative, dynamics: str, options: Mapping[str, Any]) -> Generative:
        """The model of what this encoder looks at, from that of a ``pixel`` and the prior of trajectories of
        this name. Raises ConfigError where it looks at pixels."""
        raise ConfigError(
            f"{type(self).__name__} looks at a {self.view.value}, which has no prior of trajectories",
            "take an encoder of seasons",
        )

    def law(self, family: Family, generative: Generative) -> nn.Module:
        """The law of the states of ``generative``, from a family of states of one date."""
        return family

    @classmethod
    def summaries(cls) -> type[Summaries]:
        """The network that learns the summaries; it stretches spectra as encoders do, hence the late
        import."""
        from canopyflow.models.summaries import Summaries

        return Summaries

    def beside_summaries(self) -> dict[str, Any]:
        """What that network is built with beside its own options."""
        return {"incomplete": self.hidden > 0}

    @abc.abstractmethod
    def forward(self, seen: Observation) -> Tensor:
        """Features (*batch, features). What stands under an invalid entry must not change them."""
