"""Learned priors: each is a density on the base box."""

import math

import pytest
import torch
from torch import Tensor

from canopyflow.models.priors.contract import FamilyPrior
from canopyflow.posteriors import build
from canopyflow.posteriors.contract import Posterior
from canopyflow.registry import PRIORS
from canopyflow.vocabulary import BANDS


@pytest.mark.parametrize("name", sorted(PRIORS))
def test_a_learned_prior_is_a_density_on_the_base_box(name: str) -> None:
    """E[p(u)/uniform(u)] over uniform draws is one."""
    lower, upper = torch.zeros(2), torch.tensor([1.0, 3.0])
    torch.manual_seed(0)
    prior, family = PRIORS.build(name, BANDS, lower, upper), build("truncated_normal", 2, 3, lower, upper)

    def posterior(reflectance: Tensor, angles: Tensor) -> Posterior:
        if isinstance(prior, FamilyPrior):
            pytest.fail("it needs no posterior")
        return family(torch.linspace(-1.0, 1.0, 3 * len(reflectance)).reshape(-1, 3))

    u = lower + (upper - lower) * torch.rand(40_000, 2)
    with torch.no_grad():
        ratio = (prior(u, posterior) + math.log(3.0)).exp()
    assert abs(ratio.mean() - 1.0) < 5 * ratio.std() / 200
