"""Low-rank logit-normal: the logits are jointly normal with a diagonal plus a rank-r covariance.

Density of u in (0, 1)ᴰ: N(logit u; μ, S (d² + W Wᵀ) S) / Π uᵢ(1 − uᵢ) with W (D, r) and dᵢ² + |Wᵢ|² = 1:
r common factors explain the dependence, so the number of parameters grows with D and not D².
The density is by Woodbury's identity (torch's LowRankMultivariateNormal).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal

from canopyflow.errors import ConfigError

from ._bounds import softly
from ._copula import WEIGHT_LIMIT, CopulaPosterior, Dependence, standard_normal
from ._marginals import LogitNormalMarginal
from .contract import Box, Family, LogJoint, Posterior


class LowRank(Family):
    """Linear map of the features to locations, scales and loadings; ``rank`` is the number of factors."""

    kin = "correlated"
    summary = "logit-normal with diagonal plus low-rank covariance: a few common factors"
    reference = "Ong, Nott & Smith 2018, doi:10.1080/10618600.2017.1390472"
    cost = "draw: no network, a D × rank product; density: the same"

    def __init__(self, dim: int, features: int, lower: Tensor, upper: Tensor, rank: int = 2) -> None:
        super().__init__(dim, features, lower, upper)
        if rank < 1:
            raise ConfigError(f"family 'low_rank' has rank {rank}", "give at least one factor")
        self.rank = rank
        self.head = nn.Linear(features, (2 + rank) * dim)

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        loc, scale, raw = self.head(h).split([self.dim, self.dim, self.rank * self.dim], dim=-1)
        return CopulaPosterior(
            LogitNormalMarginal.of(loc, scale),
            FactorCorrelation(raw.unflatten(-1, (self.dim, self.rank))),
            Box(self.lower, self.upper),
        )


class FactorCorrelation(Dependence):
    """Scores d ε + W η: ``raw`` (*batch, D, r) are the loadings in units of the variable's own share d."""

    def __init__(self, raw: Tensor) -> None:
        loading = softly(raw, WEIGHT_LIMIT) / math.sqrt(raw.shape[-1])
        self.own = torch.rsqrt(1.0 + loading.square().sum(-1))
        self.loading = loading * self.own.unsqueeze(-1)

    def draw(self, shape: Sequence[int], box: Box, generator: torch.Generator | None) -> Tensor:
        noise = standard_normal(shape, box, generator)
        common = standard_normal((*shape[:-1], self.loading.shape[-1]), box, generator)
        return self.own * noise + torch.einsum("...dr,...r->...d", self.loading, common)

    def log_density(self, score: Tensor) -> Tensor:
        law = LowRankMultivariateNormal(torch.zeros_like(self.own), self.loading, self.own.square())
        density: Tensor = law.log_prob(score)
        return density


FAMILY = LowRank
