"""Independent truncated normals: the posterior of the published PROSAIL-VAE.

On u, the place of a variable between its bounds (0 to 1), each variable on its own:

    q(u) = N(u; μ, σ²) / (Φ((1 − μ)/σ) − Φ(−μ/σ)),    μ = sigmoid(·) in (0, 1),   σ in [0.0005, 1.4]

with μ and σ from one linear map of the features, σ on a logarithmic scale and starting at 0.3. Quantiles and
the KL divergence from the uniform distribution (``kl_uniform``) have closed forms.

It is the published column of the table, and the choice where speed counts above all. Mass may pile up at a
bound with finite density, as it does for bare soil (leaf area near 0). It cannot represent dependence
between variables: the interval of a product such as LAI · Cab is wrong even if those of LAI and Cab are
right. Each variable has one symmetric mode, but for the cut at the bounds. It has 3 thousand parameters
behind 128 features.
"""

from ._copula import IndependentFamily
from ._marginals import TruncatedNormalMarginal


class TruncatedNormal(IndependentFamily):
    """Linear map of the features to location and scale of each variable."""

    summary = "independent truncated normals: the published PROSAIL-VAE posterior"
    reference = "Zérah, Valero & Inglada 2024, doi:10.1016/j.rse.2024.114309"
    cost = "draw: no network; density: the same"
    marginal = staticmethod(TruncatedNormalMarginal.of)


FAMILY = TruncatedNormal
