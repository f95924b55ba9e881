"""Independent truncated normals: the posterior of the published PROSAIL-VAE.

Zérah, Valero & Inglada 2024 (Remote Sens. Environ. 312, 114309): on the unit
interval of each variable the location is a sigmoid and the scale lies in
[5e-4, 1.4] on a logarithmic scale. No dependence between variables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .contract import EDGE, Box, Family, LogJoint, Posterior

SCALE_RANGE = (5e-4, 1.4)
LOG_ROOT_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class TruncatedNormal(Family):
    """Linear map of the features to location and scale of each variable."""

    kin = "factorised"
    summary = "independent truncated normals: the published PROSAIL-VAE posterior"
    reference = "Zérah, Valero & Inglada 2024, doi:10.1016/j.rse.2024.114309"

    def __init__(self, dim: int, features: int, lower: Tensor, upper: Tensor) -> None:
        super().__init__(dim, features, lower, upper)
        self.head = nn.Linear(features, 2 * dim)

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        location, scale = self.head(h).chunk(2, dim=-1)
        low, high = (math.log(s) for s in SCALE_RANGE)
        return TruncatedNormalPosterior(
            torch.sigmoid(location),
            torch.exp(low + (high - low) * torch.sigmoid(scale)),
            Box(self.lower, self.upper),
        )


class TruncatedNormalPosterior(Posterior):
    """``loc`` and ``scale`` (*batch, D) refer to the unit cube.

    The location is never outside the cube, so the mass inside is never below a quarter and
    neither sampling nor the density meets a far tail.
    """

    log_constant: Tensor

    def __init__(self, loc: Tensor, scale: Tensor, box: Box) -> None:
        self.loc, self.scale, self.box = loc, scale, box
        self.below = torch.special.ndtr(-loc / scale)
        self.above = torch.special.ndtr((loc - 1.0) / scale)
        self.inside = 1.0 - self.below - self.above
        self.log_constant = -(scale.log() + self.inside.log() + LOG_ROOT_TWO_PI).sum(-1) - box.log_volume

    @property
    def batch_shape(self) -> torch.Size:
        return self.loc.shape[:-1]

    @property
    def device(self) -> torch.device:
        return self.loc.device

    def rsample_and_log_prob(
        self, shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        level = torch.rand(
            (*shape, *self.loc.shape), generator=generator, dtype=self.loc.dtype, device=self.loc.device
        )
        unit = self._inverse(level)
        return self.box.outward(unit), self._log_density(unit)

    def log_prob(self, z: Tensor) -> Tensor:
        unit, within = self.box.inward(z)
        value = self._log_density(unit)
        return torch.where(within, value, torch.full_like(value, -math.inf))

    def quantile(self, p: float | Tensor) -> Tensor:
        level = torch.as_tensor(p, dtype=self.loc.dtype, device=self.loc.device)
        return self.box.outward(self._inverse(level.reshape(*level.shape, *(1,) * self.loc.ndim)))

    def _log_density(self, unit: Tensor) -> Tensor:
        standard: Tensor = (unit - self.loc) / self.scale
        return self.log_constant - 0.5 * standard.square().sum(-1)

    def _inverse(self, level: Tensor) -> Tensor:
        """Quantile of the unit variable, from the nearer tail: there floats have digits to spare."""
        left = self.below + level * self.inside
        right = self.above + (1.0 - level) * self.inside
        tail = torch.minimum(left, right).clamp(min=1e-30)
        standard = torch.special.ndtri(tail)
        standard = torch.where(left < right, standard, -standard)
        unit: Tensor = (self.loc + self.scale * standard).clamp(EDGE, 1.0 - EDGE)
        return unit


FAMILY = TruncatedNormal
