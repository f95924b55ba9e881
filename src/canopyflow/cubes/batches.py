"""The patches of a cube in shuffled batches, read straight from its shards."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from canopyflow.cubes.layout import decoded
from canopyflow.cubes.shards import Shards
from canopyflow.cubes.stores import open_patches
from canopyflow.errors import DataError
from canopyflow.vocabulary import PLATFORMS


class Batch(NamedTuple):
    """n patches: ``reflectance`` (n, band, y, x) float32, NaN where there is no data; ``valid`` (n, y, x)
    bool; ``angles`` (n, 3) float32, degrees; ``platform`` (n,) int64, index into
    :data:`canopyflow.vocabulary.PLATFORMS`; ``patch`` (n,) int64, their places in the cube."""

    reflectance: NDArray[np.float32]
    valid: NDArray[np.bool_]
    angles: NDArray[np.float32]
    platform: NDArray[np.int64]
    patch: NDArray[np.int64]


class PatchCube:
    """A patch cube by chunks of 64 patches: pixels on disk, everything smaller in memory; can be pickled.

    Raises:
        DataError: there is none, or it holds an unknown platform.
    """

    def __init__(self, path: str | Path) -> None:
        with open_patches(Path(path)) as ds:
            self.bands: tuple[str, ...] = tuple(str(band) for band in ds.band.values)
            self.angles = ds.angles.values.astype(np.float32)
            self.platform = _platforms(ds.platform.values, path)
        self._reflectance, self._valid = (Shards(Path(path), name) for name in ("reflectance", "valid"))

    def __len__(self) -> int:
        """Patches."""
        return len(self.platform)

    @property
    def chunks(self) -> int:
        """Chunks of the cube."""
        return self._valid.chunks

    @property
    def rows(self) -> int:
        """Patches of a chunk; the last one may have fewer."""
        return self._valid.rows

    def places(self, chunk: int) -> NDArray[np.int64]:
        """Places in the cube of the patches of a chunk."""
        return np.arange(chunk * self.rows, min((chunk + 1) * self.rows, len(self)))

    def valid(self, chunk: int) -> NDArray[np.bool_]:
        """Clear pixels (patch, y, x) of a chunk."""
        return self._valid.read(chunk)

    def numbers(self, chunk: int) -> NDArray[np.uint16]:
        """Reflectance (patch, band, y, x) of a chunk as it is stored, see
        :func:`canopyflow.cubes.layout.decoded`."""
        return self._reflectance.read(chunk)


class Batches:
    """One epoch of a cube: every patch once, in an order that ``seed`` and ``epoch`` decide.

    A sequence of batches, each made of ``chunks`` whole chunks of 64 patches that lie anywhere in the cube:
    with one, the same patches come together in every epoch, in another order; with more, always others. The
    patches of a cube are in random order, so those of a chunk are of scenes and places all over the campaign.

    Which patches a batch holds depends on nothing else, so several processes may share the work:
    ``DataLoader(batches.at(epoch), batch_size=None, num_workers=4)``, workers forked or spawned.
    """

    def __init__(self, cube: PatchCube | str | Path, *, seed: int, epoch: int = 0, chunks: int = 1) -> None:
        if chunks < 1:
            raise DataError(f"a batch cannot be of {chunks} chunks", "give 1 or more")
        self.cube = cube if isinstance(cube, PatchCube) else PatchCube(cube)
        self.seed, self.epoch, self._per_batch = seed, epoch, chunks
        rng = np.random.default_rng([seed, epoch])
        self.order = rng.permutation(self.cube.chunks)
        """Chunks of the cube in the order in which they are read."""
        self._mixed = rng.permutation(chunks * self.cube.rows)

    def at(self, epoch: int) -> "Batches":
        """Another epoch of the same cube."""
        return Batches(self.cube, seed=self.seed, epoch=epoch, chunks=self._per_batch)

    def __len__(self) -> int:
        return -(-len(self.order) // self._per_batch)

    def __getitem__(self, number: int) -> Batch:
        """Batch ``number`` of the epoch. Raises IndexError behind the last, DataError for a broken shard."""
        if not 0 <= number < len(self):
            raise IndexError(f"batch {number} of {len(self)}")
        mine = self.order[number * self._per_batch :][: self._per_batch].tolist()
        patch = np.concatenate([self.cube.places(chunk) for chunk in mine])
        numbers = [self.cube.numbers(chunk) for chunk in mine]
        valid = [self.cube.valid(chunk) for chunk in mine]
        mixed = self._mixed[self._mixed < len(patch)]
        patch = patch[mixed]
        return Batch(
            decoded((numbers[0] if len(mine) == 1 else np.concatenate(numbers))[mixed]),
            (valid[0] if len(mine) == 1 else np.concatenate(valid))[mixed],
            self.cube.angles[patch],
            self.cube.platform[patch],
            patch,
        )


def _platforms(names: NDArray[np.object_], path: str | Path) -> NDArray[np.int64]:
    """Index of each patch's platform."""
    unknown = sorted({str(name) for name in names} - set(PLATFORMS))
    if unknown:
        raise DataError(f"{path} holds platform {unknown[0]}", f"known are {', '.join(PLATFORMS)}")
    return np.array([PLATFORMS.index(str(name)) for name in names], dtype=np.int64)
