"""A mixture of correlated distributions, fitted to the pixels looked at."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from canopyflow.models.priors.contract import FamilyPrior
from canopyflow.posteriors.mixture import Mixture


class MixturePrior(FamilyPrior):
    """The family ``mixture``, unconditional."""

    def __init__(self, bands: Sequence[str], lower: Tensor, upper: Tensor) -> None:
        super().__init__(Mixture, lower, upper)


PRIOR = MixturePrior
