"""What every learned prior is: a density on the base box with weights of its own."""

import abc
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from canopyflow import posteriors
from canopyflow.observations.observation import Observation
from canopyflow.posteriors.contract import Family, Posterior

NO_LEARNED_PRIOR = "physics"
"""The word of a campaign for none: the prior of the physics is used."""

PosteriorOf = Callable[[Tensor, Tensor], Posterior]
"""(pixels, bands) reflectance and (pixels, 3) degrees → posterior on the base box."""


class LearnedPrior(nn.Module, abc.ABC):
    """Built with the model's ``bands`` and with the ``lower`` and ``upper`` bounds (D,) of the base box."""

    @abc.abstractmethod
    def forward(self, u: Tensor, posterior: PosteriorOf) -> Tensor:
        """Log density (...) of ``u`` (..., D). ``posterior``: that of the model which is being trained."""

    def start(self, seen: Observation) -> None:
        """Start from noisy pixels of the training data; the default has nothing to take from them."""


class FamilyPrior(LearnedPrior):
    """A posterior family whose features are a constant: an unconditional mixture or flow."""

    of: ClassVar[type[Family]]
    one: Tensor

    def __init__(self, bands: Sequence[str], lower: Tensor, upper: Tensor) -> None:
        super().__init__()
        self.family = posteriors.build(self.of, len(lower), 1, lower, upper)
        self.register_buffer("one", torch.ones(1), persistent=False)

    def forward(self, u: Tensor, posterior: PosteriorOf) -> Tensor:
        return self.family(self.one).log_prob(u)
