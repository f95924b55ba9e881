"""The observation noise of the Sentinel-2 toolbox ATBD, with its correlation between bands.

R* = R·(1 + MI + MD_b) + AI + AD_b: the errors MI and AI are common to all
bands of a pixel, MD_b and AD_b independent. Given R the observation is normal with covariance
σ_AD² I + σ_AI² 11ᵀ + σ_MD² diag(R²) + σ_MI² RRᵀ (Weiss & Baret 2016), a diagonal plus
rank two, so inverse and determinant are closed forms of a few sums over bands (Woodbury). The marginal
of some bands drops the rows and columns of the others, so its sums run over those bands alone.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from canopyflow.errors import ConfigError


@dataclass(frozen=True)
class NoiseModel:
    """Standard deviations: additive in reflectance, multiplicative as a share of it."""

    additive_independent: float = 0.01
    additive_common: float = 0.01
    multiplicative_independent: float = 0.02
    multiplicative_common: float = 0.02

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value >= 0.0):
                raise ConfigError(
                    f"noise.{name} is {value}", "a standard deviation is a number of at least 0"
                )
        if self.additive_independent <= 0.0:
            raise ConfigError(
                "noise.additive_independent is 0", "a dark pixel would be known exactly; give it > 0"
            )

    def sample(self, reflectance: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One noisy observation of each ``reflectance`` (..., bands); differentiable in it."""

        def normal(shape: torch.Size) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=reflectance.dtype, device=reflectance.device)

        single, pixel = reflectance.shape, torch.Size((*reflectance.shape[:-1], 1))
        factor = self.multiplicative_independent * normal(single) + self.multiplicative_common * normal(pixel)
        offset = self.additive_independent * normal(single) + self.additive_common * normal(pixel)
        return reflectance * (1.0 + factor) + offset

    def log_prob(self, observed: Tensor, reflectance: Tensor, valid: Tensor | None = None) -> Tensor:
        """Log density (...) of ``observed`` (..., bands) given noise-free ``reflectance`` (..., bands).

        With ``valid`` (..., bands), bool, it is the density of the valid entries (their exact marginal),
        0 where there is none. Whatever stands under the other entries, NaN included, changes nothing.
        """
        distance2, log_det = self._terms(observed, reflectance, valid)
        bands = max(observed.shape[-1], reflectance.shape[-1])
        if valid is None:
            return -0.5 * (distance2 + log_det + bands * math.log(2.0 * math.pi))
        count = valid.expand(*valid.shape[:-1], bands).sum(-1)
        # In float64, so that rounding is that of the Python number above.
        constant = (count.double() * math.log(2.0 * math.pi)).to(distance2.dtype)
        return -0.5 * (distance2 + log_det + constant)

    def distance2(self, observed: Tensor, reflectance: Tensor, valid: Tensor | None = None) -> Tensor:
        """Squared Mahalanobis distance (...) of the entries that are ``valid``, of all without it.

        Its expectation under the noise is the number of those entries.
        """
        return self._terms(observed, reflectance, valid)[0]

    def covariance(self, reflectance: Tensor) -> Tensor:
        """The full matrix (..., bands, bands), for those who need it; the densities do not."""
        variance = self.additive_independent**2 + (self.multiplicative_independent * reflectance) ** 2
        common = (self.multiplicative_common * reflectance).unsqueeze(-1)
        return torch.diag_embed(variance) + common * common.transpose(-1, -2) + self.additive_common**2

    def _terms(self, observed: Tensor, reflectance: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mahalanobis distance squared and log determinant, by the Woodbury identity."""
        if valid is not None:
            # Replaced before any arithmetic: a product with NaN, and its gradient, would be NaN again.
            observed, reflectance = torch.where(valid, observed, 0.0), torch.where(valid, reflectance, 0.0)
        residual = observed - reflectance
        variance = self.additive_independent**2 + (self.multiplicative_independent * reflectance) ** 2
        weight, log_variance = 1.0 / variance, variance.log()
        if valid is not None:
            weight, log_variance = torch.where(valid, weight, 0.0), torch.where(valid, log_variance, 0.0)
        weighted = reflectance * weight
        add, mult = self.additive_common, self.multiplicative_common
        first = 1.0 + add**2 * weight.sum(-1)
        second = 1.0 + mult**2 * (reflectance * weighted).sum(-1)
        mixed = add * mult * weighted.sum(-1)
        by_add = add * (residual * weight).sum(-1)
        by_mult = mult * (residual * weighted).sum(-1)
        det = first * second - mixed**2
        explained = (second * by_add**2 - 2.0 * mixed * by_add * by_mult + first * by_mult**2) / det
        distance2 = (residual.square() * weight).sum(-1) - explained
        return distance2.clamp_min(0.0), log_variance.sum(-1) + det.log()
