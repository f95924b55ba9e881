"""Latents that follow a season's course: sine and cosine of drivers that are days, such as thermal clocks."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .contract import Latents

YEAR = 365.25
"""Days of a period."""


class Seasonal(Latents):
    """h(x) = b + A x + Σₖ (Bₖ sin(2πk c / YEAR) + Cₖ cos(2πk c / YEAR)), k = 1 … ``harmonics``.

    c are the drivers whose names begin with ``of``, in days: the day of the year, or that day of the year by
    which mean climate is as far (:mod:`canopyflow.models.weather.drivers`). An early spring then moves the
    latents along their course instead of adding something to them.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self, drivers: Sequence[str], dim: int, cells: int = 1, of: str = "clock", harmonics: int = 3
    ) -> None:
        self.of, self.harmonics, self.drivers = of, harmonics, tuple(drivers)
        self._columns = self._chosen(of)
        super().__init__(drivers, dim, cells)
        self.register_buffer("centre", torch.zeros(cells, len(self._columns)))
        self.register_buffer("scale", torch.ones(cells, len(self._columns)))

    def standardised_by(self, centre: Tensor, scale: Tensor) -> None:
        self.centre.copy_(centre[:, self._columns])
        self.scale.copy_(scale[:, self._columns])

    def count(self) -> int:
        return len(self.drivers) + 2 * self.harmonics * len(self._columns)

    def features(self, x: Tensor) -> Tensor:
        days = self.centre + self.scale * x[..., self._columns]
        order = torch.arange(1, self.harmonics + 1, dtype=x.dtype, device=x.device)
        phase = (2.0 * math.pi / YEAR * days.unsqueeze(-1) * order).flatten(-2)
        return torch.cat([x, phase.sin(), phase.cos()], -1)


LATENTS = Seasonal
