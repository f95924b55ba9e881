"""Multivariate logit-normal: the logits of all variables are jointly normal, with full covariance.

On u, the places of the variables between their bounds:

    q(u) = N(logit u; μ, S R S) / Πᵢ uᵢ (1 − uᵢ),    R = L Lᵀ

S is the diagonal of scales; μ and S are bounded as in ``logit_normal``, R as in ``gaussian_copula``, all
from one linear map of the features. Every marginal is a logit-normal; quantiles are those of the marginals.

It is the cheapest family with full correlation. It cannot represent a density that is not zero at a bound,
nor curved ridges and several modes, but for what the bend of the logit itself gives. It has 10 thousand
parameters behind 128 features.
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
