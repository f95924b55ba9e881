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

from ._copula import CorrelatedFamily
from ._marginals import TruncatedNormalMarginal


class GaussianCopula(CorrelatedFamily):
    """Linear map of the features to locations, scales and the copula's Cholesky factor."""

    summary = "Gaussian copula with truncated-normal marginals and full correlation"
    reference = "Song 2000, doi:10.1111/1467-9469.00191"
    cost = "draw: no network, a D × D product; density: the same"
    marginal = staticmethod(TruncatedNormalMarginal.of)


FAMILY = GaussianCopula
