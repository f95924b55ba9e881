"""Learned priors: each is a density on the base box."""

import math

import pytest
import torch
from torch import Tensor
from untrained import untrained

from canopyflow.models.priors.contract import FamilyPrior
from canopyflow.models.priors.vamp import PSEUDO_INPUTS, VampPrior
from canopyflow.observations.observation import Given
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


def test_vamp_prior_is_the_mean_posterior_of_its_pseudo_inputs() -> None:
    """Three pixels are repeated until there are enough; the first platform sees them."""
    model = untrained(platforms=("S2B", "S2A"), learned_prior="vamp")
    assert isinstance(model.learned_prior, VampPrior)
    g = torch.Generator().manual_seed(1)
    geometry = torch.tensor([[35.0, 4.0, 100.0], [55.0, 9.0, 20.0], [20.0, 2.0, 170.0]])
    given = Given(geometry=geometry, platform=torch.ones(3, dtype=torch.long), bands=BANDS)
    sample = model.generative.simulate(given, g)
    model.learned_prior.start(sample.seen)
    assert sample.truth is not None
    u = model.generative.prior().to_base(sample.truth)
    with torch.no_grad():
        each = model.posterior(sample.seen).base.log_prob(u.unsqueeze(1)).exp()  # (point, pseudo-input)
        share = torch.bincount(torch.arange(PSEUDO_INPUTS) % 3) / PSEUDO_INPUTS
        torch.testing.assert_close(model.log_prior(u).exp(), (each * share).sum(1), rtol=1e-3, atol=1e-12)
