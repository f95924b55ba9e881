"""Neural posterior estimation: the forward divergence, on simulations."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from canopyflow.models.estimators.amortised import Amortised
from canopyflow.observations.observation import Sample
from canopyflow.training.objectives.contract import Objective


@dataclass(frozen=True)
class Npe(Objective):
    """−log q of the variables that made the spectrum; for families without a density, its bound."""

    needs: ClassVar[frozenset[str]] = frozenset({"truth"})
    trains: ClassVar[tuple[str, ...]] = ("encoder", "family")
    weighs: ClassVar[bool] = False

    def loss(self, model: Amortised, sample: Sample, draws: int, step: int | None = None) -> Tensor:
        assert sample.truth is not None
        return -model.posterior(sample.seen).log_prob_bound(sample.truth)


OBJECTIVE = Npe
