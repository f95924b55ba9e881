"""The evidence lower bound with a weighted divergence (Higgins et al. 2017)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from canopyflow.models.estimators.amortised import Amortised
from canopyflow.observations.observation import Sample
from canopyflow.training.objectives.contract import Objective, at_least_zero, divergence_terms


@dataclass(frozen=True)
class BetaElbo(Objective):
    """The bound with its divergence weighted, annealed, and free up to a rate.

    ``beta``: weight of the divergence; ``anneal_steps``: steps over which it rises from 0 to there;
    ``free_bits``: bits per pixel, as a mean over the batch, below which the divergence costs nothing
    (Kingma et al. 2016, all variables as one group: a joint posterior has no divergence per variable).
    """

    beta: float = 1.0
    anneal_steps: int = 0
    free_bits: float = 0.0

    def __post_init__(self) -> None:
        at_least_zero(self, "beta_elbo")

    def loss(self, model: Amortised, sample: Sample, draws: int, step: int | None = None) -> Tensor:
        log_likelihood, divergence = divergence_terms(model, sample, draws)
        free = self.free_bits * math.log(2.0)
        charged = torch.where(divergence.mean() > free, divergence, torch.full_like(divergence, free))
        return self.weight(step) * charged - log_likelihood

    def weight(self, step: int | None) -> float:
        """Weight of the divergence after ``step`` steps; None: after annealing."""
        if step is None or step >= self.anneal_steps:
            return self.beta
        return self.beta * step / self.anneal_steps


OBJECTIVE = BetaElbo
