"""A patch cube as a sample."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import BANDS, patch_cube

from canopyflow.cubes import patches as cutting
from canopyflow.cubes.batches import PatchCube
from canopyflow.errors import DataError
from canopyflow.observations.observation import Sample
from canopyflow.observations.sources.patches import Patches

PLATFORMS = ("S2A", "S2B")


def rows(sample: Sample) -> list[tuple[float, ...]]:
    return [tuple(row) for row in sample.seen.reflectance.tolist()]


def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "PATCHES_PER_CHUNK", 4)
    monkeypatch.setattr(cutting, "PATCHES_PER_SHARD", 8)


@pytest.mark.parametrize("several", [False, True])
def test_patches_are_their_valid_pixels_each_with_what_belongs_to_it(
    several: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they lie in one shard or in several."""
    if several:
        small_shards(monkeypatch)
    cube = patch_cube(tmp_path / "cube.zarr", patches=10)
    sample = Patches().load(tmp_path / "cube.zarr", BANDS, PLATFORMS)
    patch, y, x = np.nonzero(cube.valid.values)
    assert np.array_equal(sample.seen.reflectance, cube.reflectance.values[patch, :, y, x])
    assert np.array_equal(sample.seen.geometry, cube.angles.values[patch])
    assert sample.seen.platform.tolist() == (patch % 2).tolist()
    assert not sample.noise_free.any() and sample.seen.complete
    few = Patches().load(tmp_path / "cube.zarr", BANDS, PLATFORMS, 30, 2)
    at = [rows(sample).index(row) for row in rows(few)]
    assert torch.equal(few.seen.geometry, sample.seen.geometry[at])
    assert torch.equal(few.seen.platform, sample.seen.platform[at])


def test_patches_without_a_clear_pixel_are_a_sample_of_none(tmp_path: Path) -> None:
    patch_cube(tmp_path / "none.zarr", valid=np.zeros((6, 4, 4), dtype=bool))
    sample = Patches().load(tmp_path / "none.zarr", BANDS[:2], PLATFORMS)
    assert (
        len(sample) == 0 and sample.seen.reflectance.shape == (0, 2) and sample.seen.geometry.shape == (0, 3)
    )
    foreign = np.array(["S2A"] * 5 + ["S3A"], dtype=object)
    with pytest.raises(DataError, match="S3A"):
        patch_cube(tmp_path / "foreign.zarr", platform=foreign)
        Patches().load(tmp_path / "foreign.zarr", BANDS, PLATFORMS)


def test_of_a_large_cube_only_a_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part is drawn by the seed, and the pixels among its own."""
    small_shards(monkeypatch)
    patch_cube(tmp_path / "cube.zarr", patches=80)
    whole = rows(Patches().load(tmp_path / "cube.zarr", BANDS, PLATFORMS))
    read: list[int] = []
    numbers = PatchCube.numbers
    monkeypatch.setattr(PatchCube, "numbers", lambda self, chunk: read.append(chunk) or numbers(self, chunk))
    taken = [rows(Patches().load(tmp_path / "cube.zarr", BANDS, PLATFORMS, 20, seed)) for seed in (0, 1, 0)]
    assert taken[0] == taken[2] != taken[1]
    places = [whole.index(row) for row in taken[0]]
    assert len(places) == 20 and places == sorted(places)
    # About 45 pixels of a chunk are clear: 160 are in four of the twenty.
    assert len(read) == 3 * 4
