"""Independent logit-normals: the logit of each variable's place between its bounds is normal.

On u, the place of a variable between its bounds, each variable on its own:

    q(u) = N(logit u; μ, σ²) / (u (1 − u)),    |μ| < 7,   σ in [0.005, 2]

with μ and σ from one linear map of the features, starting at σ = 1. |μ| = 7 is a median 0.1 % of the width
from a bound. Quantiles have a closed form: sigmoid(μ + σ Φ⁻¹(p)).

It is the cheapest family, smooth everywhere, skewed near the bounds as bounded quantities are, and the
yardstick for ``multivariate_logit_normal`` and ``low_rank``, which add dependence to the same marginals. It
cannot represent dependence between variables. Its density vanishes at a bound, so mass there becomes a peak
close to it; with σ > √2 there may be two modes, but only one at either bound.
"""

from ._copula import IndependentFamily
from ._marginals import LogitNormalMarginal


class LogitNormal(IndependentFamily):
    """Linear map of the features to location and scale of each logit."""

    summary = "independent logit-normals: normal on the logit of the place between the bounds"
    reference = "Aitchison & Shen 1980, doi:10.1093/biomet/67.2.261"
    cost = "draw: no network; density: the same"
    marginal = staticmethod(LogitNormalMarginal.of)


FAMILY = LogitNormal
