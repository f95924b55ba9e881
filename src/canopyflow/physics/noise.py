"""The observation noise of the Sentinel-2 toolbox ATBD, with its correlation between bands.

R* = R·(1 + MI + MD_b) + AI + AD_b: the errors MI and AI are common to all
bands of a pixel, MD_b and AD_b independent. Given R the observation is normal with covariance
σ_AD² I + σ_AI² 11ᵀ + σ_MD² diag(R²) + σ_MI² RRᵀ (Weiss & Baret 2016), a diagonal plus
rank two, so inverse and determinant are closed forms of a few sums over bands (Woodbury).
"""

from __future__ import annotations

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

    def log_prob(self, observed: Tensor, reflectance: Tensor) -> Tensor:
        """Log density (...) of ``observed`` (..., bands) given noise-free ``reflectance`` (..., bands)."""
        distance2, log_det = self._terms(observed, reflectance)
        bands = max(observed.shape[-1], reflectance.shape[-1])
        return -0.5 * (distance2 + log_det + bands * math.log(2.0 * math.pi))

    def distance2(self, observed: Tensor, reflectance: Tensor) -> Tensor:
        """Squared Mahalanobis distance (...); its expectation under the noise is the number of bands."""
        return self._terms(observed, reflectance)[0]

    def covariance(self, reflectance: Tensor) -> Tensor:
        """The full matrix (..., bands, bands), for those who need it; the densities do not."""
        variance = self.additive_independent**2 + (self.multiplicative_independent * reflectance) ** 2
        common = (self.multiplicative_common * reflectance).unsqueeze(-1)
        return torch.diag_embed(variance) + common * common.transpose(-1, -2) + self.additive_common**2

    def _terms(self, observed: Tensor, reflectance: Tensor) -> tuple[Tensor, Tensor]:
        """Mahalanobis distance squared and log determinant, by the Woodbury identity."""
        residual = observed - reflectance
        variance = self.additive_independent**2 + (self.multiplicative_independent * reflectance) ** 2
        weight = 1.0 / variance
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
        return distance2.clamp_min(0.0), variance.log().sum(-1) + det.log()
