"""Another estimator's draws, corrected by the physics to the exact posterior by importance weights."""

from __future__ import annotations

import torch

from canopyflow.errors import ConfigError
from canopyflow.models.domain import Domain
from canopyflow.models.estimators.amortised import Amortised, PhysicalPosterior
from canopyflow.models.estimators.contract import Estimator
from canopyflow.observations.observation import Observation, View
from canopyflow.samplers.contract import Draws, Target
from canopyflow.samplers.importance import Importance


class Refined(Estimator):
    """Wraps an estimator ``base`` whose posteriors have draws with a density.

    Options: ``proposals``: draws of the base per pixel; ``least_ess``: effective ones for a reliable pixel.
    """

    def __init__(self, base: Amortised, proposals: int = 2000, least_ess: float = 100.0) -> None:
        self.base, self.sampler = base, Importance(proposals, least_ess)
        self.generative, self.meta, self.spectra_per_pixel = base.generative, base.meta, proposals

    @property
    def reads_incomplete(self) -> bool:
        return self.base.reads_incomplete

    @property
    def device(self) -> torch.device:
        return self.base.device

    @property
    def domain(self) -> Domain | None:
        return self.base.domain

    def posterior(self, seen: Observation) -> RefinedPosterior:
        return RefinedPosterior(self.base.posterior(seen), self.sampler)


class RefinedPosterior:
    """The exact posterior, drawn from by importance sampling with ``q`` as the proposal."""

    def __init__(self, q: PhysicalPosterior, sampler: Importance) -> None:
        self.q, self.sampler = q, sampler

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draws:
        target = Target(
            log_density=self.q.base_log_joint,
            outward=self.q.prior.to_physical,
            proposal=self.q.base.rsample_and_log_prob,
        )
        return self.sampler.draw(target, (count,), generator)


def check_refinement(refine: str) -> None:
    """Raises ConfigError for a word that is no kind of refinement."""
    if refine not in ("none", "importance"):
        raise ConfigError(f"refinement {refine!r} is unknown", "use none or importance")


def refined(base: Estimator, refine: str, proposals: int, least_ess: float) -> Estimator:
    """``base`` as it is for ``refine`` "none", wrapped for "importance". Raises ConfigError for another word,
    and for an estimator whose draws have no density to weigh them by."""
    check_refinement(refine)
    if refine == "none":
        return base
    if not isinstance(base, Amortised):
        raise ConfigError(
            f"estimator {type(base).__name__!r} cannot be refined: its draws have no density", "use none"
        )
    if base.encoder.view is not View.PIXEL:
        raise ConfigError(
            f"a model of {base.encoder.view.value}s cannot be refined: in so many dimensions no draw is "
            "worth more than others",
            "use none; chains of seasons are the sampler hmc_wide",
        )
    return Refined(base, proposals, least_ess)


ESTIMATOR = Refined
