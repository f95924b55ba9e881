"""Train a longitudinal autoencoder on seasons, drawn or real ones."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.longitudinal.model import Longitudinal
from canopyflow.observations.observation import Observation
from canopyflow.training.plain import Player, digest_of, train_plain


@dataclass(frozen=True)
class SeasonTraining:
    """How: ``steps`` of ``batch`` seasons, ``draws`` paths each, at the learning ``rate``.

    ``dates``: at most so many consecutive dates of a season in a step, None for all: a step costs in
    proportion to them, and a law whose dates may be left out is learned from pieces as well.
    ``hidden``: the largest share of a season's dates that a step hides; the share is drawn anew for each
    season and step, so that the posterior learns to do with few dates. ``foresight``: weight of the
    log-density that the paths give the hidden dates, one by one, beside the evidence bound of the others,
    which knows nothing of them; 0 for the bound alone. ``warm_up``: share of the steps over which
    log p − log q of the paths gains its full weight: without it a path learns to say nothing before the
    decoder has learned to listen.
    """

    steps: int = 3000
    batch: int = 64
    dates: int | None = None
    draws: int = 4
    rate: float = 2e-3
    hidden: float = 0.7
    foresight: float = 1.0
    warm_up: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 <= self.hidden < 1.0:
            raise ConfigError(f"a share {self.hidden} of hidden dates", "give at least 0 and less than 1")
        if self.foresight > 0.0 and self.hidden == 0.0:
            raise ConfigError("foresight of dates that are never hidden", "hide some, or set foresight to 0")


def train_longitudinal(
    model: Longitudinal,
    seen: Observation,
    how: SeasonTraining,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
) -> list[dict[str, Any]]:
    """Train ``model`` in place on seasons ``seen`` (n, date, band), and return the history of the loss.

    ``checkpoint``: see :func:`canopyflow.training.plain.train_plain`; other seasons, options or another pixel
    model start anew. The loss is in nats per season.
    """
    model.standardise(seen)
    # Buffers hold the constants of a pixel model.
    data = digest_of([*(t for t in vars(seen).values() if isinstance(t, Tensor)), *model.buffers()])
    model.train()
    assert seen.day is not None
    order = seen.day.argsort(dim=-1, stable=True)
    length = order.shape[-1]
    window = length if how.dates is None else min(how.dates, length)

    def batch(step: int) -> Observation:
        rows = torch.randint(len(seen), (min(how.batch, len(seen)), 1))
        first = torch.randint(length - window + 1, rows.shape)
        columns = order[rows, first + torch.arange(window)]
        return seen.each(lambda tensor: tensor[rows, columns])

    def loss(whole: Observation, step: int) -> Tensor:
        weight = min(1.0, (step + 1) / max(1.0, how.warm_up * how.steps))
        return objective(model, whole, how, weight)

    trained = [p for p in model.parameters() if p.requires_grad]
    if not model.options.innovations:
        # Steps between dates have then nothing to draw, and their networks no gradient.
        trained = [p for name, p in model.named_parameters() if p.requires_grad and ".step." not in name]
    history = train_plain(
        [Player(trained, loss)],
        batch,
        steps=how.steps,
        rate=how.rate,
        checkpoint=checkpoint,
        seed=seed,
        digest=f"{data} {how} {model.options}",
    )
    model.eval()
    return history


def objective(model: Longitudinal, whole: Observation, how: SeasonTraining, weight: float = 1.0) -> Tensor:
    """The loss of a batch, nats per season: minus the bound of the dates that are not hidden, whose paths'
    log p − log q counts ``weight`` times, and minus the foresight of those that are."""
    kept, hidden = hold_back_dates(whole, how.hidden)
    paths = model.paths(kept, how.draws)
    likelihood = model.decoder.log_likelihood(paths.z, whole)
    known = kept.valid.any(-1)
    bound = torch.where(known, likelihood, 0.0).sum(-1) + weight * paths.log_ratio
    total = -bound.mean()
    if how.foresight > 0.0:
        # The mean density of the paths, date by date: what a product says of one hidden date.
        ahead = torch.logsumexp(likelihood, dim=0) - torch.tensor(float(how.draws)).log()
        total = total - how.foresight * torch.where(hidden, ahead, 0.0).sum(-1).mean()
    return total


def hold_back_dates(whole: Observation, most: float) -> tuple[Observation, Tensor]:
    """``whole`` (n, date, band) with up to a share ``most`` of each season's observed dates hidden, and which
    (n, date) are. At least one observed date stays. Uses torch's global generator."""
    observed = whole.valid.any(-1)
    share = most * torch.rand(len(whole), 1)
    # The rank of a date among the observed ones, in random order.
    score = torch.rand(observed.shape).to(observed.device).masked_fill(~observed, 2.0)
    rank = score.argsort(-1).argsort(-1)
    count = observed.sum(-1, keepdim=True)
    hidden = observed & (rank < torch.minimum((share.to(score) * count).round(), count - 1.0))
    return replace(whole, valid=whole.valid & ~hidden[..., None]), hidden
