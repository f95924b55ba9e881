"""Multivariate logit-normal: the logits of all variables are jointly normal, with full covariance.

Density of u in (0, 1)ᴰ: N(logit u; μ, S R S) / Π uᵢ(1 − uᵢ), S the diagonal of scales
and R = L Lᵀ the correlation matrix of the logits. Every marginal is a logit-normal.
"""

from __future__ import annotations

from torch import Tensor, nn

from ._copula import CopulaPosterior, FullCorrelation, below_diagonal, correlation_factor
from ._marginals import LogitNormalMarginal
from .contract import Box, Family, LogJoint, Posterior


class MultivariateLogitNormal(Family):
    """Linear map of the features to locations, scales and the correlations' Cholesky factor."""

    kin = "correlated"
    summary = "multivariate logit-normal: jointly normal logits with full covariance"
    reference = "Aitchison & Shen 1980, doi:10.1093/biomet/67.2.261"
    cost = "draw: no network, a D × D product; density: the same"

    def __init__(self, dim: int, features: int, lower: Tensor, upper: Tensor) -> None:
        super().__init__(dim, features, lower, upper)
        self.head = nn.Linear(features, 2 * dim + below_diagonal(dim))

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        loc, scale, raw = self.head(h).split([self.dim, self.dim, below_diagonal(self.dim)], dim=-1)
        return CopulaPosterior(
            LogitNormalMarginal.of(loc, scale),
            FullCorrelation(correlation_factor(raw, self.dim)),
            Box(self.lower, self.upper),
        )


FAMILY = MultivariateLogitNormal
