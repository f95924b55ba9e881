"""Neural posterior estimation: the forward divergence, on simulations."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.observations.observation import Sample, View, by_themselves
from canopyflow.training.objectives.contract import Objective


@dataclass(frozen=True)
class Npe(Objective):
    """−log q of the variables that made the spectrum; for families without a density, its bound.

    ``alone``: of each season so many of its dates are looked at by themselves too, as seasons of one date: a
    long season hardly ever teaches what a single date says, for its first date is rarely the only one seen.
    Raises ConfigError for what is no such number, and for pixels, which are alone anyhow.
    """

    alone: int = 0

    needs: ClassVar[frozenset[str]] = frozenset({"truth"})
    trains: ClassVar[tuple[str, ...]] = ("encoder", "family")
    weighs: ClassVar[bool] = False
    seasons_only: ClassVar[tuple[str, ...]] = ("alone",)

    def __post_init__(self) -> None:
        if isinstance(self.alone, bool) or not isinstance(self.alone, int) or self.alone < 0:
            remedy = "a whole number of at least 0"
            raise ConfigError(f"option 'alone' of objective 'npe' is {self.alone!r}", remedy)

    def loss(self, model: Amortised, sample: Sample, draws: int, step: int | None = None) -> Tensor:
        assert sample.truth is not None
        loss = -model.posterior(sample.seen).log_prob_bound(sample.truth)
        if not self.alone:
            return loss
        if sample.seen.view is not View.SEASON:
            raise ConfigError(
                f"option 'alone' of objective 'npe' is {self.alone}", "pixels are alone anyhow: 0"
            )
        few = by_themselves(sample, self.alone)
        assert few.truth is not None, "its season has one"
        return loss - model.posterior(few.seen).log_prob_bound(few.truth).view(len(loss), -1).sum(-1)


OBJECTIVE = Npe
