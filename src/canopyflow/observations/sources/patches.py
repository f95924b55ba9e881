"""Clear pixels of a patch cube, with the noise that they were observed with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from canopyflow.cubes.batches import Batches, PatchCube
from canopyflow.cubes.layout import decoded
from canopyflow.observations.observation import Sample, complete_pixels
from canopyflow.observations.sources.contract import Source, check_bands, check_platforms

CHOICE = 8
"""Pixels that are looked at for each one taken, where the cube has more."""


class Patches(Source):
    """A patch cube, read chunk by chunk; the pixels come in the cube's order."""

    def load(
        self,
        path: str | Path,
        bands: Sequence[str],
        platforms: Sequence[str],
        most: int | None = None,
        seed: int = 0,
    ) -> Sample:
        """A cube without a patch gives a sample of length 0.

        Of a cube with more than :data:`CHOICE` times ``most`` clear pixels only as many chunks are read,
        drawn by ``seed``, as hold that number, and the pixels are drawn among theirs: the patches of a chunk
        lie all over the campaign. So neither time nor memory grows with the cube.
        """
        cube = PatchCube(path)
        check_bands(cube.bands, bands, path, "run the cut_patches stage again")
        check_platforms(np.unique(cube.platform).tolist(), platforms, path)
        clear = _clear(cube, most, seed)
        keep = _choice(sum(len(pixels) for pixels in clear.values()), most, seed)
        columns = [cube.bands.index(band) for band in bands]
        values, owners, seen = [np.zeros((0, len(bands)), np.float32)], [np.zeros(0, np.int64)], 0
        for chunk, pixels in clear.items():
            patch, y, x = pixels[keep[seen : seen + len(pixels)]].T
            seen += len(pixels)
            if len(patch):
                values.append(decoded(cube.numbers(chunk)[patch, :, y, x][:, columns]))
                owners.append(cube.places(chunk)[patch])
        owner = np.concatenate(owners)
        # Contiguous: the order in which sums over bands are taken, and so their last bit, follows the layout.
        reflectance = torch.from_numpy(np.ascontiguousarray(np.concatenate(values)))
        angles, platform = (torch.from_numpy(given[owner]) for given in (cube.angles, cube.platform))
        observed = complete_pixels(reflectance, angles, platform, bands)
        return Sample(observed, None, torch.zeros(len(reflectance), dtype=torch.bool))


def _clear(cube: PatchCube, most: int | None, seed: int) -> dict[int, NDArray[np.int32]]:
    """Clear pixels (n, 3), as patch, y and x, of each chunk that is read, in the cube's order."""
    found: dict[int, NDArray[np.int32]] = {}
    total = 0
    for chunk in Batches(cube, seed=seed).order.tolist():
        found[chunk] = np.argwhere(cube.valid(chunk)).astype(np.int32)
        total += len(found[chunk])
        if most is not None and total > CHOICE * most:
            break
    return dict(sorted(found.items()))


def _choice(total: int, most: int | None, seed: int) -> NDArray[np.bool_]:
    """Which of ``total`` pixels are taken."""
    keep = np.ones(total, dtype=bool)
    if most is not None and total > most:
        keep[:] = False
        keep[np.random.default_rng(seed).choice(total, most, replace=False)] = True
    return keep


SOURCE = Patches
