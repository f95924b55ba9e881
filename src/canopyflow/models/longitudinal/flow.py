"""Flow dynamics: states of a season are carried from date to date by normalising flows.

p(z_j) = p(z_0) ∏_{l ≤ j} |det ∂f_l|⁻¹ where z_0 is the state at the origin (Chadebec et al. 2023,
arXiv:2303.14220). There each step has a flow of its own; here f is indexed by its two dates, so that dates
need no raster: φ_t is a mixing of the coordinates and coupling layers that know the day of the year.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from canopyflow.models.longitudinal.law import PathLaw, log_normal, year
from canopyflow.posteriors._affine import PARAMETERS, affine
from canopyflow.posteriors._coupling import coupling_layers
from canopyflow.posteriors.contract import Setting, standard_normal

_HARMONICS = 2


class First(Protocol):
    """The law of the state at the origin."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density (...) of ``z`` (..., D)."""
        ...

    def sample(self, shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draws of ``shape``, the last of which is D, in the type and on the device of ``like``."""
        ...


class StandardNormal:
    """No parameters."""

    def log_prob(self, z: Tensor) -> Tensor:
        return log_normal(z)

    def sample(self, shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
        return standard_normal(shape, like, generator)


class FlowLaw(PathLaw):
    """``layers`` coupling layers of width ``hidden``; with none, f is affine and the law is Gaussian.

    ``first``: the law of the state at the origin; standard normal unless a model puts another there.
    """

    first: First

    def __init__(
        self, dim: int, origin: float, innovations: bool = True, layers: int = 4, hidden: int = 32
    ) -> None:
        super().__init__(dim, 0, origin, innovations)
        self.first = StandardNormal()
        self.lower_part = nn.Parameter(torch.zeros(dim, dim))
        self.upper_part = nn.Parameter(torch.zeros(dim, dim))
        self.log_diagonal = nn.Parameter(torch.zeros(dim))
        self.shift = nn.Linear(2 * _HARMONICS, dim)
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)
        # Bounds play no part in the layers.
        setting = Setting(dim, 2 * _HARMONICS, torch.zeros(dim), torch.ones(dim))
        self.layers = nn.ModuleList(coupling_layers(setting, layers, (hidden, hidden), affine, PARAMETERS))

    def place(self, y: Tensor, s: Tensor, day: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        when = year(day, _HARMONICS).to(y)
        z = y @ (lower @ upper).mT + self.shift(when)
        total = self.log_diagonal.sum().expand(z.shape[:-1])
        for layer in self.layers:
            z, log_det = layer(when).push(z)
            total = total + log_det
        return z, total

    def lift(self, z: Tensor, s: Tensor, day: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        when = year(day, _HARMONICS).to(z)
        total = self.log_diagonal.sum().expand(z.shape[:-1])
        for layer in reversed(self.layers):
            z, log_det = layer(when).pull(z)
            total = total + log_det
        y = (z - self.shift(when))[..., None]
        y = torch.linalg.solve_triangular(lower, y, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, y, upper=True)[..., 0], total

    def log_start(self, y: Tensor, s: Tensor) -> Tensor:
        z, log_det = self.place(y, s, self._origin_of(y))
        return self.first.log_prob(z) + log_det

    def start(self, s: Tensor, generator: torch.Generator | None = None) -> Tensor:
        z = self.first.sample((*s.shape[:-1], self.dim), s, generator)
        return self.lift(z, s, self._origin_of(z))[0]

    def _origin_of(self, like: Tensor) -> Tensor:
        return torch.full(like.shape[:-1], self.origin, dtype=like.dtype, device=like.device)

    def _factors(self) -> tuple[Tensor, Tensor]:
        """Triangular factors of the mixing, the lower one with ones on its diagonal."""
        one = torch.eye(self.dim).to(self.lower_part)
        return self.lower_part.tril(-1) + one, self.upper_part.triu(1) + torch.diag(self.log_diagonal.exp())
