"""What every map from weather to latents is: least squares on features of the drivers, per coarse cell."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from canopyflow.errors import ConfigError, DataError


class Latents(nn.Module, abc.ABC):
    """h: drivers x (*batch, cells, drivers) to latents (*batch, cells × dim); each cell has its own weights.

    Built with the names of the ``drivers``, the number of latents ``dim`` of a cell, and that of ``cells`` of
    the coarse weather. Drivers are standardised. h(x) = bias + features(x) · weight, where features are the
    drivers and what a subclass adds; numbers within features (rates) are learned too.
    """

    def __init__(self, drivers: Sequence[str], dim: int, cells: int = 1) -> None:
        super().__init__()
        self.drivers, self.dim, self.cells = tuple(drivers), dim, cells
        self.weight = nn.Parameter(torch.zeros(cells, self.count(), dim))
        self.bias = nn.Parameter(torch.zeros(cells, dim))

    def count(self) -> int:
        """Number of features of a cell."""
        return len(self.drivers)

    def standardised_by(self, centre: Tensor, scale: Tensor) -> None:
        """Told centre and scale (cells, drivers) of the drivers, for features that need their units."""

    def features(self, x: Tensor) -> Tensor:
        """(*batch, cells, count) of ``x`` (*batch, cells, drivers)."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        found = torch.einsum("...cf,cfd->...cd", self.features(x), self.weight) + self.bias
        return found.flatten(-2)

    @torch.no_grad()
    def refit(self, x: Tensor, z: Tensor, ridge: float = 0.0) -> None:
        """Set h to the least squares fit of ``z`` (n, cells × dim) to ``x`` (n, cells, drivers).

        ``ridge`` times the sum of squared weights is added to the sum of squares; the bias is free.
        Raises DataError where there are no more days than features and ``ridge`` is 0.
        """
        if ridge == 0.0 and len(x) <= self.count():  # nothing would tell such weights apart
            raise DataError(
                f"{len(x)} days for {self.count()} features of weather", "give more days, or a ridge above 0"
            )
        weight, bias, _ = least_squares(self.features(x), z.reshape(len(z), self.cells, self.dim), ridge)
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def _chosen(self, of: str) -> list[int]:
        """Positions of the drivers whose names begin with ``of``. Raises ConfigError if there are none."""
        chosen = [i for i, name in enumerate(self.drivers) if name.startswith(of)]
        if not chosen:
            raise ConfigError(
                f"no driver begins with {of!r}",
                f"drivers are {', '.join(self.drivers)}; give the option `of`",
            )
        return chosen


def least_squares(features: Tensor, z: Tensor, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (cells, f, dim), bias (cells, dim) and penalised sum of squares (cells) of a regression.

    Of ``z`` (n, cells, dim) on ``features`` (n, cells, f), each cell on its own, in double precision.
    """
    a, b = features.double().movedim(1, 0), z.double().movedim(1, 0)
    centre_a, centre_b = a.mean(1, keepdim=True), b.mean(1, keepdim=True)
    a, b = a - centre_a, b - centre_b
    days, count = a.shape[-2:]
    if ridge == 0.0:
        weight = torch.linalg.lstsq(a, b, driver="gelsd").solution
    elif count <= days:
        own = ridge * torch.eye(count, dtype=a.dtype)
        weight = torch.linalg.solve(a.mT @ a + own, a.mT @ b)
    else:
        own = ridge * torch.eye(days, dtype=a.dtype)
        weight = a.mT @ torch.linalg.solve(a @ a.mT + own, b)
    bias = (centre_b - centre_a @ weight).squeeze(1)
    left = (a @ weight - b).square().sum((1, 2)) + ridge * weight.square().sum((1, 2))
    return weight.to(z), bias.to(z), left
