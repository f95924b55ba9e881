"""Feature mapping: a season runs along a line, from its emergence on and at its own speed.

l(t) = e^η (t − τ) e_1 + Σ_k λ_k e_k (Sauty & Durrleman, MICCAI 2022, after disease course mapping): τ is the
day of emergence, e^η the speed of the season relative to the mean one, λ (the *sources*) what makes this
field unlike others at the same stage. The decoder, a network, says what a stage looks like.

Emergence and speed are those of a learned stage: they order fields, and are calibrated to no
observed event. What happens at a day of the year whatever the stage (weather, a cut) goes into the
innovations z = l(t) + σ_k y, and those keep single seasons from being forced onto the line.
"""

import math

import torch
from torch import Tensor, nn

from canopyflow.models.longitudinal.law import PathLaw, log_normal

STAGE = 60.0
"""Days that a season of mean speed takes for one unit of the first coordinate."""
_SPREAD_OF_EMERGENCE, _SPREAD_OF_SPEED = 30.0, 0.2
"""Standard deviations, days and of the logarithm, of an untrained law."""


class MappingLaw(PathLaw):
    """Statics: emergence, log speed, and ``dim`` − 1 sources, all standard normal before they are scaled."""

    def __init__(self, dim: int, origin: float, innovations: bool = True) -> None:
        super().__init__(dim, dim + 1, origin, innovations)
        self.mean_emergence = nn.Parameter(torch.tensor(0.0))
        self.log_spread = nn.Parameter(torch.tensor([_SPREAD_OF_EMERGENCE, _SPREAD_OF_SPEED]).log())
        self.log_width = nn.Parameter(torch.full((dim,), math.log(0.3)))
        self.middle = 182.0

    def emergence(self, s: Tensor) -> Tensor:
        """Day (*sample, n) of emergence of statics ``s``, days since 1 January."""
        return self.middle + STAGE * self.mean_emergence + self.log_spread[0].exp() * s[..., 0]

    def speed(self, s: Tensor) -> Tensor:
        """Speed (*sample, n) of the season, 1 for the mean one."""
        return torch.exp(self.log_spread[1].exp() * s[..., 1])

    def line(self, s: Tensor, day: Tensor) -> Tensor:
        """l (*sample, n, D) at ``day``."""
        stage = self.speed(s) * (day - self.emergence(s)) / STAGE
        sources = s[..., 2:].expand(*stage.shape, self.dim - 1)
        return torch.cat([stage[..., None], sources], dim=-1)

    def place(self, y: Tensor, s: Tensor, day: Tensor) -> tuple[Tensor, Tensor]:
        return self.line(s, day) + self.log_width.exp() * y, self.log_width.sum().expand(y.shape[:-1])

    def lift(self, z: Tensor, s: Tensor, day: Tensor) -> tuple[Tensor, Tensor]:
        return (z - self.line(s, day)) * torch.exp(-self.log_width), self.log_width.sum().expand(z.shape[:-1])

    def log_start(self, y: Tensor, s: Tensor) -> Tensor:
        return log_normal(y)

    def start(self, s: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn((*s.shape[:-1], self.dim), generator=generator, dtype=s.dtype, device=s.device)
