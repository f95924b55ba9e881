"""Latents that are smooth functions of all drivers together: kernel ridge, by random features."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from canopyflow.models.runtime import generator

from .contract import Latents

COURSE_DAYS = 25.0
"""Length of the kernel of the calendar alone."""
_COURSE_SIZE = 24


class Kernel(Latents):
    """h(x) = b + Σ wᵢ φᵢ(x), φ random waves whose inner products are a kernel k (Rahimi & Recht 2007).

    k(x, x′) = exp(−½ Σ ((xⱼ − xⱼ′)/ℓⱼ)²) + ``course`` · exp(−½ ((c − c′)/25 days)²), c the driver
    ``calendar``; a ridge on w then is the posterior mean of a Gaussian process, so drivers may interact: a
    dry spell takes leaves in June and none in April. ℓ are ``clock`` and ``calendar`` days for the drivers
    whose names begin so, and ``other`` standard deviations for all others but ``sine_`` and ``cosine_``,
    which say the calendar once more for a linear h. ``size``: waves of the first kernel.
    """

    centre: Tensor
    scale: Tensor
    waves: Tensor
    course_waves: Tensor

    def __init__(
        self,
        drivers: Sequence[str],
        dim: int,
        cells: int = 1,
        clock: float = 30.0,
        calendar: float = 100.0,
        other: float = 6.0,
        course: float = 0.3,
        size: int = 200,
    ) -> None:
        self.drivers, self.size, self.course = tuple(drivers), size, course
        self._calendar = next((i for i, name in enumerate(drivers) if name == "calendar"), None)
        super().__init__(drivers, dim, cells)
        g = generator("weather kernel", size, len(self.drivers))
        known = {"sine": math.inf, "cosine": math.inf, "clock": clock, "calendar": calendar}
        lengths = [known.get(name.partition("_")[0], other) for name in drivers]
        waves = torch.randn(len(self.drivers), size, generator=g) / torch.tensor(lengths).unsqueeze(-1)
        self.register_buffer("waves", waves)
        self.register_buffer("course_waves", torch.randn(_COURSE_SIZE, generator=g) / COURSE_DAYS)
        self._in_days = [i for i, name in enumerate(drivers) if name.startswith(("clock", "calendar"))]
        shape = (cells, len(self.drivers))
        self.register_buffer("centre", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def standardised_by(self, centre: Tensor, scale: Tensor) -> None:
        self.centre[:, self._in_days] = centre[:, self._in_days].to(self.centre)
        self.scale[:, self._in_days] = scale[:, self._in_days].to(self.scale)

    def count(self) -> int:
        return 2 * self.size + (2 * _COURSE_SIZE if self._calendar is not None else 0)

    def features(self, x: Tensor) -> Tensor:
        # Days in days, all else in standard deviations.
        own = self.centre + self.scale * x
        phase = own @ self.waves.to(x)
        found = [each / self.size**0.5 for each in (phase.cos(), phase.sin())]
        if self._calendar is not None:
            phase = own[..., self._calendar, None] * self.course_waves.to(x)
            found += [(self.course / _COURSE_SIZE) ** 0.5 * each for each in (phase.cos(), phase.sin())]
        return torch.cat(found, -1)


LATENTS = Kernel
