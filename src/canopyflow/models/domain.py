"""Whether a spectrum is one that the simulations hold: their density over that of spectra of other things.

The density of a spectrum alone says little: the law of fields is wide, and a residual offset or a roof lies
where it is thin but not empty. What tells a spectrum that is no field's is the ratio of two densities given
its geometry, that under the law and that of spectra which are no field's; its threshold is the most powerful
test at a given rate of false alarms (Neyman & Pearson 1933). A classifier between draws of the two learns the
logarithm of the ratio (Gutmann & Hyvärinen, JMLR 13, 2012). What the others are is said by
:mod:`canopyflow.training.foreign`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from canopyflow.models.fused import activated
from canopyflow.observations.observation import Observation

_STRETCH = 0.05
"""Reflectance at which the stretch turns from linear to logarithmic. Unlike that of the encoder it does not
clip: a table may hold what lies below zero, and under a law with noise little of it does."""

_FAR = 6.0
"""Standardised bands beyond this are told from each other less and less."""

_NEVER = 1e9
"""A limit that no log odds reach."""

_WIDTH = 64
_PIXELS = 2048
"""Pixels at a time on a processor: what a layer works on stays in its second cache."""


class Domain(nn.Module):
    """A small network from a spectrum with its geometry to the log odds that no field made it.

    Rows may lack bands. Buffers: ``mean`` and ``whitening`` of the stretched bands, ``centre`` and ``scale``
    of the cosines of the angles, ``limits`` (bands + 1,): the log odds beyond which a spectrum of so many
    valid bands is foreign; until they are calibrated nothing is.
    """

    mean: Tensor
    whitening: Tensor
    centre: Tensor
    scale: Tensor
    limits: Tensor

    def __init__(self, bands: Sequence[str]) -> None:
        super().__init__()
        count = len(bands)
        for name, value in {
            "mean": torch.zeros(count),
            "whitening": torch.eye(count),
            "centre": torch.zeros(3),
            "scale": torch.ones(3),
            "limits": torch.full((count + 1,), _NEVER),
        }.items():
            self.register_buffer(name, value)
        self.body = nn.Sequential(
            *(nn.Linear(2 * count + 3, _WIDTH), nn.SiLU(inplace=True)),
            *(nn.Linear(_WIDTH, _WIDTH), nn.SiLU(inplace=True)),
        )
        self.last = nn.Linear(_WIDTH, 1)

    def start(self) -> None:
        """Draw the first weights anew, from torch's global generator."""
        for layer in (*self.body, self.last):
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def standardise(self, seen: Observation) -> None:
        """Take the scales of the inputs from noisy, complete pixels (n)."""
        stretched = _stretch(seen.reflectance).double()
        variance, axes = torch.linalg.eigh(torch.cov(stretched.T))
        self.mean.copy_(stretched.mean(0))
        self.whitening.copy_(axes @ torch.diag(variance.clamp(min=1e-6).rsqrt()) @ axes.T)
        cosines = torch.cos(torch.deg2rad(seen.geometry))
        self.centre.copy_(cosines.mean(0))
        self.scale.copy_(cosines.std(0).clamp_min(1e-4))

    def forward(self, seen: Observation) -> Tensor:
        """Log odds (n,) that no field made ``seen`` (n), were fields and other things equally frequent.

        What stands under an invalid entry changes nothing.
        """
        bands = _stretch(seen.reflectance) - self.mean
        missing = torch.zeros_like(bands)
        if not seen.complete:
            bands, missing = torch.where(seen.valid, bands, 0.0), (~seen.valid).to(bands.dtype)
        bands = bands @ self.whitening
        bands = bands / (1.0 + (bands / _FAR).square()).sqrt()
        cosines = (torch.cos(torch.deg2rad(seen.geometry)) - self.centre) / self.scale
        odds: Tensor = self.last(activated(self.body, torch.cat([bands, cosines, missing], dim=-1)))
        return odds.squeeze(-1)

    def outside(self, seen: Observation) -> Tensor:
        """Whether the law does not hold such spectra as ``seen`` (n), (n,) bool."""
        size = _PIXELS if seen.geometry.device.type == "cpu" else max(1, len(seen))
        with torch.no_grad():
            parts = [self(part) > self.limits[part.valid.sum(-1)] for part in seen.split(size)]
        return torch.cat(parts) if parts else seen.valid.new_zeros(0)


def _stretch(reflectance: Tensor) -> Tensor:
    return torch.asinh(reflectance / _STRETCH)
