"""Where samples come from: what every source is held to, and what each of them holds."""

from pathlib import Path

import pytest
import torch
from training_runs import BANDS, drawn_seasons, patch_cube, season_cube

from canopyflow.errors import DataError
from canopyflow.observations.observation import Sample, View
from canopyflow.registry import SOURCES

PLATFORMS = ("S2A", "S2B")
every_source = pytest.mark.parametrize("name", sorted(SOURCES))


@pytest.fixture(scope="module")
def stores(simulations: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A store for each source; a new source needs one here."""
    cube = tmp_path_factory.mktemp("patches") / "train.zarr"
    patch_cube(cube)
    folder = tmp_path_factory.mktemp("seasons")
    return {
        "simulations": simulations["validation"],
        "patches": cube,
        "seasons_drawn": drawn_seasons(folder / "drawn.zarr"),
        "seasons": season_cube(folder / "train.zarr"),
    }


def rows(sample: Sample) -> list[tuple[float, ...]]:
    return [tuple(row) for row in sample.seen.reflectance.flatten(1).tolist()]


@every_source
def test_samples_are_what_is_promised(name: str, stores: dict[str, Path]) -> None:
    source = SOURCES.build(name)
    sample = source.load(stores[name], BANDS, PLATFORMS, None, 0)
    seen, n = sample.seen, len(sample)
    assert n > 50 and (seen.view, seen.bands) == (source.view, BANDS)
    behind = seen.reflectance.shape[1:-1]
    assert len(behind) == (1 if seen.view is View.SEASON else 0)
    assert seen.reflectance.shape == seen.valid.shape == (n, *behind, len(BANDS))
    assert seen.geometry.shape == (n, *behind, 3)
    assert seen.platform.dtype == torch.long and set(seen.platform[seen.valid.any(-1)].tolist()) == {0, 1}
    assert (seen.day is not None) == (seen.view is View.SEASON)
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
