"""Batches of patches: every patch once an epoch, the same for the same seed, whoever reads them."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from torch.utils.data import DataLoader
from training_runs import patch_cube

from canopyflow.cubes import patches as cutting
from canopyflow.cubes.batches import Batch, Batches, PatchCube
from canopyflow.cubes.layout import decoded
from canopyflow.cubes.shards import Shards
from canopyflow.cubes.stores import open_patches
from canopyflow.errors import DataError
from canopyflow.vocabulary import PLATFORMS


@pytest.fixture
def cube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, xr.Dataset]:
    """38 patches in chunks of 4 and shards of 8: the last of each is short."""
    monkeypatch.setattr(cutting, "PATCHES_PER_CHUNK", 4)
    monkeypatch.setattr(cutting, "PATCHES_PER_SHARD", 8)
    return tmp_path / "cube.zarr", patch_cube(tmp_path / "cube.zarr", patches=38)


def order(batches: Batches) -> list[int]:
    return [int(patch) for batch in batches for patch in batch.patch]


@pytest.mark.parametrize("chunks", [1, 3, 100])
def test_an_epoch_is_a_permutation_of_the_patches(cube: tuple[Path, xr.Dataset], chunks: int) -> None:
    batches = Batches(cube[0], seed=3, chunks=chunks)
    epochs = [order(batches.at(epoch)) for epoch in (0, 1)]
    assert all(sorted(epoch) == list(range(38)) for epoch in epochs)
    assert epochs[0] != epochs[1] != sorted(epochs[1])
    sizes = [len(batch.patch) for batch in batches]
    assert len(sizes) == len(batches) == -(-10 // chunks) and max(sizes) == min(4 * chunks, 38)
    with pytest.raises(IndexError):
        batches[len(batches)]


def test_the_same_seed_gives_the_same_batches(cube: tuple[Path, xr.Dataset]) -> None:
    one, again, other = (order(Batches(cube[0], seed=seed, epoch=2)) for seed in (3, 3, 4))
    assert one == again == order(Batches(cube[0], seed=3).at(2)) != other
    # With several chunks to a batch, it is other patches that meet in the next epoch.
    together = [{frozenset(b.patch) for b in Batches(cube[0], seed=3, epoch=e, chunks=2)} for e in (0, 1)]
    assert together[0] != together[1]


def test_values_are_those_of_the_store(cube: tuple[Path, xr.Dataset]) -> None:
    path, stored = cube
    for batch in Batches(path, seed=1, chunks=2):
        there = stored.isel(patch=batch.patch)
        assert batch.reflectance.dtype == np.float32 and batch.valid.dtype == bool
        np.testing.assert_array_equal(batch.reflectance, there.reflectance.values)
        np.testing.assert_array_equal(batch.valid, there.valid.values)
        np.testing.assert_array_equal(batch.angles, there.angles.values)
        assert [PLATFORMS[index] for index in batch.platform] == there.platform.values.tolist()
    assert PatchCube(path).bands == tuple(stored.band.values)


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_do_not_change_the_batches(cube: tuple[Path, xr.Dataset], context: str) -> None:
    """Wherever they came from: forked, or started anew and sent the batches by pickle."""
    batches = Batches(cube[0], seed=3, epoch=1, chunks=2)
    alone = list(batches)
    shared = DataLoader(batches, batch_size=None, num_workers=2, multiprocessing_context=context)
    for one, two in zip(alone, shared, strict=True):
        assert isinstance(two, Batch)
        for mine, theirs in zip(one, two, strict=True):
            np.testing.assert_array_equal(mine, theirs.numpy())
    for one, two in zip(alone, pickle.loads(pickle.dumps(batches)), strict=True):  # noqa: S301
        np.testing.assert_array_equal(one.reflectance, two.reflectance)


def test_a_cube_without_a_patch_has_no_batch(tmp_path: Path) -> None:
    patch_cube(tmp_path / "cube.zarr", patches=0)
    assert list(Batches(tmp_path / "cube.zarr", seed=0)) == []


def test_what_holds_nothing_is_without_data(cube: tuple[Path, xr.Dataset], tmp_path: Path) -> None:
    """Chunks and shards of the fill value alone are not stored."""
    numbers = np.ones((38, 5, 4, 4), dtype=np.uint16)
    numbers[4:8] = numbers[8:16] = 0
    patch_cube(tmp_path / "other.zarr", patches=38, reflectance=numbers)
    assert not (tmp_path / "other.zarr/reflectance/c/1").exists()
    shards = Shards(tmp_path / "other.zarr", "reflectance")
    read = np.concatenate([shards.read(number) for number in range(shards.chunks)])
    np.testing.assert_array_equal(read, numbers)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda data: data[: len(data) // 2], "checksum|too short"),
        (lambda data: data[:20], "too short"),
        (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "checksum"),
        (lambda data: b"\0" * (len(data) - 36) + data[-36:], "another size"),
        (lambda data: data[:16] + b"\xff" * (len(data) - 52) + data[-36:], "cannot be read"),
    ],
)
def test_a_broken_shard_is_an_error_and_never_data(
    cube: tuple[Path, xr.Dataset], broken: "object", message: str
) -> None:
    shard = cube[0] / "reflectance/c/0/0/0/0"
    shard.write_bytes(broken(shard.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        order(Batches(cube[0], seed=0))
    with pytest.raises(DataError, match="not stored in shards"):
        Shards(cube[0], "row")
    with pytest.raises(DataError, match="has no nothing"):
        Shards(cube[0], "nothing")


def test_decoding_is_exact_for_every_number() -> None:
    """As exact as in float64, which is what a reader of the metadata would do."""
    numbers = np.arange(2**16, dtype=np.uint16)
    expected = (numbers * 1e-4).astype(np.float32)
    expected[0] = np.nan
    np.testing.assert_array_equal(decoded(numbers), expected)


def test_numbers_of_another_scale_are_refused(cube: tuple[Path, xr.Dataset]) -> None:
    metadata = cube[0] / "reflectance/zarr.json"
    metadata.write_text(metadata.read_text().replace("0.0001", "0.001"))
    with pytest.raises(DataError, match=r"scale 0\.001"):
        open_patches(cube[0])
