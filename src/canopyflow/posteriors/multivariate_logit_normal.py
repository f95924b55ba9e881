"""Multivariate logit-normal: the logits of all variables are jointly normal, with full covariance.

On u, the places of the variables between their bounds:

    q(u) = N(logit u; μ, S R S) / Πᵢ uᵢ (1 − uᵢ),    R = L Lᵀ

S is the diagonal of scales; μ and S are bounded as in ``logit_normal``, R as in ``gaussian_copula``, all
from one linear map of the features. Every marginal is a logit-normal; quantiles are those of the marginals.

It is the cheapest family with full correlation. It cannot represent a density that is not zero at a bound,
nor curved ridges and several modes, but for what the bend of the logit itself gives. It has 10 thousand
parameters behind 128 features.
"""

from ._copula import CorrelatedFamily
from ._marginals import LogitNormalMarginal


class MultivariateLogitNormal(CorrelatedFamily):
    """Linear map of the features to locations, scales and the correlations' Cholesky factor."""

    summary = "multivariate logit-normal: jointly normal logits with full covariance"
    reference = "Aitchison & Shen 1980, doi:10.1093/biomet/67.2.261"
    cost = "draw: no network, a D × D product; density: the same"
    marginal = staticmethod(LogitNormalMarginal.of)


FAMILY = MultivariateLogitNormal
