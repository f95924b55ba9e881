"""Training of the denoiser of a season prior, on segments drawn from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from canopyflow.models.assimilation.segments import SegmentDenoiser
from canopyflow.models.generative.contract import Generative
from canopyflow.models.priors.seasons.contract import SeasonPrior
from canopyflow.models.runtime import generator
from canopyflow.training.plain import Player, digest_of, train_plain

LEVELS = (-1.0, 1.6)
"""Mean and standard deviation of the logarithm of the level of noise."""

GAPS = (2.0, 40.0)
"""Days between dates: the mean of a segment lies between these, evenly in its logarithm."""

FIRST, LAST = -20.0, 385.0
"""Days of the year on which the middle of a segment lies."""

_BOUNDS = (-6.0, 4.0)
"""Of the logarithm of the level of noise."""


@dataclass(frozen=True)
class DenoiserOptions:
    """``reach``: dates on each side of a segment's middle; ``width``, ``layers`` of the network; ``steps`` of
    training on ``batch`` fresh segments each."""

    reach: int = 3
    width: int = 256
    layers: int = 3
    steps: int = 4000
    batch: int = 256
    rate: float = 1e-3


def train_denoiser(
    base: Generative,
    dynamics: SeasonPrior,
    options: DenoiserOptions = DenoiserOptions(),
    seed: int = 0,
    checkpoint: Path | None = None,
) -> tuple[SegmentDenoiser, list[dict[str, Any]]]:
    """A denoiser of segments of ``dynamics`` over the pixel model ``base``, and the history of its loss.

    A loss of 1 is that of ``season_gp``'s denoiser; less says how much of what that leaves open was learned.
    ``checkpoint`` as in :func:`canopyflow.training.plain.train_plain`; another prior, known by its draws, or
    other options start anew.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        denoiser = SegmentDenoiser(base, options.reach, options.width, options.layers)

    data = digest_of(draw_segments(dynamics, options.batch, denoiser.least, generator("denoiser data")))

    def loss(batch: tuple[Tensor, ...], step: int) -> Tensor:
        of_mean, of_scale = denoiser.loss(*batch)
        return of_mean + of_scale

    history = train_plain(
        [Player(list(denoiser.parameters()), loss)],
        lambda step: draw_segments(dynamics, options.batch, denoiser.least),
        steps=options.steps,
        rate=options.rate,
        checkpoint=checkpoint,
        seed=seed,
        digest=f"{data} {type(dynamics).__name__} {options}",
        log_every=min(200, options.steps),
    )
    return denoiser.eval(), history


def draw_segments(
    dynamics: SeasonPrior, count: int, dates: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Trajectories (n, T, D), their days (n, T) in order, levels of noise (n,) and the noise (n, T, D).

    Without a ``generator`` the global one is drawn from.
    """
    g = torch.default_generator if generator is None else generator
    low, high = (math.log(days) for days in GAPS)
    mean = torch.exp(low + (high - low) * torch.rand(count, 1, generator=g))
    # Irregular as passes that clouds left: the mean of two waiting times.
    waits = -0.5 * torch.log1p(-torch.rand(2, count, dates - 1, generator=g)).sum(0)
    day = torch.cat([torch.zeros(count, 1), (mean * waits).cumsum(-1)], -1)
    middle = FIRST + (LAST - FIRST) * torch.rand(count, 1, generator=g)
    day = day - day[:, dates // 2, None] + middle
    w = dynamics.sample(day, g)
    level = LEVELS[0] + LEVELS[1] * torch.randn(count, generator=g)
    return w, day, level.clamp(*_BOUNDS).exp(), torch.randn(w.shape, generator=g)
