"""One pixel, one acquisition: a residual network on whitened bands, angles and platform."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from canopyflow.errors import DataError
from canopyflow.models.encoders._spectra import SpectralEncoder
from canopyflow.models.missing import check_share
from canopyflow.observations.observation import Observation, View


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


class PixelEncoder(SpectralEncoder):
    """Maps stretched reflectance, cosines of the angles and platform to features.

    Options: ``width`` of the features, number of residual ``blocks``, ``hidden``: share of the training
    pixels that lose bands. With it, missing bands are filled (:func:`canopyflow.models.missing.filled`) and
    the network is told which they are; without, spectra must be complete. Raises ConfigError for a share that
    is none.
    """

    view: ClassVar[View] = View.PIXEL

    def __init__(
        self,
        bands: Sequence[str],
        platforms: Sequence[str],
        width: int = 128,
        blocks: int = 3,
        hidden: float = 0.0,
    ) -> None:
        super().__init__(bands, platforms)
        check_share(hidden)
        self.hidden, self.features = hidden, width
        marks = len(bands) if hidden else 0
        self.first = nn.Linear(len(bands) + 3 + self.platforms + marks, width)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.last = nn.LayerNorm(width)

    def forward(self, seen: Observation) -> Tensor:
        if not (seen.complete or self.hidden):
            raise DataError(
                "a pixel lacks a band, and the encoder 'pixel' was trained on complete spectra",
                "leave out such pixels, or train with the encoder's option hidden",
            )
        parts = self.described(seen.reflectance, seen.partly, seen.geometry, seen.platform)
        marks = [(~seen.valid).to(parts[0].dtype)] if self.hidden else []
        h = self.first(torch.cat([*parts, *marks], dim=-1))
        return self.last(self.blocks(h))


ENCODER = PixelEncoder
