"""The importance-weighted bound (Burda et al. 2016)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from canopyflow.models.estimators.amortised import Amortised, held
from canopyflow.observations.observation import Sample
from canopyflow.training.objectives.contract import Objective


@dataclass(frozen=True)
class Iwae(Objective):
    """Negative importance-weighted bound with the doubly reparametrised gradient.

    The plain gradient's signal-to-noise ratio falls with the number of draws (Rainforth et al. 2018); with
    the score of q removed and the weights squared it grows (DReG: Tucker et al. 2019, arXiv:1810.04152).
    That needs q at a point with its parameters held, so families without a density take the plain one.
    """

    def loss(self, model: Amortised, sample: Sample, draws: int, step: int | None = None) -> Tensor:
        q = model.posterior(sample.seen)
        u, log_q = q.base.rsample_and_log_prob((draws,))
        if not q.has_density:
            log_weight = q.base_log_likelihood(u) + model.log_prior(u, sample.seen) - log_q
            return math.log(draws) - torch.logsumexp(log_weight, dim=0)
        with held(model):
            log_prior = model.log_prior(u, sample.seen)
        path = q.base_log_likelihood(u) + log_prior - q.held_log_prob(u)
        weight = torch.softmax(path.detach(), dim=0)
        surrogate = (weight.square() * path).sum(0)
        if model.learned_prior is not None:
            surrogate = surrogate + (weight * model.log_prior(u.detach(), sample.seen)).sum(0)
        bound = torch.logsumexp(path.detach(), dim=0) - math.log(draws)
        # Straight-through: evaluates to the bound, and backpropagates the DReG surrogate.
        return -(bound + surrogate - surrogate.detach())


OBJECTIVE = Iwae
