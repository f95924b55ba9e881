"""Where samples come from: what every source is held to, and what each of them holds."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from training_runs import BANDS, patch_cube

from canopyflow.errors import DataError
from canopyflow.observations.observation import Sample
from canopyflow.observations.sources import patches as patches_source
from canopyflow.observations.sources.patches import Patches
from canopyflow.observations.sources.simulations import Simulations
from canopyflow.registry import SOURCES

PLATFORMS = ("S2A", "S2B")
every_source = pytest.mark.parametrize("name", sorted(SOURCES))


@pytest.fixture(scope="module")
def stores(simulations: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A store for each source; a new source needs one here."""
    cube = tmp_path_factory.mktemp("patches") / "train.zarr"
    patch_cube(cube)
    return {"simulations": simulations["validation"], "patches": cube}


def rows(sample: Sample) -> list[tuple[float, ...]]:
    return [tuple(row) for row in sample.seen.reflectance.tolist()]


@every_source
def test_samples_are_what_is_promised(name: str, stores: dict[str, Path]) -> None:
    source = SOURCES.build(name)
    sample = source.load(stores[name], BANDS, PLATFORMS, None, 0)
    seen, n = sample.seen, len(sample)
    assert n > 50 and (seen.view, seen.bands) == (source.view, BANDS)
    assert seen.reflectance.shape == seen.valid.shape == (n, len(BANDS)) and seen.geometry.shape == (n, 3)
    assert seen.platform.dtype == torch.long and set(seen.platform.tolist()) == {0, 1}
    assert (
        seen.reflectance.isfinite().all() and seen.reflectance.dtype == seen.geometry.dtype == torch.float32
    )
    assert (sample.truth is not None) == ("truth" in source.gives)


@every_source
def test_bands_come_in_the_order_that_is_asked_for(name: str, stores: dict[str, Path]) -> None:
    source = SOURCES.build(name)
    straight = source.load(stores[name], BANDS, PLATFORMS, None, 0).seen
    for wanted in (BANDS[::-1], ("B11", "B03"), ("B03", "B11", "B02", "B08")):
        seen = source.load(stores[name], wanted, PLATFORMS, None, 0).seen
        assert seen.bands == wanted and seen.reflectance.is_contiguous()
        assert torch.equal(seen.reflectance, straight.in_bands(wanted).reflectance)


@every_source
def test_platforms_do_not_depend_on_the_order_they_are_listed_in(name: str, stores: dict[str, Path]) -> None:
    source = SOURCES.build(name)
    straight, turned = (
        source.load(stores[name], BANDS, platforms, None, 0).seen.platform
        for platforms in (PLATFORMS, ("S2C", "S2B", "S2A"))
    )
    assert torch.equal(straight, turned)


@every_source
def test_a_band_or_platform_that_is_missing_is_named(name: str, stores: dict[str, Path]) -> None:
    source = SOURCES.build(name)
    with pytest.raises(DataError, match=r"\.zarr lacks band B12.*run the"):
        source.load(stores[name], ("B02", "B12"), PLATFORMS, None, 0)
    with pytest.raises(DataError, match=r"\.zarr holds platform S2B, the model knows S2A"):
        source.load(stores[name], BANDS, ("S2A",), None, 0)


@every_source
def test_a_share_is_drawn_by_the_seed(name: str, stores: dict[str, Path]) -> None:
    source = SOURCES.build(name)
    whole = rows(source.load(stores[name], BANDS, PLATFORMS, None, 0))
    one, again, other = (source.load(stores[name], BANDS, PLATFORMS, 20, seed) for seed in (5, 5, 6))
    assert rows(one) == rows(again) != rows(other)
    places = [whole.index(row) for row in rows(one)]
    assert len(set(places)) == 20 and places == sorted(places)
    assert rows(source.load(stores[name], BANDS, PLATFORMS, 10**9, 5)) == whole


def test_simulations_are_free_of_noise_and_know_their_states(stores: dict[str, Path]) -> None:
    sample = Simulations().load(stores["simulations"], BANDS, PLATFORMS, 20, 1)
    with xr.open_zarr(stores["simulations"], consolidated=False) as store:
        at = [store["reflectance"].values.tolist().index(list(row)) for row in rows(sample)]
        assert sample.truth is not None
        assert np.array_equal(sample.truth, store["variables"].values[at])
        assert np.array_equal(sample.seen.geometry, store["angles"].values[at])
        assert np.array_equal(sample.seen.platform, store["platform"].values[at])
    assert sample.noise_free.all() and sample.seen.complete


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
