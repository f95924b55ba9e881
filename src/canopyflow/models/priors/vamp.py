"""The mean posterior of learned pseudo-inputs (Tomczak & Welling 2018, arXiv:1705.07120)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from canopyflow.models.priors.contract import LearnedPrior, PosteriorOf
from canopyflow.observations.observation import Observation

PSEUDO_INPUTS = 16
"""Components: each costs a posterior density for every draw."""


class VampPrior(LearnedPrior):
    """Pseudo-inputs are spectra with their geometry, of the model's first platform; they start as pixels of
    the training data."""

    angles: Tensor

    def __init__(self, bands: Sequence[str], lower: Tensor, upper: Tensor) -> None:
        super().__init__()
        self.reflectance = nn.Parameter(torch.full((PSEUDO_INPUTS, len(bands)), 0.2))
        self.register_buffer("angles", torch.zeros(PSEUDO_INPUTS, 3))

    def start(self, seen: Observation) -> None:
        """Start from the first pixels (n, band) of ``seen``; repeated if there are few."""
        rows = torch.arange(PSEUDO_INPUTS) % len(seen)
        with torch.no_grad():
            self.reflectance.copy_(seen.reflectance[rows])
            self.angles.copy_(seen.geometry[rows])

    def forward(self, u: Tensor, posterior: PosteriorOf) -> Tensor:
        each = posterior(self.reflectance, self.angles).log_prob(u.unsqueeze(-2))
        return torch.logsumexp(each, dim=-1) - torch.log(torch.tensor(float(PSEUDO_INPUTS)))


PRIOR = VampPrior
