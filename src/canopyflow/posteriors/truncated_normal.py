"""Independent truncated normals: the posterior of the published PROSAIL-VAE.

Zérah, Valero & Inglada 2024 (Remote Sens. Environ. 312, 114309): on the unit
interval of each variable the location is a sigmoid and the scale lies in
[5e-4, 1.4] on a logarithmic scale. No dependence between variables.
"""

from __future__ import annotations

from torch import Tensor, nn

from ._copula import IndependentPosterior
from ._marginals import TruncatedNormalMarginal
from .contract import Box, Family, LogJoint, Posterior


class TruncatedNormal(Family):
    """Linear map of the features to location and scale of each variable."""

    kin = "independent"
    summary = "independent truncated normals: the published PROSAIL-VAE posterior"
    reference = "Zérah, Valero & Inglada 2024, doi:10.1016/j.rse.2024.114309"
    cost = "draw: no network; density: the same"

    def __init__(self, dim: int, features: int, lower: Tensor, upper: Tensor) -> None:
        super().__init__(dim, features, lower, upper)
        self.head = nn.Linear(features, 2 * dim)

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        marginal = TruncatedNormalMarginal.of(*self.head(h).chunk(2, dim=-1))
        return IndependentPosterior(marginal, Box(self.lower, self.upper))


FAMILY = TruncatedNormal
