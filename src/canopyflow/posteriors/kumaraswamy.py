"""Independent Kumaraswamy distributions: close to the beta distribution, with a closed-form quantile.

On u, the place of a variable between its bounds, each variable on its own:

    F(u) = 1 − (1 − uᵃ)ᵇ,    q(u) = a b uᵃ⁻¹ (1 − uᵃ)ᵇ⁻¹,    quantile (1 − (1 − p)^(1/b))^(1/a)

The features give, by one linear map, a in [1, 500] (starting at 2) and a location m in (0.001, 0.999), and b
= m⁻ᵃ. So a sets the width, about 1.3 m / a, and m the place, where F ≈ 1 − 1/e; a, b ≥ 1 keep the density
bounded. m → 1 with a = 1 is the uniform distribution. Narrow ones have a in the hundreds and b beyond every
float, so all is computed in logarithms.

It stands in for a beta distribution, whose quantile has no cheap derivative: one mode, skewed to the left if
narrow. It cannot represent dependence between variables, nor have two modes. Its right tail falls as
exp(−(u/m)ᵃ): narrow posteriors are punished hard for a truth to their right, and importance weights there
are large. Prefer the evidence bound to ``npe``, or another family.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ._bounds import softly, within
from ._copula import IndependentFamily
from ._marginals import IMPOSSIBLE, Marginal, log1mexp
from .contract import EDGE

LARGEST_POWER = 500.0
"""Relative width of a distribution 1.3 / a: about a quarter of a per cent."""
START_POWER = 2.0
LOGIT_LIMIT = 7.0


class Kumaraswamy(IndependentFamily):
    """Linear map of the features to location and power of each variable."""

    summary = "independent Kumaraswamy distributions: nearly beta, with closed-form quantiles"
    reference = "Kumaraswamy 1980, doi:10.1016/0022-1694(80)90036-0; Jones 2009"
    cost = "draw: no network; density: the same"

    @staticmethod
    def marginal(loc: Tensor, scale: Tensor) -> KumaraswamyMarginal:
        log_power = within(scale, 0.0, math.log(LARGEST_POWER), start=math.log(START_POWER))
        return KumaraswamyMarginal(F.logsigmoid(softly(loc, LOGIT_LIMIT)), log_power.exp())


class KumaraswamyMarginal(Marginal):
    """``log_location`` = log m < 0 and ``power`` = a ≥ 1, (*batch, D); 1/b = mᵃ."""

    def __init__(self, log_location: Tensor, power: Tensor) -> None:
        self.power, self.log_rate, self.shape = power, power * log_location, power.shape

    def quantile(self, score: Tensor) -> Tensor:
        # −log(1 − p)/b, then uᵃ = 1 − exp(−that).
        log_hazard = torch.log(-torch.special.log_ndtr(-score)) + self.log_rate
        return torch.exp(_log_one_minus_exp_exp(log_hazard) / self.power).clamp(EDGE, 1.0 - EDGE)

    def log_density(self, unit: Tensor) -> Tensor:
        log_unit = unit.log()
        log_hazard = _log_minus_log_one_minus_exp(self.power * log_unit)
        survived = torch.exp((log_hazard - self.log_rate).clamp(max=IMPOSSIBLE))
        return (
            self.power.log()
            - self.log_rate
            + (self.power - 1.0) * log_unit
            + torch.exp(log_hazard)
            - survived
        )


def _log_one_minus_exp_exp(t: Tensor) -> Tensor:
    """log(1 − exp(−eᵗ)), which is t − eᵗ/2 + O(e²ᵗ) far down."""
    small = t < -10.0
    other = log1mexp(-torch.exp(torch.where(small, torch.zeros_like(t), t)))
    return torch.where(small, t - 0.5 * torch.exp(torch.where(small, t, torch.zeros_like(t))), other)


def _log_minus_log_one_minus_exp(w: Tensor) -> Tensor:
    """log(−log(1 − eʷ)) for w < 0, which is w + eʷ/2 + O(e²ʷ) far down: the inverse of the function above."""
    small = w < -10.0
    other = torch.log(-log1mexp(torch.where(small, torch.full_like(w, -1.0), w)))
    return torch.where(small, w + 0.5 * torch.exp(w), other)


FAMILY = Kumaraswamy
