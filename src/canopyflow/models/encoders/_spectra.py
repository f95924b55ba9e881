"""What encoders do with the spectrum of one date, whether they look at pixels or at seasons of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from canopyflow.models.encoders.contract import Encoder
from canopyflow.models.missing import filled
from canopyflow.observations.observation import Observation
from canopyflow.vocabulary import PLATFORMS

REFLECTANCE_FLOOR = 1e-4
"""Smallest reflectance a scene store can hold (its digital number 0 is "no data").

Simulated noise goes below zero where a real product has been clipped. The encoder clips as the product does,
so that it meets in training what it will meet in the archive.
"""

_STRETCH = 0.02
"""Reflectance at which the stretch turns from linear to logarithmic: about the size of the additive noise."""


def stretch(reflectance: Tensor) -> Tensor:
    """Map reflectance to a scale on which its observation noise has about the same size everywhere."""
    return torch.asinh(reflectance.clamp(min=REFLECTANCE_FLOOR) / _STRETCH)


def mean_and_whitening(reflectance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (band,) of the stretched bands of noisy pixels (n, band), and the matrix (band, band) that whitens
    them, in double precision.

    The whitening matrix is the symmetric one: it leaves each band the nearest to itself and, unlike a basis
    of eigenvectors, has no arbitrary signs.
    """
    stretched = stretch(reflectance).double()
    variance, axes = torch.linalg.eigh(torch.cov(stretched.T))
    return stretched.mean(0), axes @ torch.diag(variance.clamp(min=1e-6).rsqrt()) @ axes.T


class SpectralEncoder(Encoder):
    """An encoder that reads whitened stretched bands, cosines of the angles and the platform of each date.

    The bands are whitened, not only standardised: neighbouring ones are so correlated that their difference
    would otherwise enter the network some ten times smaller than their sum.
    """

    mean: Tensor
    whitening: Tensor
    own: Tensor

    def __init__(self, bands: Sequence[str], platforms: Sequence[str]) -> None:
        super().__init__()
        self.platforms = len(platforms)
        places = [list(platforms).index(name) if name in platforms else -1 for name in PLATFORMS]
        self.register_buffer("own", torch.tensor(places), persistent=False)
        self.register_buffer("mean", torch.zeros(len(bands)))
        self.register_buffer("whitening", torch.eye(len(bands)))

    def standardise(self, seen: Observation) -> None:
        """Take mean and covariance of the stretched bands from the complete spectra of noisy ``seen`` (n,
        [date], band)."""
        mean, whitening = mean_and_whitening(seen.reflectance[seen.valid.all(-1)])
        self.mean.copy_(mean)
        self.whitening.copy_(whitening)

    def normalisation(self) -> dict[str, Any]:
        return {
            "transform": "asinh of reflectance, whitened",
            "mean": self.mean.tolist(),
            "whitening": self.whitening.tolist(),
        }

    def described(
        self, reflectance: Tensor, valid: Tensor | None, geometry: Tensor, platform: Tensor
    ) -> list[Tensor]:
        """Whitened bands, cosines of the angles and platform, (*batch, numbers) each, of spectra
        ``reflectance`` (*batch, band); where they are not ``valid`` (None: they are complete) bands are
        filled (:func:`canopyflow.models.missing.filled`). Raises DataError for a spectrum without any."""
        centred = stretch(reflectance) - self.mean
        if valid is not None:
            centred = filled(centred, valid, self.whitening @ self.whitening.T)
        cosines = torch.cos(torch.deg2rad(geometry))
        kind = nn.functional.one_hot(self.own[platform], self.platforms).to(centred.dtype)
        return [centred @ self.whitening, cosines, kind]
