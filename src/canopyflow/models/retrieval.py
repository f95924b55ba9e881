"""The physical variational auto-encoder: a learned encoder, a posterior family, PROSAIL as decoder.

Two spaces appear. The *base box* is the fixed box on which a family lives;
*physical* variables are what PROSAIL takes. The prior owns the map between the
two (its co-distribution narrows the bounds of the other variables as leaf area
grows), so every density is carried across with that map's Jacobian. Whatever
leaves this module is in physical units.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from canopyflow import posteriors
from canopyflow.errors import DataError
from canopyflow.models.encoders import build_encoder
from canopyflow.models.priors import NO_LEARNED_PRIOR, build_learned_prior, held
from canopyflow.physics import VARIABLES, Prosail, prior
from canopyflow.physics.noise import NoiseModel
from canopyflow.physics.priors import Prior
from canopyflow.posteriors.contract import LogJoint, Posterior

log = logging.getLogger("canopyflow")

FIT_DRAWS = 8
"""Draws that are decoded to judge the fit of one pixel."""

_DRAWS = 1000
"""Draws behind a sampled marginal quantile."""


@dataclass(frozen=True)
class ModelOptions:
    """Everything a model is built from, as plain values; ``model.json`` carries exactly these."""

    family: str
    bands: tuple[str, ...]
    platforms: tuple[str, ...]
    family_options: dict[str, Any] = field(default_factory=dict)
    encoder: str = "pixel"
    encoder_options: dict[str, Any] = field(default_factory=dict)
    prior: str = "atbd"
    noise: dict[str, float] = field(default_factory=dict)
    leaf: str = "prospect-d"
    learned_prior: str = NO_LEARNED_PRIOR


class PhysicalPosterior:
    """A family's distribution on the base box, pushed forward to physical units.

    Sample shapes follow the family contract: (K, *batch, 11) and (K, *batch).
    """

    def __init__(
        self, base: Posterior, prior: Prior, base_log_likelihood: LogJoint, held_log_prob: LogJoint
    ) -> None:
        self.base = base
        self.prior = prior
        self.base_log_likelihood = base_log_likelihood
        self.held_log_prob = held_log_prob
        """Density of ``base`` with weights and features held fixed: a function of the point alone."""
        self.has_density = base.has_density

    def base_log_joint(self, u: Tensor) -> Tensor:
        """log p(x, u) per unit of base volume, (*sample, *batch), under the physical prior."""
        return self.base_log_likelihood(u) + self.prior.log_prob_base(u)

    def rsample(self, shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw (*shape, *batch, 11), differentiable; from torch's global generator without one."""
        return self.prior.to_physical(self.base.rsample(shape, generator))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density per unit of physical volume at ``z`` (..., *batch, 11)."""
        u = self.prior.to_base(z)
        return self.base.log_prob(u) - self.prior.log_abs_det(u)

    def log_prob_bound(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """:meth:`log_prob`, or for a family without a density one random draw of a lower bound of it."""
        u = self.prior.to_base(z)
        return self.base.log_prob_bound(u, generator) - self.prior.log_abs_det(u)

    def rsample_and_log_prob(
        self, shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw and its log density (or the extended-space term that keeps a bound valid), in one pass."""
        u, log_q = self.base.rsample_and_log_prob(shape, generator)
        return self.prior.to_physical(u), log_q - self.prior.log_abs_det(u)

    def quantile(self, p: float | Tensor) -> Tensor:
        """Marginal quantiles (*p.shape, *batch, 11) of draws from a fixed seed.

        Sampled even where the family has closed ones: in physical units the bounds
        of a variable move with leaf area, so its marginal is a mixture.
        """
        with torch.no_grad():
            draws = self.rsample((_DRAWS,), torch.Generator(self.base.device).manual_seed(0))
        return torch.quantile(draws, torch.as_tensor(p, dtype=draws.dtype, device=draws.device), dim=0)


