"""Gaussian copula of truncated normals: the published marginals, free to depend on each other.

The marginals Fᵢ, fᵢ are those of ``truncated_normal``; their scores yᵢ = Φ⁻¹(Fᵢ(uᵢ)) are jointly normal:

    q(u) = Πᵢ fᵢ(uᵢ) · N(y; 0, R) / Πᵢ φ(yᵢ),    R = L Lᵀ

One linear map of the features gives the marginals and D (D − 1)/2 numbers left of the unit diagonal of L;
rows of L are then scaled to length one, so that R is a correlation matrix. Multiple correlations stay below
0.995. Quantiles are those of the marginals. In single precision the density at a given point is good to 0.01
nat unless R is all but singular.

It is the smallest step beyond the published posterior: with R = 1 it is ``truncated_normal``. It cannot
represent dependence other than one correlation per pair of scores: no curved ridges, no several modes, no
dependence that is strong only in a tail. It has 10 thousand parameters behind 128 features.
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
