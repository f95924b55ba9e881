"""A normalising flow, fitted to the pixels looked at."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from canopyflow.models.priors.contract import FamilyPrior
from canopyflow.posteriors.nsf import NeuralSpline


class FlowPrior(FamilyPrior):
    """The family ``nsf``, unconditional."""

    def __init__(self, bands: Sequence[str], lower: Tensor, upper: Tensor) -> None:
        super().__init__(NeuralSpline, lower, upper)


PRIOR = FlowPrior
