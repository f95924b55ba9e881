"""Latents that are exponential in temperature, as rates of development and respiration are."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .contract import Latents, least_squares

FASTEST = 1.0
"""Largest |κ|, per standard deviation of temperature: a year as warm as none before must not explode."""
_COARSE, _FINE = 41, 30


class Exponential(Latents):
    """h(x) = b + A x + C exp(κ T), T the drivers whose names begin with ``of``, κ a learned rate per cell.

    Written with (exp(κ T) − 1 − κ T) / κ² in place of exp(κ T): the same functions, and at κ = 0 the
    quadratic one. A refit is exact: for each κ the rest is linear, so only κ is searched.
    """

    def __init__(self, drivers: Sequence[str], dim: int, cells: int = 1, of: str = "temperature") -> None:
        self.of, self.drivers = of, tuple(drivers)
        self._columns = self._chosen(of)
        super().__init__(drivers, dim, cells)
        self.rate = nn.Parameter(torch.full((cells,), 0.3))

    def count(self) -> int:
        return len(self.drivers) + len(self._columns)

    def features(self, x: Tensor) -> Tensor:
        return self._features(x, self.rate.clamp(-FASTEST, FASTEST))

    def _features(self, x: Tensor, rate: Tensor) -> Tensor:
        temperature = x[..., self._columns]
        return torch.cat([x, _curve(rate.unsqueeze(-1) * temperature) * temperature.square()], -1)

    @torch.no_grad()
    def refit(self, x: Tensor, z: Tensor, ridge: float = 0.0) -> None:
        """As :meth:`Latents.refit`, with the rate of each cell that leaves the least sum of squares."""
        wanted = z.reshape(len(z), self.cells, self.dim)

        def left(rate: Tensor) -> Tensor:
            return least_squares(self._features(x, rate), wanted, ridge)[2]

        grid = torch.linspace(-FASTEST, FASTEST, _COARSE).to(x)
        best = torch.stack([left(rate.expand(self.cells)) for rate in grid]).argmin(0)
        step = float(grid[1] - grid[0])
        self.rate.copy_(_golden(left, grid[best] - step, grid[best] + step).clamp(-FASTEST, FASTEST))
        super().refit(x, z, ridge)


def _curve(v: Tensor) -> Tensor:
    """(eᵛ − 1 − v) / v², by its series about zero."""
    series = 0.5 + v * (1.0 / 6.0 + v * (1.0 / 24.0 + v * (1.0 / 120.0 + v / 720.0)))
    small = v.abs() < 0.2
    safe = torch.where(small, torch.ones_like(v), v)
    return torch.where(small, series, (torch.expm1(safe) - safe) / safe.square())


def _golden(left: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Minimum of ``left`` (cells) between ``low`` and ``high`` (cells), by golden sections."""
    share = (5.0**0.5 - 1.0) / 2.0
    for _ in range(_FINE):
        first, second = high - share * (high - low), low + share * (high - low)
        nearer = left(first) < left(second)
        low, high = torch.where(nearer, low, first), torch.where(nearer, second, high)
    return 0.5 * (low + high)


LATENTS = Exponential
