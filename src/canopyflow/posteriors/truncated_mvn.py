"""Truncated multivariate normal by sequential conditionals: what the GHK simulator draws from.

On u, the places of the variables between their bounds, in their order, with N(μ, S R S) and R = L Lᵀ:

    uᵢ | u₁ … uᵢ₋₁  ~  N(mᵢ, dᵢ²) conditioned on [0, 1],
    mᵢ = μᵢ + Sᵢ Σⱼ Lᵢⱼ eⱼ,   dᵢ = Sᵢ Lᵢᵢ,   eⱼ = (uⱼ − mⱼ)/dⱼ   (j < i),
    q(u) = N(u; μ, S R S) / Πᵢ Pᵢ(u₁ … uᵢ₋₁),   Pᵢ the mass of the i-th conditional inside [0, 1].

It is *not* the multivariate normal conditioned on the cube, whose constant has no closed form and whose
density is the numerator alone, scaled. The two agree where no Pᵢ depends on u (no correlation, or no mass at
the bounds). A conditional mean more than three dᵢ outside [0, 1] is held there, which keeps every Pᵢ above
1e-3; the density is that of the distribution so held, exactly. All numbers come from one linear map of the
features, bounded as in ``gaussian_copula``. The first marginal is a truncated normal; the quantiles of the
others have no closed form and are those of a thousand draws.

It is made for correlated variables with mass at a bound, where conditioning is meant literally: what the
bound takes from one variable changes those after it. It cannot represent curved ridges or several modes, and
it depends on the order of the variables. It has 10 thousand parameters behind 128 features.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ._copula import CorrelatedFamily, conditional
from ._marginals import TruncatedNormalMarginal
from .contract import Box, LogJoint, Posterior

FARTHEST_OUTSIDE = 3.0


class TruncatedMultivariateNormal(CorrelatedFamily):
    """Linear map of the features to locations, scales and the correlations' Cholesky factor."""

    summary = "truncated multivariate normal by sequential conditionals, as in the GHK simulator"
    reference = "Geweke 1991; Hajivassiliou & McFadden 1998, doi:10.2307/2999576"
    cost = "draw: no network, D steps in turn; density: the same"
    marginal = staticmethod(TruncatedNormalMarginal.of)

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        plain, factor = self.parts(h)
        return SequentialPosterior(plain.loc, plain.scale, factor, self.box)


class SequentialPosterior(Posterior):
    """``loc``, ``scale`` (*batch, D) and ``factor`` (*batch, D, D) of the normal before truncation."""

    def __init__(self, loc: Tensor, scale: Tensor, factor: Tensor, box: Box) -> None:
        super().__init__(loc)
        self.loc, self.scale, self.factor, self.box = loc, scale, factor, box

    def rsample_and_log_prob(
        self, shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        score = self._noise((*shape, *self.loc.shape), generator)
        unit, log_q = self._walk(lambda i, each: each.quantile(score[..., i]))
        return self.box.outward(unit), log_q

    def log_prob(self, z: Tensor) -> Tensor:
        unit, within = self.box.inward(z)
        return self._walk(lambda i, _: unit[..., i])[1].masked_fill(~within, -math.inf)

    def _walk(self, choose: Callable[[int, TruncatedNormalMarginal], Tensor]) -> tuple[Tensor, Tensor]:
        """Through the variables in order: ``choose`` gives each, knowing its conditional distribution.

        Values (..., *batch, D) in the unit cube and their log density (..., *batch) in physical units.
        """
        units: list[Tensor] = []
        residuals: list[Tensor] = []
        log_q = -self.box.log_volume
        for i in range(self.loc.shape[-1]):
            mean, scale = conditional(self.loc, self.scale, self.factor, residuals)
            reach = FARTHEST_OUTSIDE * scale
            mean = torch.maximum(torch.minimum(mean, 1.0 + reach), -reach)
            each = TruncatedNormalMarginal(mean, scale)
            unit = choose(i, each)
            units.append(unit)
            residuals.append((unit - mean) / scale)
            log_q = log_q + each.log_density(unit)
        return torch.stack(torch.broadcast_tensors(*units), -1), log_q


FAMILY = TruncatedMultivariateNormal
