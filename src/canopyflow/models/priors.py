"""Learned priors on the base box, for objectives with a prior term (empirical Bayes).

The physical prior stays what the campaign says: simulations are drawn from it, the reference posterior, the
importance weights and the refinement use it. A learned prior replaces it *inside* ``elbo``, ``beta_elbo``
and ``iwae`` only, where it is fitted to the pixels looked at. ``npe`` has no prior term (its prior is the law
of the simulations) and leaves a learned prior as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from canopyflow import posteriors
from canopyflow.errors import ConfigError
from canopyflow.posteriors.contract import Posterior

NO_LEARNED_PRIOR = "physics"
PRIOR_FAMILIES = {"mixture": "mixture", "flow": "nsf"}
"""Learned prior → the posterior family whose law, of a constant feature, it is."""
PSEUDO_INPUTS = 16
"""Components of the VampPrior: each costs a posterior density for every draw."""

PosteriorOf = Callable[[Tensor, Tensor], Posterior]
"""(pixels, bands) reflectance and (pixels, 3) degrees → posterior on the base box."""


class FamilyPrior(nn.Module):
    """A posterior family told nothing but a constant: a mixture or a flow without conditions."""

    one: Tensor

    def __init__(self, family: str, lower: Tensor, upper: Tensor) -> None:
        super().__init__()
        self.family = posteriors.build(family, len(lower), 1, lower, upper)
        self.register_buffer("one", torch.ones(1), persistent=False)

    def forward(self, u: Tensor, posterior: PosteriorOf) -> Tensor:
        """Log density (...) of ``u`` (..., D)."""
        value: Tensor = self.family(self.one).log_prob(u)
        return value


class VampPrior(nn.Module):
    """The mean posterior of learned pseudo-inputs (Tomczak & Welling 2018, arXiv:1705.07120).

    Pseudo-inputs are spectra with their geometry, of the model's first platform; they start as pixels of
    the training data.
    """

    angles: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.reflectance = nn.Parameter(torch.full((PSEUDO_INPUTS, bands), 0.2))
        self.register_buffer("angles", torch.zeros(PSEUDO_INPUTS, 3))

    def start(self, reflectance: Tensor, angles: Tensor) -> None:
        """Start from the first pixels of ``reflectance`` (n, bands), ``angles`` (n, 3); repeated if few."""
        rows = torch.arange(PSEUDO_INPUTS) % len(reflectance)
        with torch.no_grad():
            self.reflectance.copy_(reflectance[rows])
            self.angles.copy_(angles[rows])

    def forward(self, u: Tensor, posterior: PosteriorOf) -> Tensor:
        """Log density (...) of ``u`` (..., D)."""
        each = posterior(self.reflectance, self.angles).log_prob(u.unsqueeze(-2))
        return torch.logsumexp(each, dim=-1) - torch.log(torch.tensor(float(PSEUDO_INPUTS)))


LEARNED_PRIORS: tuple[str, ...] = (NO_LEARNED_PRIOR, *PRIOR_FAMILIES, "vamp")


def build_learned_prior(name: str, bands: int, lower: Tensor, upper: Tensor) -> nn.Module | None:
    """The learned prior called ``name``, None for "physics"; ConfigError for an unknown one."""
    if name not in LEARNED_PRIORS:
        near = get_close_matches(str(name), LEARNED_PRIORS, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"unknown learned prior {name!r}", f"{hint}known: {', '.join(LEARNED_PRIORS)}")
    if name == NO_LEARNED_PRIOR:
        return None
    if name == "vamp":
        return VampPrior(bands)
    return FamilyPrior(PRIOR_FAMILIES[name], lower, upper)


@contextmanager
def held(*modules: nn.Module) -> Iterator[None]:
    """Within the block the weights of ``modules`` are constants to whatever is computed."""
    learned: Sequence[nn.Parameter] = [p for m in modules for p in m.parameters() if p.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
