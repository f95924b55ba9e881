"""Reading the pixels of a patch cube for training.

Apart from :mod:`canopyflow.cubes.patches`, so that editing how patches are cut
does not by itself retrain a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from canopyflow.cubes.stores import open_patches

PATCHES_PER_SHARD = 1024


@dataclass(frozen=True)
class Pixels:
    """Clear pixels: reflectance (n, bands), angles (n, 3), platform (n,) as index into ``platforms``."""

    reflectance: npt.NDArray[np.float32]
    angles: npt.NDArray[np.float32]
    platform: npt.NDArray[np.uint8]
    platforms: list[str]
    bands: list[str]


def load_pixels(path: Path, max_pixels: int, seed: int) -> Pixels:
    """Valid pixels of a patch cube, at most ``max_pixels`` of them chosen at random from ``seed``.

    Whole shards are read, one after the other; the pixels come in the cube's order.
    A cube without a patch gives arrays of length 0.
    """
    ds = open_patches(path)
    valid = ds.valid.values
    platforms = sorted({str(p) for p in ds.platform.values})
    index = np.array([platforms.index(str(p)) for p in ds.platform.values], dtype=np.uint8)
    total = int(valid.sum())
    keep = np.ones(total, dtype=bool)
    if total > max_pixels:
        keep[:] = False
        keep[np.random.default_rng(seed).choice(total, max_pixels, replace=False)] = True
    parts, owners, seen = [], [], 0
    for first in range(0, ds.sizes["patch"], PATCHES_PER_SHARD):
        inside = valid[first : first + PATCHES_PER_SHARD]
        patch, y, x = (axis[keep[seen : seen + inside.sum()]] for axis in np.nonzero(inside))
        seen += int(inside.sum())
        if len(patch):
            values = ds.reflectance[first : first + PATCHES_PER_SHARD].values
            parts.append(values[patch, :, y, x])
            owners.append(patch + first)
    owner = np.concatenate(owners) if owners else np.zeros(0, dtype=int)
    reflectance = np.concatenate(parts) if parts else np.zeros((0, ds.sizes["band"]), dtype=np.float32)
    angles = ds.angles.values.astype(np.float32)
    return Pixels(reflectance, angles[owner], index[owner], platforms, [str(b) for b in ds.band.values])
