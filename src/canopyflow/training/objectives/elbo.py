"""The evidence lower bound."""

from dataclasses import dataclass

from torch import Tensor

from canopyflow.models.estimators.amortised import Amortised
from canopyflow.observations.observation import Sample
from canopyflow.training.objectives.contract import Objective, divergence_terms


@dataclass(frozen=True)
class Elbo(Objective):
    """Negative evidence lower bound."""

    def loss(self, model: Amortised, sample: Sample, draws: int, step: int | None = None) -> Tensor:
        log_likelihood, divergence = divergence_terms(model, sample, draws)
        return divergence - log_likelihood


OBJECTIVE = Elbo
