"""Independent logit-normals: the logit of each variable's place between its bounds is normal.

Density of u in (0, 1): N(logit u; μ, σ²) / (u (1 − u)). It vanishes at the
bounds, and for σ > √2 it may have two modes. Quantile: sigmoid(μ + σ Φ⁻¹(p)).
"""

from __future__ import annotations

from torch import Tensor, nn

from ._copula import IndependentPosterior
from ._marginals import LogitNormalMarginal
from .contract import Box, Family, LogJoint, Posterior


class LogitNormal(Family):
    """Linear map of the features to location and scale of each logit."""

    kin = "independent"
    summary = "independent logit-normals: normal on the logit of the place between the bounds"
    reference = "Aitchison & Shen 1980, doi:10.1093/biomet/67.2.261"
    cost = "draw: no network; density: the same"

    def __init__(self, dim: int, features: int, lower: Tensor, upper: Tensor) -> None:
        super().__init__(dim, features, lower, upper)
        self.head = nn.Linear(features, 2 * dim)

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        marginal = LogitNormalMarginal.of(*self.head(h).chunk(2, dim=-1))
        return IndependentPosterior(marginal, Box(self.lower, self.upper))


FAMILY = LogitNormal
