"""Latents that are quadratic in radiation: growth that saturates with light."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .contract import Latents


class Quadratic(Latents):
    """h(x) = b + A x + B r², r the drivers whose names begin with ``of``; squares alone, no products."""

    def __init__(self, drivers: Sequence[str], dim: int, cells: int = 1, of: str = "radiation") -> None:
        self.of, self.drivers = of, tuple(drivers)
        self._columns = self._chosen(of)
        super().__init__(drivers, dim, cells)

    def count(self) -> int:
        return len(self.drivers) + len(self._columns)

    def features(self, x: Tensor) -> Tensor:
        return torch.cat([x, x[..., self._columns].square()], -1)


LATENTS = Quadratic
