"""Mixture of multivariate logit-normals: several modes, each with its own full covariance.

On u, the places of the variables between their bounds:

    q(u) = Σ_k π_k N(logit u; μ_k, S_k R_k S_k) / Πᵢ uᵢ (1 − uᵢ)

Each component is a ``multivariate_logit_normal``; weights and components come from one linear map of the
features.

A draw that first picks a component has no derivative in the weights π. Here, with gradients, each variable
in turn is the quantile of its conditional mixture given those before it, F(xᵢ | x₁ … xᵢ₋₁) = pᵢ: an exact,
continuous map of noise, differentiable in every parameter by the implicit function theorem, so E[f(z)] has
an unbiased gradient. Under ``torch.no_grad`` no such map is needed and the component is simply picked, which
is some thirty times faster: other draws for the same seed, from the same distribution. Quantiles are those
of the marginal mixture, by the same root.

It is made for two explanations of one spectrum, or a ridge that bends: several ellipses follow it. It cannot
represent a density that is not zero at a bound. Across a wide gap between components the gradient of the
weights is right but of large variance: there train on simulations (``npe``), which draws nothing. It has 30
thousand parameters behind 128 features.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from canopyflow.errors import ConfigError

from ._copula import below_diagonal, conditional, correlation_factor
from ._marginals import FARTHEST_LOGIT, LOG_ROOT_TWO_PI, LogitNormalMarginal, log_slope_of_sigmoid
from ._root import invert
from .contract import Box, Family, LogJoint, Posterior, Setting


class Mixture(Family):
    """Option ``components``: how many."""

    kin = "correlated"
    summary = "mixture of multivariate logit-normals, differentiable in its weights too"
    reference = "Figurnov, Mohamed & Mnih 2018, arXiv:1805.08498"
    cost = "draw: no network, with gradients D roots in turn; density: D steps"

    def __init__(self, setting: Setting, components: int = 3) -> None:
        super().__init__(setting)
        if components < 1:
            raise ConfigError(f"family 'mixture' has {components} components", "give at least one")
        self.components = components
        self.head = nn.Linear(self.features, components * (1 + 2 * self.dim + below_diagonal(self.dim)))

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        raw = self.head(h).unflatten(-1, (self.components, -1))
        weight, loc, scale, factor = raw.split([1, self.dim, self.dim, below_diagonal(self.dim)], dim=-1)
        component = LogitNormalMarginal.of(loc, scale)
        return MixturePosterior(
            torch.log_softmax(weight.squeeze(-1), dim=-1),
            component.loc,
            component.scale,
            correlation_factor(factor, self.dim),
            self.box,
        )


class MixturePosterior(Posterior):
    """``log_weight`` (*batch, C), ``loc`` and ``scale`` (*batch, C, D), ``factor`` (*batch, C, D, D)."""

    def __init__(self, log_weight: Tensor, loc: Tensor, scale: Tensor, factor: Tensor, box: Box) -> None:
        super().__init__(loc[..., 0, :])
        self.log_weight, self.loc, self.scale, self.factor, self.box = log_weight, loc, scale, factor, box

    def rsample_and_log_prob(
        self, shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        noise = self._noise((*shape, *self._like.shape), generator)
        if torch.is_grad_enabled():
            logit, log_q = self._walk(lambda i, w, m, s: mixture_quantile(w, m, s, noise[..., i]))
        else:
            # The same distribution without a root to find: a component, then a draw from it.
            drawn = self._of_one_component(noise, generator)
            logit, log_q = self._walk(lambda i, *_: drawn[..., i])
        return self.box.outward(torch.sigmoid(logit)), log_q

    def _of_one_component(self, noise: Tensor, generator: torch.Generator | None) -> Tensor:
        level = torch.rand(noise.shape[:-1], generator=generator, dtype=noise.dtype, device=noise.device)
        ends = self.log_weight.exp().cumsum(-1)[..., :-1]
        component = (level.unsqueeze(-1) > ends).sum(-1)
        # (*batch, C, D, S): one matrix product for all draws of a batch element.
        columns = noise.reshape(-1, *self._like.shape).movedim(0, -1).unsqueeze(-3)
        each = self.loc.unsqueeze(-1) + self.scale.unsqueeze(-1) * (self.factor @ columns)
        each = each.movedim(-1, 0).reshape(*noise.shape[:-1], *self.loc.shape[-2:])
        chosen = each.take_along_dim(component[..., None, None], dim=-2).squeeze(-2)
        return chosen.clamp(-FARTHEST_LOGIT, FARTHEST_LOGIT)

    def log_prob(self, z: Tensor) -> Tensor:
        unit, within = self.box.inward(z)
        logit = torch.logit(unit)
        return self._walk(lambda i, *_: logit[..., i])[1].masked_fill(~within, -math.inf)

    def quantile(self, p: float | Tensor) -> Tensor:
        score = torch.special.ndtri(torch.as_tensor(p, dtype=self.loc.dtype, device=self.device))
        # Each marginal is a mixture of the components' marginals, with the same weights.
        weight = self.log_weight.exp().unsqueeze(-2)
        loc, scale = self.loc.mT, self.scale.mT
        logit = mixture_quantile(weight, loc, scale, score.reshape(*score.shape, *(1,) * (loc.ndim - 1)))
        return self.box.outward(torch.sigmoid(logit))

    def _walk(self, choose: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        """Through the variables in order: ``choose(i, weight, mean, scale)`` gives the logit of each.

        ``weight``, ``mean``, ``scale`` (..., *batch, C) are the conditional mixture's. Returns logits
        (..., *batch, D) and their log density (..., *batch) in physical units.
        """
        logits: list[Tensor] = []
        residuals: list[Tensor] = []
        log_joint = self.log_weight
        for i in range(self.loc.shape[-1]):
            mean, scale = conditional(self.loc, self.scale, self.factor, residuals)
            logit = choose(i, torch.softmax(log_joint, -1), mean, scale)
            logits.append(logit)
            residuals.append((logit.unsqueeze(-1) - mean) / scale)
            log_joint = log_joint - 0.5 * residuals[-1].square() - scale.log() - LOG_ROOT_TWO_PI
        value = torch.stack(torch.broadcast_tensors(*logits), -1)
        return value, torch.logsumexp(log_joint, -1) - log_slope_of_sigmoid(value) - self.box.log_volume


def mixture_quantile(weight: Tensor, mean: Tensor, scale: Tensor, score: Tensor) -> Tensor:
    """Value (...) at probability Φ(score) of Σ_k weight_k N(mean_k, scale_k²), all (..., C) but ``score``.

    Solved for the score, in which a mixture of like components is nearly linear.
    """
    # Masses are taken on the side of the nearer tail, where floats have digits to spare.
    side = torch.where(score > 0.0, -1.0, 1.0).to(score)
    eps = torch.finfo(score.dtype).eps

    def score_at(value: Tensor) -> tuple[Tensor, Tensor]:
        standard = (value.unsqueeze(-1) - mean) / scale
        mass = (weight * torch.special.ndtr(side.unsqueeze(-1) * standard)).sum(-1)
        at = side * torch.special.ndtri(mass.clamp(1e-30, 1.0 - eps))
        density = (weight * torch.exp(-0.5 * standard.square()) / scale).sum(-1)
        # Deep in a gap between components the density is zero in floats.
        return at, density.clamp(min=1e-9) * torch.exp(0.5 * at.square())

    # The quantile of a mixture lies between those of its components.
    ends = (mean + scale * score.unsqueeze(-1)).detach()
    value = invert(score_at, score, ends.amin(-1), ends.amax(-1))
    return value.clamp(-FARTHEST_LOGIT, FARTHEST_LOGIT)


FAMILY = Mixture
