"""The observation noise of the Sentinel-2 toolbox ATBD, with its correlation between bands, and a smooth
error.

R* = R·(1 + MI + MD_b + S_b) + AI + AD_b: the errors MI and AI are common to all bands of a pixel, MD_b and
AD_b independent (Weiss & Baret 2016); S changes slowly over the spectrum, as what atmospheric correction and
the physics miss does: its correlation over a distance of d nanometres is exp(−d²/2ℓ²). Given R the
observation is normal with covariance σ_AD² I + σ_AI² 11ᵀ + σ_MD² diag(R²) + σ_MI² RRᵀ + σ_S² (R_i R_j k_ij).
Without S it is a diagonal plus rank two, so inverse and determinant are closed forms of a few sums over bands
(Woodbury); with S they take a Cholesky factor. The marginal of some bands drops the rows and columns of the
others.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.vocabulary import BANDS

CENTRES: dict[str, float] = dict(
    zip(BANDS, (492.4, 559.9, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 1613.7, 2202.4), strict=True)
)
"""Centroids of the bands of S2A, nm (ESA, Sentinel-2 spectral responses); those of the others are within 12
nm."""


@dataclass(frozen=True)
class NoiseModel:
    """Standard deviations: additive in reflectance, multiplicative as a share of it.

    ``smooth_length``: nanometres over which the smooth error changes; ``bands``: names of the bands in order,
    which a smooth error needs.
    """

    additive_independent: float = 0.01
    additive_common: float = 0.01
    multiplicative_independent: float = 0.02
    multiplicative_common: float = 0.02
    multiplicative_smooth: float = 0.0
    smooth_length: float = 250.0
    bands: Sequence[str] = BANDS

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name == "bands":
                continue
            if not (math.isfinite(value) and value >= 0.0):
                raise ConfigError(
                    f"noise.{name} is {value}", "a standard deviation is a number of at least 0"
                )
        if self.smooth_length <= 0.0:
            raise ConfigError("noise.smooth_length is 0", "give nanometres, such as 250")
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
        if self.multiplicative_smooth:
            factor = (
                factor + self.multiplicative_smooth * normal(single) @ self._smooth_root().to(reflectance).T
            )
        return reflectance * (1.0 + factor) + offset

    def correlation(self) -> Tensor:
        """Of the smooth error between bands, (bands, bands), float64."""
        centre = torch.tensor([CENTRES[band] for band in self.bands], dtype=torch.float64)
        return torch.exp(-0.5 * ((centre[:, None] - centre) / self.smooth_length).square())

    def _smooth_root(self) -> Tensor:
        """Square root of :meth:`correlation`, symmetric."""
        values, axes = torch.linalg.eigh(self.correlation())
        return axes @ torch.diag(values.clamp_min(0.0).sqrt()) @ axes.T

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
        value = torch.diag_embed(variance) + common * common.transpose(-1, -2) + self.additive_common**2
        if self.multiplicative_smooth:
            smooth = (self.multiplicative_smooth * reflectance).unsqueeze(-1)
            value = value + smooth * smooth.transpose(-1, -2) * self.correlation().to(reflectance)
        return value

    def _terms(self, observed: Tensor, reflectance: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mahalanobis distance squared and log determinant."""
        if valid is not None:
            # Replaced before any arithmetic: a product with NaN, and its gradient, would be NaN again.
            observed, reflectance = torch.where(valid, observed, 0.0), torch.where(valid, reflectance, 0.0)
        if self.multiplicative_smooth:
            return self._factored(observed - reflectance, reflectance, valid)
        return self._by_sums(observed - reflectance, reflectance, valid)

    def _factored(self, residual: Tensor, reflectance: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """By a Cholesky factor of the covariance, in which a band that does not count is one of its own."""
        covariance = self.covariance(reflectance)
        if valid is not None:
            both = valid.unsqueeze(-1) & valid.unsqueeze(-2)
            covariance = torch.where(both, covariance, torch.eye(residual.shape[-1]).to(covariance))
        factor = torch.linalg.cholesky(covariance)
        white = torch.linalg.solve_triangular(factor, residual.unsqueeze(-1), upper=False).squeeze(-1)
        log_det = 2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return white.square().sum(-1), log_det

    def _by_sums(self, residual: Tensor, reflectance: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """By the Woodbury identity."""
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
