"""Low-rank logit-normal: the logits are jointly normal, with a few common factors.

On u, the places of the variables between their bounds:

    q(u) = N(logit u; μ, S (d² + W Wᵀ) S) / Πᵢ uᵢ (1 − uᵢ),    dᵢ² + |Wᵢ|² = 1,   W of shape D × r

so logit u = μ + S (d ε + W η), with r common factors η. The marginals are those of ``logit_normal``, and so
are the quantiles; all numbers come from one linear map of the features. The common part of a variable is at
most ten times its own (multiple correlation below 0.995). The density is by Woodbury's identity.

It is made for many variables of which a few directions matter: parameters grow as (2 + r) D and not as D²/2.
It cannot represent what ``multivariate_logit_normal`` cannot, nor correlations that r factors do not span.
It has 6 thousand parameters behind 128 features.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal

from canopyflow.errors import ConfigError

from ._bounds import softly
from ._copula import WEIGHT_LIMIT, CopulaPosterior, Dependence
from ._marginals import LogitNormalMarginal
from .contract import Family, LogJoint, Posterior, Setting, standard_normal


class LowRank(Family):
    """Option ``rank``: the number r of common factors."""

    kin = "correlated"
    summary = "logit-normal with diagonal plus low-rank covariance: a few common factors"
    reference = "Ong, Nott & Smith 2018, doi:10.1080/10618600.2017.1390472"
    cost = "draw: no network, a D × rank product; density: the same"

    def __init__(self, setting: Setting, rank: int = 2) -> None:
        super().__init__(setting)
        if rank < 1:
            raise ConfigError(f"family 'low_rank' has rank {rank}", "give at least one factor")
        self.rank = rank
        self.head = nn.Linear(self.features, (2 + rank) * self.dim)

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        loc, scale, raw = self.head(h).split([self.dim, self.dim, self.rank * self.dim], dim=-1)
        dependence = FactorCorrelation(raw.unflatten(-1, (self.dim, self.rank)))
        return CopulaPosterior(LogitNormalMarginal.of(loc, scale), dependence, self.box)


class FactorCorrelation(Dependence):
    """Scores d ε + W η: ``raw`` (*batch, D, r) are the loadings in units of the variable's own share d."""

    def __init__(self, raw: Tensor) -> None:
        loading = softly(raw, WEIGHT_LIMIT) / math.sqrt(raw.shape[-1])
        self.own = torch.rsqrt(1.0 + loading.square().sum(-1))
        self.loading = loading * self.own.unsqueeze(-1)

    def draw(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        noise = standard_normal(shape, self.own, generator)
        common = standard_normal((*shape[:-1], self.loading.shape[-1]), self.own, generator)
        return self.own * noise + torch.einsum("...dr,...r->...d", self.loading, common)

    def log_density(self, score: Tensor) -> Tensor:
        normal = LowRankMultivariateNormal(torch.zeros_like(self.own), self.loading, self.own.square())
        return normal.log_prob(score)


FAMILY = LowRank
