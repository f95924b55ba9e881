"""Observed pixels of a patch cube as training data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from canopyflow.cubes.pixels import load_pixels
from canopyflow.errors import DataError
from canopyflow.training.data import Spectra, remap


def load_observed(
    path: str | Path, bands: Sequence[str], platforms: Sequence[str], max_pixels: int, seed: int
) -> Spectra:
    """Read at most ``max_pixels`` clear pixels of a patch cube, for a model of these bands and platforms.

    Raises DataError if the cube lacks a band or holds another platform.
    """
    pixels = load_pixels(Path(path), max_pixels, seed)
    missing = sorted(set(bands) - set(pixels.bands))
    if missing:
        raise DataError(f"patches {path} lack band {missing[0]}", "run the cut_patches stage again")
    reflectance = torch.from_numpy(pixels.reflectance)[:, [pixels.bands.index(band) for band in bands]]
    return Spectra(
        reflectance=reflectance.contiguous(),
        angles=torch.from_numpy(pixels.angles),
        platform=remap(pixels.platform, pixels.platforms, platforms, path),
        variables=None,
        needs_noise=torch.zeros(len(reflectance), dtype=torch.bool),
    )
