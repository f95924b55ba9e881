"""Independent generalised extreme value (GEV) distributions, truncated to the bounds.

On u, the place of a variable between its bounds, with s = (u − μ)/σ, each variable on its own:

    F(u) = exp(−t),   t = (1 + ξ s)^(−1/ξ)   (ξ = 0: t = e⁻ˢ),    q(u) = F′(u) / (F(1) − F(0))

One linear map of the features gives μ in (0, 1), σ in [0.002, 1] (starting at 0.2) and ξ in (−0.5, 0.5): the
larger ξ, the heavier the right tail. Quantiles have a closed form.

A GEV of ξ ≠ 0 ends at s = −1/ξ, perhaps within the bounds, and a truth beyond that end would have no
density. So where 1 + ξ s < 0.01, log t goes on as its tangent, which is the tail of a Gumbel distribution.
Any decreasing log t makes exp(−t) a distribution function, so density and quantile stay exact, and the
support is the whole box. Beyond that seam lies no mass for ξ > 0, and 0.01^(1/|ξ|), at most 1e-4, for ξ < 0.

It is made for skewed marginals whose skew is itself of interest. It cannot represent dependence between
variables, nor have two modes. With ξ ≥ 0 the left tail falls as exp(−eˢ): narrow posteriors are punished
hard for a truth to their left, and importance weights there are large.
"""

import math

import torch
from torch import Tensor, nn

from canopyflow.errors import ConfigError

from ._bounds import within
from ._copula import IndependentPosterior
from ._extreme import LARGEST_SHAPE, log_t, standard_of
from ._marginals import Marginal
from .contract import EDGE, Family, LogJoint, Posterior, Setting

SCALE_RANGE = (2e-3, 1.0)
START_SCALE = 0.2


class GeneralisedExtremeValue(Family):
    """Option ``shape``: one ξ in [−0.5, 0.5] for every variable, in place of learned ones.

    0 is a Gumbel distribution, −0.28 nearly symmetric, above 0 the right tail is heavy.
    """

    kin = "independent"
    summary = "independent generalised extreme value distributions, truncated: skewed, learned tails"
    reference = "Jenkinson 1955, doi:10.1002/qj.49708134804"
    cost = "draw: no network; density: the same"

    def __init__(self, setting: Setting, shape: float | None = None) -> None:
        super().__init__(setting)
        if shape is not None and not abs(shape) <= LARGEST_SHAPE:
            raise ConfigError(
                f"family 'gev' has shape {shape:g}",
                f"choose it within ±{LARGEST_SHAPE:g}, or leave it to be learned",
            )
        self.shape = shape
        self.head = nn.Linear(self.features, (3 if shape is None else 2) * self.dim)

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        location, scale, *raw = self.head(h).split(self.dim, dim=-1)
        log_low, log_high = (math.log(s) for s in SCALE_RANGE)
        marginal = GeneralisedExtremeValueMarginal(
            torch.sigmoid(location),
            within(scale, log_low, log_high, start=math.log(START_SCALE)).exp(),
            LARGEST_SHAPE * torch.tanh(raw[0]) if self.shape is None else torch.full_like(scale, self.shape),
        )
        return IndependentPosterior(marginal, self.box)


class GeneralisedExtremeValueMarginal(Marginal):
    """``loc`` in [0, 1], ``scale`` and ``xi`` (*batch, D). The mass inside is never below a quarter."""

    def __init__(self, loc: Tensor, scale: Tensor, xi: Tensor) -> None:
        self.loc, self.scale, self.xi, self.shape = loc, scale, xi, loc.shape
        self._below = torch.exp(-self._log_t(torch.zeros_like(loc))[0].exp())
        self._above = -torch.expm1(-self._log_t(torch.ones_like(loc))[0].exp())
        self._inside = 1.0 - self._below - self._above

    def quantile(self, score: Tensor) -> Tensor:
        left = self._below + torch.special.ndtr(score) * self._inside
        right = self._above + torch.special.ndtr(-score) * self._inside
        # From the nearer tail: there floats have digits to spare.
        lower = left < right
        t = torch.where(
            lower,
            -torch.log(torch.where(lower, left, 0.5).clamp(min=1e-30)),
            -torch.log1p(-torch.where(lower, 0.5, right).clamp(1e-30, 0.5)),
        )
        return (self.loc + self.scale * standard_of(torch.log(t), self.xi)).clamp(EDGE, 1.0 - EDGE)

    def log_density(self, unit: Tensor) -> Tensor:
        value, log_slope = self._log_t(unit)
        return value + log_slope - value.exp() - self.scale.log() - self._inside.log()

    def _log_t(self, unit: Tensor) -> tuple[Tensor, Tensor]:
        """log t and log |d log t / ds|."""
        return log_t((unit - self.loc) / self.scale, self.xi)


FAMILY = GeneralisedExtremeValue
