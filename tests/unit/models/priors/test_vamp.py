"""The mean posterior of pseudo-inputs."""

import torch
from untrained import ANGLES, untrained

from canopyflow.models.priors.vamp import PSEUDO_INPUTS, VampPrior
from canopyflow.observations.observation import Given
from canopyflow.vocabulary import BANDS


def test_vamp_prior_is_the_mean_posterior_of_its_pseudo_inputs() -> None:
    """Three pixels are repeated until there are enough; the first platform sees them."""
    model = untrained(platforms=("S2B", "S2A"), learned_prior="vamp")
    assert isinstance(model.learned_prior, VampPrior)
    g = torch.Generator().manual_seed(1)
    given = Given(geometry=ANGLES, platform=torch.ones(3, dtype=torch.long), bands=BANDS)
    sample = model.generative.simulate(given, g)
    model.learned_prior.start(sample.seen)
    assert sample.truth is not None
    u = model.generative.prior().to_base(sample.truth)
    with torch.no_grad():
        each = model.posterior(sample.seen).base.log_prob(u.unsqueeze(1)).exp()  # (point, pseudo-input)
        share = torch.bincount(torch.arange(PSEUDO_INPUTS) % 3) / PSEUDO_INPUTS
        torch.testing.assert_close(model.log_prior(u).exp(), (each * share).sum(1), rtol=1e-3, atol=1e-12)