class RetrievalModel(nn.Module):
    """Encoder + family + prior + noise + PROSAIL for all its platforms."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        self.options = options
        self.bands = options.bands
        self.platforms = options.platforms
        self.meta: dict[str, Any] = {}
        self._said_default = False
        self.encoder = build_encoder(
            options.encoder, len(options.bands), len(options.platforms), options.encoder_options
        )
        # Before the call: an option named like one of its own parameters would be a bare TypeError.
        posteriors.FAMILIES.check(options.family, options.family_options)
        self.prior = prior(options.prior)
        self.noise = NoiseModel(**options.noise)
        self.family = posteriors.build(
            options.family,
            dim=len(VARIABLES),
            features=self.encoder.features,
            lower=self.prior.lower,
            upper=self.prior.upper,
            **options.family_options,
        )
        # Families live inside the bounds, and a check in every step of a loop costs.
        self.decoder = Prosail(sensor=options.platforms, bands=options.bands, leaf=options.leaf, check=False)
        if len(self.decoder.variables) != len(VARIABLES):
            raise DataError(
                f"leaf model {options.leaf!r} has other variables than a posterior is about",
                "choose prospect-d or prospect-5b",
            )
        self.learned_prior = build_learned_prior(
            options.learned_prior, len(options.bands), self.prior.lower, self.prior.upper
        )

    def weights(self) -> dict[str, Tensor]:
        """Everything learned or measured on data; PROSAIL's own constants are code, not weights."""
        return {
            k: v for k, v in self.state_dict().items() if not k.startswith(("decoder.", "prior.", "noise."))
        }

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Inverse of :meth:`weights`. Raises DataError if names or shapes differ."""
        own = self.weights()
        if own.keys() != weights.keys():
            odd = sorted(own.keys() ^ weights.keys())[0]
            raise DataError(f"weights do not belong to this model: {odd!r} is on one side only")
        for name, tensor in own.items():
            if tensor.shape != weights[name].shape:
                raise DataError(
                    f"weights do not belong to this model: {name!r} is {tuple(weights[name].shape)}, "
                    f"not {tuple(tensor.shape)}"
                )
        self.load_state_dict(weights, strict=False)

    def platform_index(self, platform: str | Tensor, batch: torch.Size, device: torch.device) -> Tensor:
        """Platform name or index tensor -> long (*batch,). Raises DataError for an unknown platform."""
        if isinstance(platform, str):
            if platform not in self.platforms:
                raise DataError(
                    f"platform {platform!r} is unknown to this model",
                    f"it was trained for {', '.join(self.platforms)}",
                )
            return torch.full(batch, self.platforms.index(platform), dtype=torch.long, device=device)
        return platform.to(device=device, dtype=torch.long).expand(batch)

    def posterior(
        self, reflectance: Tensor, angles: Tensor, platform: str | Tensor | None = None
    ) -> PhysicalPosterior:
        """Posterior of (*batch, bands) reflectance and (*batch, 3) angles in degrees, in physical units.

        ``platform``: name, or (*batch,) indices into :attr:`platforms`; by default the model's
        first, with one warning if it knows several.
        """
        if platform is None:
            platform = self._default_platform()
        index = self.platform_index(platform, reflectance.shape[:-1], reflectance.device)
        h = self.encoder(reflectance, angles, index)

        def log_likelihood(u: Tensor) -> Tensor:
            return self.log_likelihood(self.prior.to_physical(u), reflectance, angles, index)

        def log_joint(u: Tensor) -> Tensor:
            return log_likelihood(u) + self.log_prior(u)

        def held_log_prob(u: Tensor) -> Tensor:
            with held(self.family):
                return self.family(h.detach()).log_prob(u)

        return PhysicalPosterior(self.family(h, log_joint), self.prior, log_likelihood, held_log_prob)

    def log_prior(self, u: Tensor) -> Tensor:
        """Log density of base variables (..., 11) under the prior of the objective: learned, or physical."""
        if self.learned_prior is None:
            return self.prior.log_prob_base(u)
        value: Tensor = self.learned_prior(u, self._base_posterior)
        return value

    def _base_posterior(self, reflectance: Tensor, angles: Tensor) -> Posterior:
        """Of pseudo-inputs, seen by the first platform."""
        index = torch.zeros(len(reflectance), dtype=torch.long, device=reflectance.device)
        q: Posterior = self.family(self.encoder(reflectance, angles, index))
        return q

    def _default_platform(self) -> str:
        if len(self.platforms) > 1 and not self._said_default:
            self._said_default = True
            log.warning(
                "default-platform: no platform given, %s is taken; the model knows %s",
                self.platforms[0],
                ", ".join(self.platforms),
            )
        return self.platforms[0]

    def decode(self, z: Tensor, angles: Tensor, platform: str | Tensor) -> Tensor:
        """Noise-free reflectance (*sample, *batch, bands) of ``z`` (*sample, *batch, 11)."""
        index = self.platform_index(platform, angles.shape[:-1], z.device)
        out: Tensor = self.decoder(z, angles, platform=index)
        return out

    def log_likelihood(
        self, z: Tensor, reflectance: Tensor, angles: Tensor, platform: str | Tensor
    ) -> Tensor:
        """log p(x | z), (*sample, *batch), under the correlated observation noise."""
        return self.noise.log_prob(reflectance, self.decode(z, angles, platform))

    def log_joint(self, z: Tensor, reflectance: Tensor, angles: Tensor, platform: str | Tensor) -> Tensor:
        """log p(x, z), (*sample, *batch), per unit of physical volume."""
        return self.log_likelihood(z, reflectance, angles, platform) + self.prior.log_prob(z)

    def fit(self, z: Tensor, reflectance: Tensor, angles: Tensor, platform: str | Tensor) -> Tensor:
        """Distance (*batch) of draws ``z`` (K, *batch, 11) from the observation, in units of its noise.

        Root of the mean over draws of the squared Mahalanobis distance per band;
        near 1 for spectra of the model itself.
        """
        distance2 = self.noise.distance2(reflectance, self.decode(z, angles, platform))
        return (distance2.mean(0) / reflectance.shape[-1]).sqrt()
