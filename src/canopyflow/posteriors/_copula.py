"""Posteriors made of marginals and, where variables depend on each other, a Gaussian copula.

Each variable is an increasing map of a standard normal score; the density is the product of the marginal
densities times that of the copula, N(y; 0, R) / Π φ(yᵢ), with R the correlation matrix of the scores y (Sklar
1959; Song 2000, doi:10.1111/1467-9469.00191).
"""

import abc
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ._bounds import softly
from ._marginals import Marginal, ScoredMarginal, log_gaussian
from .contract import Box, Family, LogJoint, Posterior, Setting, standard_normal

WEIGHT_LIMIT = 10.0
"""A variable's dependent part is at most ten times its own: multiple correlations stay below 0.995."""


class IndependentPosterior(Posterior):
    """A product of marginals. Quantiles are those of the marginals."""

    def __init__(self, marginal: Marginal, box: Box) -> None:
        super().__init__(box.lower.expand(marginal.shape))
        self.marginal, self.box = marginal, box

    def rsample_and_log_prob(
        self, shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        score, log_copula = self._draw((*shape, *self._like.shape), generator)
        unit = self.marginal.quantile(score)
        return self.box.outward(unit), self._log_marginals(unit) + log_copula

    def log_prob(self, z: Tensor) -> Tensor:
        unit, within = self.box.inward(z)
        return (self._log_marginals(unit) + self._log_copula(unit)).masked_fill(~within, -math.inf)

    def quantile(self, p: float | Tensor) -> Tensor:
        score = torch.special.ndtri(torch.as_tensor(p, dtype=self._like.dtype, device=self.device))
        return self.box.outward(self.marginal.quantile(score.reshape(*score.shape, *(1,) * self._like.ndim)))

    def kl_uniform(self) -> Tensor | None:
        """KL divergence (*batch, D) of each marginal from the uniform distribution over its bounds.

        None where it has no closed form. The variables are independent, so the sum over them is the
        divergence of all together.
        """
        return self.marginal.kl_uniform()

    def _log_marginals(self, unit: Tensor) -> Tensor:
        return self.marginal.log_density(unit).sum(-1) - self.box.log_volume

    def _draw(self, shape: Sequence[int], generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Scores of ``shape`` and their log copula density (less the last dimension)."""
        score = self._noise(shape, generator)
        return score, score.new_zeros(score.shape[:-1])

    def _log_copula(self, unit: Tensor) -> Tensor:
        return unit.new_zeros(())


class Dependence(abc.ABC):
    """A multivariate normal distribution of the scores: zero mean, unit variances."""

    @abc.abstractmethod
    def draw(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        """Scores of ``shape`` (..., *batch, D)."""

    @abc.abstractmethod
    def log_density(self, score: Tensor) -> Tensor:
        """Log density (..., *batch) of scores (..., *batch, D)."""


class CopulaPosterior(IndependentPosterior):
    """Marginals joined by ``dependence``, the distribution of their scores."""

    def __init__(self, marginal: ScoredMarginal, dependence: Dependence, box: Box) -> None:
        super().__init__(marginal, box)
        self.scored, self.dependence = marginal, dependence

    def _draw(self, shape: Sequence[int], generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        score = self.dependence.draw(shape, generator)
        return score, self._log_ratio(score)

    def _log_copula(self, unit: Tensor) -> Tensor:
        return self._log_ratio(self.scored.score(unit))

    def kl_uniform(self) -> None:
        """None: the divergence of dependent variables is more than the sum of their marginals'."""
        return

    def _log_ratio(self, score: Tensor) -> Tensor:
        return self.dependence.log_density(score) - log_gaussian(score)


class FullCorrelation(Dependence):
    """Scores L ε with L (*batch, D, D) lower triangular, L Lᵀ of unit diagonal."""

    def __init__(self, factor: Tensor) -> None:
        self.factor = factor
        self._log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def draw(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        noise = standard_normal(shape, self.factor, generator)
        return _from_columns(self.factor @ self._to_columns(noise), noise.shape)

    def log_density(self, score: Tensor) -> Tensor:
        noise = torch.linalg.solve_triangular(self.factor, self._to_columns(score), upper=False)
        return log_gaussian(_from_columns(noise, score.shape)) - self._log_det

    def _to_columns(self, score: Tensor) -> Tensor:
        """(..., *batch, D) → (*batch, D, S): one matrix product for all samples of a batch element."""
        return score.reshape(-1, *self.factor.shape[:-1]).movedim(0, -1)


def _from_columns(columns: Tensor, shape: torch.Size) -> Tensor:
    return columns.movedim(-1, 0).reshape(shape)


def below_diagonal(dim: int) -> int:
    """Number of correlations among ``dim`` variables."""
    return dim * (dim - 1) // 2


def correlation_factor(raw: Tensor, dim: int) -> Tensor:
    """Unbounded (..., D(D−1)/2) to the Cholesky factor (..., D, D) of a correlation matrix.

    Zeros mean no correlation. The raw numbers, over the root of their count in a row, stand left of a
    unit diagonal, and each row is scaled to length one.
    """
    row, column = torch.tril_indices(dim, dim, -1, device=raw.device)
    factor = torch.eye(dim, dtype=raw.dtype, device=raw.device).expand(*raw.shape[:-1], dim, dim).clone()
    factor[..., row, column] = softly(raw, WEIGHT_LIMIT) / row.to(raw).sqrt()
    return factor / factor.square().sum(-1, keepdim=True).sqrt()


def conditional(
    loc: Tensor, scale: Tensor, factor: Tensor, residuals: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Mean and scale (...) of the next of jointly normal variables, given the ``residuals`` of those before.

    ``loc`` and ``scale`` (..., D) and ``factor`` (..., D, D) are the distribution's; a residual is a
    variable's distance from its conditional mean in units of its conditional scale.
    """
    i = len(residuals)
    mean = loc[..., i]
    if residuals:
        mean = mean + scale[..., i] * (factor[..., i, :i] * torch.stack(list(residuals), -1)).sum(-1)
    return mean, scale[..., i] * factor[..., i, i]


class IndependentFamily(Family):
    """A linear map of the features gives the two numbers of each variable's marginal."""

    kin = "independent"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.head = nn.Linear(setting.features, 2 * setting.dim)

    @staticmethod
    @abc.abstractmethod
    def marginal(loc: Tensor, scale: Tensor) -> Marginal:
        """The marginals of unbounded network outputs (*batch, D)."""

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        return IndependentPosterior(self.marginal(*self.head(h).chunk(2, dim=-1)), self.box)


class CorrelatedFamily(Family):
    """A linear map of the features gives locations, scales and the correlations' Cholesky factor."""

    kin = "correlated"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.head = nn.Linear(setting.features, 2 * setting.dim + below_diagonal(setting.dim))

    @staticmethod
    @abc.abstractmethod
    def marginal(loc: Tensor, scale: Tensor) -> ScoredMarginal:
        """The marginals of unbounded network outputs (*batch, D)."""

    def parts(self, h: Tensor) -> tuple[ScoredMarginal, Tensor]:
        """The marginals, and the Cholesky factor (*batch, D, D) of the correlation matrix."""
        loc, scale, raw = self.head(h).split([self.dim, self.dim, below_diagonal(self.dim)], dim=-1)
        return self.marginal(loc, scale), correlation_factor(raw, self.dim)

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        marginal, factor = self.parts(h)
        return CopulaPosterior(marginal, FullCorrelation(factor), self.box)
