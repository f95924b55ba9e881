"""Clear pixels of a patch cube, with the noise that they were observed with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from canopyflow.cubes.stores import PATCHES_PER_SHARD, open_patches
from canopyflow.errors import DataError
from canopyflow.observations.observation import Sample, complete_pixels
from canopyflow.observations.sources.contract import Source, check_bands, check_platforms
from canopyflow.vocabulary import PLATFORMS


class Patches(Source):
    """A patch cube. Whole shards are read, one after the other; the pixels come in the cube's order."""

    def load(
        self,
        path: str | Path,
        bands: Sequence[str],
        platforms: Sequence[str],
        most: int | None = None,
        seed: int = 0,
    ) -> Sample:
        """A cube without a patch gives a sample of length 0."""
        ds = open_patches(Path(path))
        there = [str(band) for band in ds.band.values]
        check_bands(there, bands, path, "run the cut_patches stage again")
        index = _platforms(ds.platform.values, path)
        check_platforms(np.unique(index).tolist(), platforms, path)
        valid = ds.valid.values
        keep = _choice(int(valid.sum()), most, seed)
        columns = [there.index(band) for band in bands]
        parts, owners, seen = [], [], 0
        for first in range(0, ds.sizes["patch"], PATCHES_PER_SHARD):
            inside = valid[first : first + PATCHES_PER_SHARD]
            patch, y, x = (axis[keep[seen : seen + inside.sum()]] for axis in np.nonzero(inside))
            seen += int(inside.sum())
            if len(patch):
                values = ds.reflectance[first : first + PATCHES_PER_SHARD].values
                parts.append(values[patch, :, y, x][:, columns])
                owners.append(patch + first)
        owner = np.concatenate(owners) if owners else np.zeros(0, dtype=int)
        clear = np.concatenate(parts) if parts else np.zeros((0, len(bands)), dtype=np.float32)
        reflectance = torch.from_numpy(np.ascontiguousarray(clear))
        angles = torch.from_numpy(ds.angles.values.astype(np.float32)[owner])
        observed = complete_pixels(reflectance, angles, torch.from_numpy(index[owner]), bands)
        return Sample(observed, None, torch.zeros(len(reflectance), dtype=torch.bool))


def _choice(total: int, most: int | None, seed: int) -> NDArray[np.bool_]:
    """Which of ``total`` pixels are taken."""
    keep = np.ones(total, dtype=bool)
    if most is not None and total > most:
        keep[:] = False
        keep[np.random.default_rng(seed).choice(total, most, replace=False)] = True
    return keep


def _platforms(names: NDArray[np.object_], path: str | Path) -> NDArray[np.int64]:
    """Index of each patch's platform."""
    unknown = sorted({str(name) for name in names} - set(PLATFORMS))
    if unknown:
        raise DataError(f"{path} holds platform {unknown[0]}", f"known are {', '.join(PLATFORMS)}")
    return np.array([PLATFORMS.index(str(name)) for name in names], dtype=np.int64)


SOURCE = Patches
