"""Maps of small scenes: what the product holds, and what it does not depend on."""

import os
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from lessons import labels, uniform_pixels
from synthetic_scenes import PLATFORMS, scene_store
from untrained import META, prior_pixels, untrained, untrained_bundle

from canopyflow.archive.masks import FLAGS as QUALITY
from canopyflow.errors import CanopyflowError, ConfigError, DataError
from canopyflow.inference import blocks, maps, summaries
from canopyflow.inference.allocation import Allocation
from canopyflow.inference.maps import MapOptions, infer
from canopyflow.inference.stored import open_product
from canopyflow.inference.summaries import Wanted, summarise
from canopyflow.models.baseline import BaselineOptions, Lesson, baseline
from canopyflow.models.bundle import load, save
from canopyflow.models.summaries import description
from canopyflow.observations.observation import pixels
from canopyflow.samplers import importance
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import BANDS, FLAGS, MAPPED, MASKED, STATISTICS, UNREFINED

FEW = MapOptions(samples=8, device="cpu")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_bundle(tmp_path_factory.mktemp("models") / "seed0")


def half_learned(folder: Path, passed: bool = True) -> Path:
    """A bundle with a network for its summaries, random, that is trusted in half of the pixels."""
    model = untrained(summaries={"width": 8})
    assert model.head is not None
    inputs = model.head.inputs(prior_pixels(untrained(), 126))[:, : len(BANDS)]
    model.head.farthest.copy_(inputs.square().sum(-1).median())
    save(
        model,
        folder,
        {
            **META,
            "summaries": {**description(model.generative.estimates), "passed": passed, "fit_trusted": 1e9},
        },
    )
    return folder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return half_learned(tmp_path_factory.mktemp("models") / "mixed")


def product(bundle: Path, stores: tuple[Path, Path], out: Path, **options: Any) -> xr.Dataset:
    infer(bundle, *stores, out, MapOptions(**{"samples": 8, "device": "cpu"} | options))
    with open_product(out) as store:
        return store.load()


def rewrite(store: Path, out: Path, change: Any) -> Path:
    """A copy of a store, changed as a dataset of digital numbers."""
    with xr.open_zarr(store, consolidated=False, mask_and_scale=False) as whole:
        change(whole.load()).drop_encoding().to_zarr(out, zarr_format=3, consolidated=False)
    return out


def test_doubts_of_the_masks_become_flags_and_drop_no_pixel(mixed: Path, tmp_path: Path) -> None:
    scenes, masks = scene_store(tmp_path)
    plain = product(mixed, (scenes, masks), tmp_path / "plain.zarr")

    def doubt(store: xr.Dataset) -> xr.Dataset:
        told = {"flag_masks": list(QUALITY.values()), "flag_meanings": " ".join(QUALITY)}
        quality = store["quality"].astype(np.uint16)
        quality[0] |= QUALITY["doubted_offset"] | QUALITY["duplicate"]
        quality[1, 2:] |= QUALITY["assumed_angles"]
        return store.assign(quality=quality.assign_attrs(told))

    doubted = product(mixed, (scenes, rewrite(masks, tmp_path / "doubted.zarr", doubt)), tmp_path / "p.zarr")
    valid = plain["flags"].values & FLAGS["masked"] == 0
    expected = plain["flags"].values.copy()
    expected[0] |= np.where(valid[0], FLAGS["doubted_offset"] | FLAGS["duplicate"], 0).astype(np.uint8)
    expected[1, 2:] |= np.where(valid[1, 2:], FLAGS["assumed_angles"], 0).astype(np.uint8)
    np.testing.assert_array_equal(doubted["flags"].values, expected)
    assert (expected[~valid] == FLAGS["masked"]).all()
    assert doubted["flags"].dtype == np.uint8
    xr.testing.assert_identical(doubted["lai"], plain["lai"])


