"""The posterior itself, sampled anew for every pixel or season: slow, exact, independent of any training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.generative.contract import Generative
from canopyflow.observations.observation import Observation
from canopyflow.samplers.contract import Draws, Sampler, Target

_CANDIDATES = 1024
"""Prior draws for each pixel among which its chains find their starts."""


class Sampled(Estimator):
    """``generative`` and a ``sampler`` of its density in probit coordinates."""

    def __init__(self, base: Generative, sampler: Sampler) -> None:
        self.generative, self.sampler = base, sampler
        self.meta: dict[str, Any] = {}

    @property
    def reads_incomplete(self) -> bool:
        """The density is that of the valid bands."""
        return True

    @property
    def device(self) -> torch.device:
        return next(iter(self.generative.buffers()), self.generative.space.lower).device

    def posterior(self, seen: Observation) -> SampledPosterior:
        return SampledPosterior(self.sampler, density(self.generative, self.understood(seen)))


class SampledPosterior:
    """A target that is sampled when it is asked for draws."""

    def __init__(self, sampler: Sampler, target: Target) -> None:
        self.sampler, self.target = sampler, target

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draws:
        return self.sampler.draw(self.target, (count,), generator)


def density(model: Generative, seen: Observation) -> Target:
    """p(z | x) of each of the n elements of ``seen``, in probit coordinates, or in those of the model's own
    target."""
    own = model.target(seen)
    if own is not None:
        return own
    prior = model.prior(seen)

    def log_density(w: Tensor) -> Tensor:
        return model.log_density(w, seen)

    def start(count: int, g: torch.Generator) -> Tensor:
        """Prior draws (count, n, D), chosen by weight: their likelihood to the power 1/10.

        So tempered, the chains start wider apart than the posterior is, as R-hat requires, and yet on the
        side of the prior where it lies.
        """
        n = len(seen)
        base = prior.to_base(prior.sample(_CANDIDATES * n, g)).reshape(_CANDIDATES, n, -1)
        w = model.to_probit(base)
        with torch.no_grad():
            excess = log_density(w) - prior.log_prob_base(base) + 0.5 * w.square().sum(-1)
        weights = torch.softmax(0.1 * excess.nan_to_num(nan=-1e9), dim=0) + 1e-12
        chosen = torch.multinomial(weights.T, count, generator=g)
        return w[chosen.T, torch.arange(n, device=w.device)]

    def information(w: Tensor) -> Tensor:
        """Fisher information of the likelihood, with the noise held as it is at ``w``, plus the precision
        that the prior would have if it were uniform on the base box."""
        value, jacobian = model.linearise(w, seen)
        jacobian = torch.where(seen.valid.unsqueeze(-1), jacobian, 0.0)
        likelihood = jacobian.mT @ model.noise_precision(value, seen.valid) @ jacobian
        return likelihood + torch.eye(w.shape[-1]).to(w)

    return Target(
        log_density=log_density,
        outward=lambda w: prior.to_physical(model.from_probit(w)),
        start=start,
        rows=lambda index: density(model, seen.rows(index)),
        information=information,
    )


ESTIMATOR = Sampled
