"""One pixel, one acquisition: a residual network on whitened bands, angles and platform."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from canopyflow.errors import DataError
from canopyflow.models.encoders.contract import Encoder
from canopyflow.models.missing import check_share, filled
from canopyflow.observations.observation import Observation, View
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


class ResidualBlock(nn.Module):
    """Two layers beside a skip connection; the last one starts at zero, so a block starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
        )
        last = self.body[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.body(h)


class PixelEncoder(Encoder):
    """Maps stretched reflectance, cosines of the angles and platform to features.

    The stretched bands are whitened, not only standardised: neighbouring bands are so correlated that their
    difference would otherwise enter the network some ten times smaller than their sum.
    Options: ``width`` of the features, number of residual ``blocks``, ``hidden``: share of the training
    pixels that lose bands. With it, missing bands are filled (:func:`canopyflow.models.missing.filled`) and
    the network is told which they are; without, spectra must be complete. Raises ConfigError for a share that
    is none.
    """

    view: ClassVar[View] = View.PIXEL
    mean: Tensor
    whitening: Tensor
    own: Tensor

    def __init__(
        self,
        bands: Sequence[str],
        platforms: Sequence[str],
        width: int = 128,
        blocks: int = 3,
        hidden: float = 0.0,
    ) -> None:
        super().__init__()
        check_share(hidden)
        self.hidden = hidden
        self.platforms = len(platforms)
        self.features = width
        places = [list(platforms).index(name) if name in platforms else -1 for name in PLATFORMS]
        self.register_buffer("own", torch.tensor(places), persistent=False)
        self.register_buffer("mean", torch.zeros(len(bands)))
        self.register_buffer("whitening", torch.eye(len(bands)))
        marks = len(bands) if hidden else 0
        self.first = nn.Linear(len(bands) + 3 + self.platforms + marks, width)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.last = nn.LayerNorm(width)

    def standardise(self, seen: Observation) -> None:
        """Take mean and covariance of the stretched bands from noisy pixels (n, band)."""
        mean, whitening = mean_and_whitening(seen.reflectance)
        self.mean.copy_(mean)
        self.whitening.copy_(whitening)

    def normalisation(self) -> dict[str, Any]:
        return {
            "transform": "asinh of reflectance, whitened",
            "mean": self.mean.tolist(),
            "whitening": self.whitening.tolist(),
        }

    def forward(self, seen: Observation) -> Tensor:
        if not (seen.complete or self.hidden):
            raise DataError(
                "a pixel lacks a band, and the encoder 'pixel' was trained on complete spectra",
                "leave out such pixels, or train with the encoder's option hidden",
            )
        centred = stretch(seen.reflectance) - self.mean
        if not seen.complete:
            centred = filled(centred, seen.valid, self.whitening @ self.whitening.T)
        bands = centred @ self.whitening
        cosines = torch.cos(torch.deg2rad(seen.geometry))
        kind = nn.functional.one_hot(self.own[seen.platform], self.platforms).to(bands.dtype)
        marks = [(~seen.valid).to(bands.dtype)] if self.hidden else []
        h = self.first(torch.cat([bands, cosines, kind, *marks], dim=-1))
        return self.last(self.blocks(h))


ENCODER = PixelEncoder
