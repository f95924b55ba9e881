"""A patch cube as a sample."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import BANDS, patch_cube

from canopyflow.errors import DataError
from canopyflow.observations.observation import Sample
from canopyflow.observations.sources import patches as patches_source
from canopyflow.observations.sources.patches import Patches

PLATFORMS = ("S2A", "S2B")


def rows(sample: Sample) -> list[tuple[float, ...]]:
    return [tuple(row) for row in sample.seen.reflectance.tolist()]


@pytest.mark.parametrize("shard", [1024, 4])
def test_patches_are_their_valid_pixels_each_with_what_belongs_to_it(
    shard: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they lie in one shard or in several."""
    monkeypatch.setattr(patches_source, "PATCHES_PER_SHARD", shard)
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
    cube = patch_cube(tmp_path / "cube.zarr")
    cube.assign(valid=cube.valid & False).to_zarr(tmp_path / "none.zarr", zarr_format=3, consolidated=False)
    sample = Patches().load(tmp_path / "none.zarr", BANDS[:2], PLATFORMS)
    assert (
        len(sample) == 0 and sample.seen.reflectance.shape == (0, 2) and sample.seen.geometry.shape == (0, 3)
    )
    foreign = cube.assign_coords(platform=("patch", np.array(["S2A"] * 5 + ["S3A"], dtype=object)))
    foreign.to_zarr(tmp_path / "foreign.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(DataError, match="S3A"):
        Patches().load(tmp_path / "foreign.zarr", BANDS, PLATFORMS)