@pytest.mark.slow
def test_a_map_is_the_same_for_any_number_of_workers(mixed: Path, tmp_path: Path) -> None:
    scenes, masks = scene_store(tmp_path, rows=520)
    threads = torch.get_num_threads()
    for workers in (1, 2):
        infer(mixed, scenes, masks, tmp_path / f"{workers}.zarr", FEW, Allocation(workers=workers))
    assert torch.get_num_threads() == threads
    one, two = (xr.open_zarr(tmp_path / f"{w}.zarr", consolidated=False) for w in (1, 2))
    xr.testing.assert_identical(one.load(), two.load())
    assert (tmp_path / "1.zarr" / "zarr.json").read_bytes() == (
        tmp_path / "2.zarr" / "zarr.json"
    ).read_bytes()


def test_a_map_follows_the_product_contract(bundle: Path, tmp_path: Path) -> None:
    found = product(bundle, scene_store(tmp_path), tmp_path / "product.zarr", outputs=["lai", "ccc"])
    assert found["lai"].dims == ("time", "statistic", "y", "x") and found["lai"].dtype == np.float32
    assert found["statistic"].values.tolist() == list(MAPPED)
    assert found["item"].values.tolist() == ["first", "second"]
    assert set(found.data_vars) == {"lai", "ccc", "fit", "flags"}
    assert found.attrs["tile"] == "32TMT" and found.attrs["samples"] == 8 and found.attrs["family"] == "nsf"
    masked = (found["flags"].values & MASKED).astype(bool)
    assert masked[0, :4].all() and not masked[0, 4:].any()
    assert masked[1, 4, 4] and masked[1].sum() == 1  # no data in one band
    assert np.array_equal(np.isnan(found["fit"].values), masked)
    assert np.array_equal(np.isnan(found["lai"].values).all(1), masked)
    assert found["lai"].attrs["units"] == "m2 m-2"


