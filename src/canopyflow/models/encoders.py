"""Encoders: what the satellite saw, turned into features for a posterior family.

An encoder is called ``encoder(reflectance, angles, platform)`` with
reflectance (*batch, bands), angles (*batch, 3) in degrees and platform
(*batch,) long; it returns (*batch, features). A later encoder (spatial,
temporal) adds one name to :data:`ENCODERS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from canopyflow.errors import ConfigError

REFLECTANCE_FLOOR = 1e-4
"""Smallest reflectance a scene store can hold (its digital number 0 is "no data").

Simulated noise goes below zero where a real product has been clipped. The
encoder clips as the product does, so that it meets in training what it will
meet in the archive.
"""

_STRETCH = 0.02
"""Reflectance at which the stretch turns from linear to logarithmic: about the additive noise."""


def stretch(reflectance: Tensor) -> Tensor:
    """Map reflectance to a scale on which its observation noise has about the same size everywhere."""
    return torch.asinh(reflectance.clamp(min=REFLECTANCE_FLOOR) / _STRETCH)


class ResidualBlock(nn.Module):
    """Two layers beside a straight connection; the last one starts at zero, so a block starts as identity."""

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
        out: Tensor = h + self.body(h)
        return out


class PixelEncoder(nn.Module):
    """One pixel, one acquisition: stretched reflectance, cosines of the angles and platform, to features.

    The stretched bands are whitened, not only standardised: they are so alike that what tells neighbours
    apart would otherwise enter the network some tenfold smaller than what they share.
    """

    def __init__(self, bands: int, platforms: int, width: int = 128, blocks: int = 3) -> None:
        super().__init__()
        self.platforms = platforms
        self.features = width
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("whitening", torch.eye(bands))
        self.first = nn.Linear(bands + 3 + platforms, width)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.last = nn.LayerNorm(width)

    mean: Tensor
    whitening: Tensor

    def standardise(self, reflectance: Tensor) -> None:
        """Take mean and covariance of the stretched bands from noisy ``reflectance`` (samples, bands).

        The whitening matrix is the symmetric one: it leaves each band the nearest to itself and, unlike a
        basis of eigenvectors, has no arbitrary signs.
        """
        stretched = stretch(reflectance).double()
        self.mean.copy_(stretched.mean(0))
        variance, axes = torch.linalg.eigh(torch.cov(stretched.T))
        self.whitening.copy_(axes @ torch.diag(variance.clamp(min=1e-6).rsqrt()) @ axes.T)

    def forward(self, reflectance: Tensor, angles: Tensor, platform: Tensor) -> Tensor:
        bands = (stretch(reflectance) - self.mean) @ self.whitening
        cosines = torch.cos(torch.deg2rad(angles))
        kind = nn.functional.one_hot(platform, self.platforms).to(bands.dtype)
        h = self.first(torch.cat([bands, cosines, kind], dim=-1))
        out: Tensor = self.last(self.blocks(h))
        return out


ENCODERS: dict[str, Callable[..., PixelEncoder]] = {"pixel": PixelEncoder}
"""Name -> class, called with (bands, platforms, **options)."""


def build_encoder(name: str, bands: int, platforms: int, options: Mapping[str, Any]) -> PixelEncoder:
    """Build an encoder by name.

    Raises ConfigError for an unknown name or option, with the nearest valid one.
    """
    if name not in ENCODERS:
        near = get_close_matches(name, ENCODERS, n=1) or sorted(ENCODERS)
        raise ConfigError(f"encoder {name!r} is unknown", f"did you mean {near[0]!r}?")
    known = [p for p in inspect.signature(ENCODERS[name]).parameters if p not in ("bands", "platforms")]
    for option in options:
        if option not in known:
            near = get_close_matches(option, known, n=1, cutoff=0.3)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"unknown option {option!r} of encoder {name!r}", f"{hint}known: {', '.join(sorted(known))}"
            )
    return ENCODERS[name](bands, platforms, **options)
