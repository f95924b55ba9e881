"""What every objective is, and the terms that several share.

An objective is a frozen dataclass; its fields are its options. Those with a likelihood term need no truth and
can look at observed pixels.
"""

import abc
import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.estimators.amortised import Amortised, PhysicalPosterior
from canopyflow.observations.observation import Sample, View
from canopyflow.posteriors.contract import Family


class Objective(abc.ABC):
    """What training minimises."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """What it needs of the source of its samples: "truth", the state behind each observation."""

    trains: ClassVar[tuple[str, ...]] = ("encoder", "family", "learned_prior")
    """Parts of the model that it trains; the weights of all others stay as they are."""

    weighs: ClassVar[bool] = True
    """Whether it weighs states by the density of their prior, which not every season prior has."""

    of_seasons: ClassVar[bool] = True
    """Whether it can look at seasons, and not at pixels alone."""

    seasons_only: ClassVar[tuple[str, ...]] = ()
    """Options that say how seasons are looked at; for pixels they stay 0."""

    stops_early: ClassVar[bool] = True
    """Whether the weights of the best epoch are kept, and a phase ends when none gets better; or those of the
    last."""

    @abc.abstractmethod
    def loss(self, model: Amortised, sample: Sample, draws: int, step: int | None = None) -> Tensor:
        """Loss of each element of the batch, (B,), from ``draws`` posterior draws of each.

        ``sample``: with noise already on it. ``step``: optimizer steps done in this phase, for what is
        annealed; None: at its final value.
        """

    def at_once(self, view: View) -> int:
        """Batches that :meth:`turns` takes together, of models that look at a ``view``."""
        return 1

    def turns(
        self, model: Amortised, sample: Sample, draws: int, step: int, batch_size: int
    ) -> Iterator[Callable[[], Tensor]]:
        """One loss for each optimizer step, in their order, of the ``sample`` of :meth:`at_once` batches of
        ``batch_size``; a loss is computed when it is called, by the weights of then. ``step``: that of the
        first."""
        return iter([partial(self.loss, model, sample, draws, step)])


def divergence_terms(model: Amortised, sample: Sample, draws: int) -> tuple[Tensor, Tensor]:
    """Mean log-likelihood and divergence of posterior from prior, both (B,), over K draws.

    On the base box, where the Jacobians have cancelled. Where the family knows its divergence from the
    uniform distribution in closed form, no sampling noise of log q enters.
    """
    q: PhysicalPosterior = model.posterior(sample.seen)
    u, log_q = q.base.rsample_and_log_prob((draws,))
    closed = q.base.kl_uniform()
    if closed is None:
        negative_entropy = log_q.mean(0)
    else:
        assert isinstance(model.family, Family), "trajectories have none"
        negative_entropy = closed.sum(-1) - (model.family.upper - model.family.lower).log().sum()
    return q.base_log_likelihood(u).mean(0), negative_entropy - model.log_prior(u, sample.seen).mean(0)


def at_least_zero(objective: Objective, name: str) -> None:
    """Raises ConfigError for an option of the objective called ``name`` that is no number of at least 0."""
    options: Any = objective
    for f in fields(options):
        value = getattr(options, f.name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(
                f"option {f.name!r} of objective {name!r} is {value!r}", "a number of at least 0"
            )
