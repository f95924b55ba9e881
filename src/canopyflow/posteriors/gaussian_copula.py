"""Gaussian copula of truncated normals: the published marginals, free to depend on each other.

With uᵢ = Fᵢ⁻¹(Φ(yᵢ)), Fᵢ a normal law conditioned on the bounds, and y ~ N(0, R), R = L Lᵀ of
unit diagonal, the density is Π fᵢ(uᵢ) · N(y; 0, R) / Π φ(yᵢ). Every marginal is a truncated normal;
R = 1 is the family `truncated_normal`.
"""

from __future__ import annotations

from torch import Tensor, nn

from ._copula import CopulaPosterior, FullCorrelation, below_diagonal, correlation_factor
from ._marginals import TruncatedNormalMarginal
from .contract import Box, Family, LogJoint, Posterior


class GaussianCopula(Family):
    """Linear map of the features to locations, scales and the copula's Cholesky factor."""

    kin = "correlated"
    summary = "Gaussian copula with truncated-normal marginals and full correlation"
    reference = "Song 2000, doi:10.1111/1467-9469.00191"
    cost = "draw: no network, a D × D product; density: the same"

    def __init__(self, dim: int, features: int, lower: Tensor, upper: Tensor) -> None:
        super().__init__(dim, features, lower, upper)
        self.head = nn.Linear(features, 2 * dim + below_diagonal(dim))

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        loc, scale, raw = self.head(h).split([self.dim, self.dim, below_diagonal(self.dim)], dim=-1)
        return CopulaPosterior(
            TruncatedNormalMarginal.of(loc, scale),
            FullCorrelation(correlation_factor(raw, self.dim)),
            Box(self.lower, self.upper),
        )


FAMILY = GaussianCopula