@pytest.mark.parametrize("side", [8, 256])
def test_a_map_is_the_summaries_of_its_pixels(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    """Under the pixel's own spectrum, geometry and platform, from a seed of item and piece; rounded by at
    most 2 % of the posterior's standard deviation."""
    monkeypatch.setattr(blocks, "SIDE", side)
    monkeypatch.setattr(maps, "SIDE", side)
    monkeypatch.setattr(blocks, "STRIP", 2 * side)
    monkeypatch.setattr(maps, "STRIP", 2 * side)
    stores = scene_store(tmp_path, rows=20, columns=19)
    wanted = ["q75", "mean"]
    found = product(
        bundle, stores, tmp_path / "product.zarr", outputs=["lai", "cab"], statistics=wanted, seed=5
    )
    assert found["statistic"].values.tolist() == wanted
    with xr.open_zarr(stores[0], consolidated=False) as scenes:
        x = np.moveaxis(scenes["reflectance"].values, 1, -1).astype(np.float32)
    model, geometry = untrained(), torch.tensor([40.0, 5.0, 100.0])
    places = [(y, x) for y in range(-(-20 // side)) for x in range(-(-19 // side))]
    for time, (item, platform) in enumerate((("first", "S2A"), ("second", "S2B"))):
        for row, column in places:
            part = (slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side))
            clear = found["flags"].values[time, *part] & MASKED == 0
            if not clear.any():
                continue
            spectra = torch.from_numpy(x[time, *part][clear])
            seen = pixels(spectra, geometry.expand(len(spectra), 3), platform, BANDS)
            seed = seed_of(5, item, row, column)
            stats = summarise(model, seen, Wanted(["lai", "cab"], samples=8), seed)
            for i, name in enumerate(("lai", "cab")):
                values = np.moveaxis(found[name].values[time][:, *part], 0, -1)[clear]
                expected = stats.stats[:, i][:, [STATISTICS.index(s) for s in wanted]]
                sd = stats.stats[:, i, STATISTICS.index("std")][:, None]
                assert (np.abs(values - expected) <= 0.0202 * sd + 1e-3).all()
            np.testing.assert_allclose(found["fit"].values[time, *part][clear], stats.fit, rtol=0.0102)


@pytest.mark.parametrize("acquisitions", [1, 2])
def test_a_layer_is_one_file_of_small_numbers(bundle: Path, tmp_path: Path, acquisitions: int) -> None:
    """At most forty files, whatever is mapped and however many acquisitions there are."""
    scenes, masks = scene_store(tmp_path, rows=5)
    some = [
        rewrite(store, tmp_path / f"{name}.zarr", lambda ds: ds.isel(time=slice(2 - acquisitions, 2)))
        for name, store in (("s", scenes), ("m", masks))
    ]
    out = tmp_path / "product.zarr"
    names = ["lai", "gai", "ccc", "fapar"]
    product(bundle, (some[0], some[1]), out, outputs=names)
    for name in (*names, "fit", "flags"):
        assert len([path for path in (out / name / "c").rglob("*") if path.is_file()]) == 1
    assert sum(path.is_file() for path in out.rglob("*")) <= 40
    with xr.open_zarr(out, consolidated=False, mask_and_scale=False) as store:
        assert {store[name].dtype for name in (*names, "fit")} == {np.dtype("int16")}
        assert store["flags"].dtype == np.uint8


def test_everything_that_a_model_knows_can_be_mapped(bundle: Path, tmp_path: Path) -> None:
    """Values of every variable are within the range of its numbers."""
    names = [variable.name for variable in load(bundle).generative.estimates]
    found = product(bundle, scene_store(tmp_path), tmp_path / "p.zarr", outputs=names, statistics=STATISTICS)
    for name in names:
        layers = found[name].isel(time=1)
        order = [layers.sel(statistic=s).values for s in ("q05", "q25", "q50", "q75", "q95")]
        assert (np.diff(order, axis=0)[:, np.isfinite(order[0])] >= 0).all()
        width = np.nanmean(order[-1] - order[0]) / np.nanmean(layers.sel(statistic="std").values)
        assert 1 < width < 5, name


def test_every_acquisition_and_block_has_draws_of_its_own(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On ground that looks the same everywhere and always, else maps would repeat their Monte-Carlo error.

    After rounding, a few values are equal by chance."""
    monkeypatch.setattr(blocks, "SIDE", 2)
    monkeypatch.setattr(maps, "SIDE", 2)
    counts = np.broadcast_to(np.full((1, 10, 1, 1), 1500, np.uint16), (2, 10, 4, 3)).copy()
    settings: dict[str, Any] = {"counts": counts, "platforms": ("S2A", "S2A")}
    stores = scene_store(tmp_path / "a", **settings)
    lai = product(bundle, stores, tmp_path / "a.zarr", outputs=["lai"])["lai"].sel(statistic="mean").values
    assert (~np.isclose(lai[0], lai[1])).mean() > 0.8
    assert (~np.isclose(lai[:, :2], lai[:, 2:])).mean() > 0.8
    other = product(bundle, stores, tmp_path / "b.zarr", outputs=["lai"], seed=1)
    assert (~np.isclose(lai, other["lai"].sel(statistic="mean").values)).mean() > 0.8
    # It is the item that counts, not its place in the month.
    stores = scene_store(tmp_path / "c", items=("other", "first"), **settings)
    moved = product(bundle, stores, tmp_path / "c.zarr", outputs=["lai"])["lai"].sel(statistic="mean").values
    np.testing.assert_array_equal(moved[1], lai[0])
    assert (~np.isclose(moved[0], lai)).mean() > 0.8


def test_bands_are_taken_by_name(mixed: Path, tmp_path: Path) -> None:
    """A store may hold them in another order, and further ones."""
    scenes, masks = scene_store(tmp_path)

    def shuffled(store: xr.Dataset) -> xr.Dataset:
        further = store.isel(band=[0]).assign_coords(band=np.array(["B01"], dtype=object))
        further["reflectance"] = further["reflectance"] * 0 + 7
        timeless = [name for name in store.variables if "band" not in store[name].dims]
        return xr.concat(
            [further, store.isel(band=slice(None, None, -1))], "band", data_vars="minimal"
        ).assign({name: store[name] for name in timeless})

    other = rewrite(scenes, tmp_path / "other.zarr", shuffled)
    with xr.open_zarr(other, consolidated=False) as store:
        assert store["band"].values.tolist() == ["B01", *BANDS[::-1]]
    one, two = (
        product(mixed, (scenes, masks), tmp_path / "1.zarr"),
        product(mixed, (other, masks), tmp_path / "2.zarr"),
    )
    xr.testing.assert_identical(one, two)


def test_a_refined_map_says_how_far_to_believe_it(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = scene_store(tmp_path)
    common: dict[str, Any] = {"samples": 20, "outputs": ["lai"]}
    wanted: dict[str, Any] = {"refine": "importance", "proposals": 200, "least_ess": 2.0, **common}
    plain = product(bundle, stores, tmp_path / "plain", **common)
    heavy = product(bundle, stores, tmp_path / "heavy", **wanted)
    masked = (plain["flags"].values & MASKED).astype(bool)
    # The bundle is untrained: the tails of all its weights are to be feared.
    assert ((heavy["flags"].values & UNREFINED != 0) == ~masked).all()
    monkeypatch.setattr(importance, "LARGEST_K", np.inf)
    refined = product(bundle, stores, tmp_path / "refined", **wanted)
    ess = refined["ess"].values
    assert np.array_equal(np.isnan(ess), masked)
    assert 1 <= np.nanmin(ess) < 2 < np.nanmax(ess) < 200
    assert np.array_equal(refined["flags"].values & UNREFINED != 0, ess < 2)
    about = refined["flags"].attrs
    bits = dict(zip(about["flag_meanings"].split(), about["flag_masks"], strict=True))
    assert bits == FLAGS and bits["unrefined"] == UNREFINED
    # Refined draws fit the observation better than those of an untrained family.
    assert "ess" not in plain
    assert np.nanmean(refined["fit"]) < 0.7 * np.nanmean(plain["fit"])
    with pytest.raises(ConfigError, match="use none or importance"):
        product(bundle, stores, tmp_path / "other", refine="chains")


@pytest.mark.parametrize("acquisitions", [2, 0])
def test_a_month_without_a_clear_pixel_is_masked_as_a_whole(
    bundle: Path, tmp_path: Path, acquisitions: int
) -> None:
    scenes, masks = scene_store(tmp_path)
    some = slice(0, acquisitions)
    cloudy = (
        rewrite(scenes, tmp_path / "s.zarr", lambda store: store.isel(time=some)),
        rewrite(masks, tmp_path / "m.zarr", lambda store: xr.zeros_like(store.isel(time=some))),
    )
    found = product(bundle, cloudy, tmp_path / "p.zarr")
    assert found["lai"].shape == (acquisitions, 5, 9, 7)
    assert np.isnan(found["lai"].values).all() and np.isnan(found["fit"].values).all()
    assert (found["flags"].values == MASKED).all()


@pytest.mark.parametrize(
    ("passed", "wished", "made", "shares"),
    [
        (None, "learned", "drawn", (1, 1)),
        (False, "learned", "drawn", (1, 1)),
        (True, "drawn", "drawn", (1, 1)),
        (True, "learned", "learned", (0.2, 0.8)),
    ],
)
def test_a_product_says_how_it_was_made_not_what_was_wished(
    tmp_path: Path, passed: bool | None, wished: str, made: str, shares: tuple[float, float]
) -> None:
    folder = tmp_path / "model"
    model = untrained_bundle(folder) if passed is None else half_learned(folder, passed)
    found = product(model, scene_store(tmp_path), tmp_path / "p.zarr", summaries=wished)
    assert found.attrs["summaries"] == made
    assert shares[0] <= found.attrs["drawn_share"] <= shares[1]


def test_another_acquisition_changes_no_map_of_the_first(mixed: Path, tmp_path: Path) -> None:
    scenes, masks = scene_store(tmp_path)
    both = product(mixed, (scenes, masks), tmp_path / "both.zarr")
    alone = (
        rewrite(scenes, tmp_path / "s.zarr", lambda store: store.isel(time=[1])),
        rewrite(masks, tmp_path / "m.zarr", lambda store: store.isel(time=[1])),
    )
    xr.testing.assert_equal(both.isel(time=[1]), product(mixed, alone, tmp_path / "one.zarr"))


def test_scenes_that_do_not_fit_the_model_are_refused(bundle: Path, tmp_path: Path) -> None:
    scenes, masks = scene_store(tmp_path)
    fewer = rewrite(scenes, tmp_path / "bands.zarr", lambda store: store.isel(band=slice(0, 9)))
    platforms = ("time", np.array(["S2A", "S2C"], dtype=object))
    foreign = rewrite(
        scenes, tmp_path / "platform.zarr", lambda store: store.assign_coords(platform=platforms)
    )
    for store, message in ((fewer, "lack band B12"), (foreign, "scene second is of platform S2C")):
        with pytest.raises(DataError, match=message):
            infer(bundle, store, masks, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


def test_a_task_that_fails_leaves_no_product(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes, masks = scene_store(tmp_path)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(blocks, "summarise", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        infer(bundle, scenes, masks, tmp_path / "out.zarr", FEW)
    assert not (tmp_path / "out.zarr").exists()


def test_a_clear_pixel_without_a_finite_posterior_is_an_error_not_a_hole(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the product it would be no data with flags 0: neither masked nor there."""
    stores = scene_store(tmp_path)
    model, statistics_of_draws = untrained(), summaries.statistics_of_draws

    def spoilt(draws: np.ndarray) -> Any:
        stats = statistics_of_draws(draws)
        stats[3, 1, 0] = np.inf
        return stats

    with pytest.raises(CanopyflowError, match=r"pixel 2 .of 4. has no finite summaries"):
        x = prior_pixels(model, 4)
        x.reflectance[2, 5] = np.nan
        summarise(model, x, Wanted(samples=8))
    monkeypatch.setattr(summaries, "statistics_of_draws", spoilt)
    with pytest.raises(CanopyflowError, match=r"scene first, rows from 0, columns from 0: .* pixel 3"):
        infer(bundle, *stores, tmp_path / "out.zarr", FEW)
    assert not (tmp_path / "out.zarr").exists()


def test_a_part_that_was_cut_short_is_an_error_not_a_chunk(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or one that another node does not see yet; under a seal nobody would look again."""
    whole = blocks.Mapper.__call__

    def cut(self: blocks.Mapper, time: int, number: int) -> blocks.Part:
        part = whole(self, time, number)
        os.truncate(part.file, Path(part.file).stat().st_size - 1)
        return part

    monkeypatch.setattr(blocks.Mapper, "__call__", cut)
    with pytest.raises(DataError, match="ends within a chunk of flags"):
        infer(bundle, *scene_store(tmp_path), tmp_path / "out.zarr", FEW)
    assert not (tmp_path / "out.zarr").exists()


def test_worker_processes_can_import_the_script_of_the_rule() -> None:
    """Each worker runs the calling script under this name; there is no ``snakemake`` in there."""
    script = Path(__file__).resolve().parents[3] / "scripts" / "infer.py"
    assert "MapOptions" in runpy.run_path(str(script), run_name="__mp_main__")


def test_of_a_baseline_what_it_estimates_is_mapped_and_nothing_else(tmp_path: Path) -> None:
    seen = uniform_pixels(30, BANDS)
    made = baseline(BaselineOptions("gpr", BANDS, PLATFORMS, {"steps": 3}))
    made.learn(Lesson({}, labels(seen, {"lai": 4 * seen.reflectance[:, 7]}, ["here"] * 30)))
    save(made, tmp_path / "gpr", {k: v for k, v in META.items() if k != "fit_threshold"} | made.meta)
    stores = scene_store(tmp_path)
    found = product(
        tmp_path / "gpr", stores, tmp_path / "p.zarr", outputs=("cab", "lai"), refine="importance"
    )
    assert set(found.data_vars) == {"lai", "fit", "flags"} and found.attrs["estimator"] == "gpr"
    clear = found["flags"].values & MASKED == 0
    assert clear.any() and np.isfinite(found["lai"].isel(statistic=0).values[clear]).all()
    # It explains no spectrum: that is no number, and flags nothing.
    assert np.isnan(found["fit"].values).all()
    with pytest.raises(ConfigError, match=r"gpr estimates none of cab.*it estimates lai"):
        product(tmp_path / "gpr", stores, tmp_path / "q.zarr", outputs=("cab",))
