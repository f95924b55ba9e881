"""What every encoder is: a network from an :class:`Observation` to features."""

import abc
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from canopyflow.models.missing import hide
from canopyflow.observations.observation import Observation, View


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

    @abc.abstractmethod
    def forward(self, seen: Observation) -> Tensor:
        """Features (*batch, features). What stands under an invalid entry must not change them."""
