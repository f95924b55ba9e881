"""Maps of small seasons: what the product holds, and what it does not depend on."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from seasons import clouded, learning_seasons, some_seasons, untrained_seasons
from synthetic_months import month_stores
from untrained import META, untrained_bundle

from canopyflow.archive.masks import FLAGS as QUALITY
from canopyflow.cubes.passes import TilePasses
from canopyflow.errors import ConfigError, DataError
from canopyflow.inference import season_summaries, seasons
from canopyflow.inference.allocation import Allocation
from canopyflow.inference.blocks import MapOptions
from canopyflow.inference.season_summaries import Calendar, located, summarise_seasons
from canopyflow.inference.seasons import SeasonJob, SeasonScenes, Window, infer
from canopyflow.inference.stored import open_product
from canopyflow.inference.summaries import Wanted
from canopyflow.models.bundle import save
from canopyflow.models.phenology import NAMES
from canopyflow.models.summaries import description
from canopyflow.observations.observation import Observation
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import BANDS, FLAGS, MAPPED, MASKED

WINDOW = Window(date(2022, 3, 1), date(2022, 5, 31), 10)
ROWS, COLUMNS = 7, 6
DAYS = {"2022-03": (4, 9, 24), "2022-05": (1, 18)}


def clear(day: int) -> np.ndarray:
    """A corner that nobody ever sees, and clouds."""
    found = np.random.default_rng(day).random((ROWS, COLUMNS)) < 0.6
    found[:2, :2] = False
    return found


def spectra(day: int) -> np.ndarray:
    """Digital numbers of some vegetation, (band, y, x)."""
    mean = np.array([400, 700, 500, 1100, 2500, 3000, 3200, 3300, 1900, 1000])
    noise = np.random.default_rng(50 + day).normal(0, 60, (10, ROWS, COLUMNS))
    return np.clip(mean[:, None, None] + noise, 1, 9999).astype(np.uint16)


def months(folder: Path, **changes: Any) -> list[tuple[Path, Path]]:
    made = []
    for month, days in DAYS.items():
        series = [(f"{month}-{d:02}T10:30", ("S2A", "S2B")[d % 2], spectra(d), clear(d)) for d in days]
        made.append(month_stores(folder, month, series, **changes))
    return made


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "season"
    save(untrained_seasons(), folder, META)
    return folder


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Path]]:
    return months(tmp_path_factory.mktemp("stores"))


def product(bundle: Path, stores: list[tuple[Path, Path]], out: Path, **options: Any) -> xr.Dataset:
    workers, window = options.pop("workers", 1), options.pop("window", WINDOW)
    scenes, masks = zip(*stores, strict=True)
    wanted = MapOptions(**({"samples": 8, "outputs": ["lai", "ccc"], "device": "cpu"} | options))
    infer(bundle, scenes, masks, out, wanted, Allocation(workers), window=window)
    with open_product(out) as store:
        return store.load()


def test_a_product_follows_its_contract(bundle: Path, stores: Any, tmp_path: Path) -> None:
    found = product(bundle, stores, tmp_path / "p.zarr")
    assert found["lai"].dims == ("time", "statistic", "y", "x")
    assert found["season_start"].dims == ("season", "statistic", "y", "x")
    dates = [str(time)[:10] for time in found["time"].values]
    # Every ten days from 1 January: those from March to May.
    assert dates[0] == "2022-03-02" and dates[-1] == "2022-05-31" and len(dates) == 10
    assert found["item"].values[0] == "32TMT_2022-03-02"
    assert found["statistic"].values.tolist() == list(MAPPED)
    assert set(found.data_vars) == {
        "lai", "ccc", *NAMES, "fit", "unobserved_days", "observed", "flags"
    }  # fmt: skip
    assert found["pass_item"].values.tolist()[:2] == ["S2A_2022-03-04_0", "S2B_2022-03-09_1"]
    assert found.attrs["month"] == "2022" and found.attrs["dynamics"] == "season_gp"
    never = ~np.logical_or.reduce([clear(d) for days in DAYS.values() for d in days])
    assert never[:2, :2].all() and not never.all()
    masked = found["flags"].values & MASKED != 0
    assert (masked == never).all()
    for name in ("lai", "ccc", *NAMES):
        values = found[name].values
        assert np.array_equal(np.isnan(values).any((0, 1)), never), name
    lai = found["lai"].values
    assert (np.diff(lai[:, 2:], axis=1)[..., ~never] >= 0).all(), "quantiles keep their order"
    start, peak, end = (found[n].sel(statistic="mean").values[0][~never] for n in NAMES[:3])
    assert (start >= 61).all() and (start <= peak).all() and (peak <= end).all() and (end <= 152).all()
    np.testing.assert_array_equal(
        found["observed"].values, np.stack([clear(d) for days in DAYS.values() for d in days])
    )


def test_unobserved_days_count_to_the_nearest_clear_pass(bundle: Path, stores: Any, tmp_path: Path) -> None:
    found = product(bundle, stores, tmp_path / "p.zarr")
    passes = [date.fromisoformat(f"{month}-{d:02}") for month, days in DAYS.items() for d in days]
    seen = np.stack([clear(each.day) for each in passes])
    for t, time in enumerate(found["time"].values):
        day = date.fromisoformat(str(time)[:10])
        apart = np.where(seen, np.array([abs((day - p).days) for p in passes])[:, None, None], 999).min(0)
        shown = found["unobserved_days"].values[t]
        assert np.array_equal(np.isnan(shown), apart == 999)
        assert np.array_equal(shown[apart < 999], apart[apart < 999])


def seasons_of(stores: list[tuple[Path, Path]]) -> tuple[SeasonScenes, Observation]:
    job = SeasonJob(tuple((str(s), str(m)) for s, m in stores), WINDOW, "", MapOptions())
    scenes = SeasonScenes(job, BANDS)
    (piece,) = scenes.pieces(0, slice(0, ROWS))
    assert piece.seen is not None
    return scenes, piece.seen


def test_a_product_is_the_summaries_of_its_seasons(bundle: Path, stores: Any, tmp_path: Path) -> None:
    found = product(bundle, stores, tmp_path / "p.zarr", seed=5)
    scenes, seen = seasons_of(stores)
    wanted = Wanted(["lai", "ccc"], MAPPED, samples=8)
    expected = summarise_seasons(
        untrained_seasons(), seen, scenes.calendar.place_of_fixed, wanted, seed_of(5, "32TMT", 2022, 0, 0)
    )
    known = found["flags"].values[0] & MASKED == 0
    for column, name in enumerate(("lai", "ccc")):
        values = np.moveaxis(found[name].values[..., known], -1, 0)
        sd = expected.stats[:, :, column, 1:2]
        assert (np.abs(values - expected.stats[:, :, column]) <= 0.0202 * sd + 0.02).all()
    whole = np.stack([found[name].values[0][:, known].T for name in NAMES], axis=1)
    assert (np.abs(whole - expected.whole) <= 0.0202 * expected.whole[..., 1:2] + 0.1).all()
    np.testing.assert_allclose(found["fit"].values[:, known], np.tile(expected.fit, (10, 1)), rtol=0.0102)


def learned_bundle(folder: Path, stores: list[tuple[Path, Path]], **said: Any) -> Path:
    """A bundle with learned summaries that trusts half of the seasons of ``stores``."""
    model, (_, seen) = learning_seasons(), seasons_of(stores)
    seen = season_summaries.located(seen)
    head = model.head
    assert head is not None
    head.limit(seen)
    fit = model.learned(seen, ("lai",), ("mean",)).fit
    told = {"passed": True, "fit_trusted": float(fit.median()), **said}
    save(model, folder, {**META, "summaries": {**description(model.generative.estimates), **told}})
    return folder


def test_learned_summaries_are_used_where_they_can_be_trusted(stores: Any, tmp_path: Path) -> None:
    bundle = learned_bundle(tmp_path / "model", stores)
    one, two = (product(bundle, stores, tmp_path / f"{seed}.zarr", seed=seed) for seed in (1, 2))
    known = one["flags"].values[0] & MASKED == 0
    # What depends on the seed was drawn, of all dates and of the season itself.
    drawn = (one["lai"].values != two["lai"].values)[..., known].any((0, 1))
    whole = (one["lai_duration"].values != two["lai_duration"].values)[..., known].any((0, 1))
    assert (drawn == whole).all() and 0.4 < drawn.mean() < 0.6
    assert one.attrs["summaries"] == "learned" and one.attrs["drawn_share"] == pytest.approx(drawn.mean())
    for name in ("lai", *NAMES):
        assert np.isfinite(one[name].values[..., known]).all(), name


@pytest.mark.parametrize("how", ["not passed", "not wished"])
def test_else_all_seasons_are_drawn_and_the_product_says_so(how: str, stores: Any, tmp_path: Path) -> None:
    passed = how == "not wished"
    bundle = learned_bundle(tmp_path / "model", stores, passed=passed)
    found = product(bundle, stores, tmp_path / "p.zarr", summaries="drawn" if passed else "learned")
    assert (found.attrs["summaries"], found.attrs["drawn_share"]) == ("drawn", 1.0)


def test_what_stands_under_a_cloud_changes_nothing(bundle: Path, stores: Any, tmp_path: Path) -> None:
    noisy = []
    for month, days in DAYS.items():
        series = []
        for d in days:
            numbers = np.where(clear(d), spectra(d), 7777)
            series.append((f"{month}-{d:02}T10:30", ("S2A", "S2B")[d % 2], numbers, clear(d)))
        noisy.append(month_stores(tmp_path / "noisy", month, series))
    one = product(bundle, stores, tmp_path / "one.zarr")
    xr.testing.assert_identical(one, product(bundle, noisy, tmp_path / "two.zarr"))
    assert (tmp_path / "one.zarr/zarr.json").read_bytes() == (tmp_path / "two.zarr/zarr.json").read_bytes()


@pytest.mark.slow
def test_neither_workers_nor_the_order_of_months_matter(
    bundle: Path, stores: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = product(bundle, stores, tmp_path / "1.zarr")
    product(bundle, stores[::-1], tmp_path / "2.zarr", workers=2)
    assert (tmp_path / "1.zarr/zarr.json").read_bytes() == (tmp_path / "2.zarr/zarr.json").read_bytes()
    # In smaller pieces the draws are others, and all the rest is the same.
    monkeypatch.setattr(seasons, "SEASON_SIDE", 4)
    monkeypatch.setattr(seasons, "STRIP", 4)
    monkeypatch.setattr("canopyflow.inference.blocks.STRIP", 4)
    small = product(bundle, stores, tmp_path / "3.zarr")
    for name in ("observed", "unobserved_days"):
        np.testing.assert_array_equal(small[name].values, one[name].values)
    np.testing.assert_array_equal(small["flags"].values & MASKED, one["flags"].values & MASKED)
    assert np.array_equal(np.isnan(small["lai"].values), np.isnan(one["lai"].values))


def test_a_date_that_nobody_saw_is_the_same_whether_it_is_given_or_not(stores: Any) -> None:
    """Clouded passes are left out before a posterior is drawn from: for the encoder nothing changes."""
    scenes, seen = seasons_of(stores)
    model, fixed = untrained_seasons(), scenes.calendar.place_of_fixed
    clouded = torch.zeros(seen.valid.shape[1], dtype=torch.bool)
    clouded[scenes.calendar.place_of_pass[1]] = True
    hidden = Observation(**{**vars(seen), "valid": seen.valid & ~clouded[:, None]})
    hidden = season_summaries.located(hidden.rows(hidden.valid.any(-1).any(-1)))
    short, places = season_summaries.without_clouds(hidden, fixed)
    assert short.valid.shape[1] == hidden.valid.shape[1] - 1
    both = [model.encoder(each)[:, told] for each, told in ((hidden, fixed), (short, places))]
    torch.testing.assert_close(*both, rtol=1e-5, atol=1e-5)


def test_flags_are_those_of_the_nearest_clear_pass(bundle: Path, tmp_path: Path) -> None:
    quality = np.zeros((3, ROWS, COLUMNS), np.uint16)
    quality[1] = QUALITY["assumed_angles"]
    march = [
        (f"2022-03-{d:02}T10:30", "S2A", spectra(d), np.ones((ROWS, COLUMNS), bool)) for d in (2, 13, 30)
    ]
    stores = [month_stores(tmp_path, "2022-03", march, quality=quality)]
    found = product(
        bundle, stores, tmp_path / "p.zarr", window=Window(date(2022, 3, 1), date(2022, 3, 31), 1)
    )
    flagged = (found["flags"].values & FLAGS["assumed_angles"] != 0).all((1, 2))
    assert flagged.any(0) == flagged.max()
    days = [int(str(time)[8:10]) for time, flag in zip(found["time"].values, flagged, strict=True) if flag]
    # 2 and 13 are equally far from no day; 21 is nearer to 13, 22 to 30.
    assert days == list(range(8, 22))


def test_a_fixed_date_on_the_day_of_a_pass_is_that_pass() -> None:
    calendar = Calendar.of(np.array([5, 7, 7, 20]), np.array([0, 5, 10, 15, 20]))
    assert calendar.every.tolist() == [0, 5, 7, 7, 10, 15, 20]
    assert calendar.every[calendar.place_of_pass].tolist() == [5, 7, 7, 20]
    assert len(set(calendar.place_of_pass.tolist())) == 4
    assert calendar.every[calendar.place_of_fixed].tolist() == [0, 5, 10, 15, 20]


def test_passes_on_one_day_keep_their_angles_and_a_cloud_takes_those_of_the_nearest() -> None:
    seen = clouded(some_seasons(untrained_seasons().generative, 2).seen, [3])
    assert seen.day is not None
    day = torch.tensor([10.0, 20.0, 20.0, 31.0, 40.0, 50.0]).expand(2, 6)
    found = located(replace(seen, day=day))
    kept = [0, 1, 2, 4, 5]
    assert torch.equal(found.geometry[:, kept], seen.geometry[:, kept])
    assert torch.equal(found.platform[:, kept], seen.platform[:, kept])
    assert torch.equal(found.geometry[:, 3], seen.geometry[:, 4])


@pytest.mark.parametrize("which", ["dates", "season"])
def test_learned_summaries_do_not_depend_on_what_other_pixels_saw(
    which: str, stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes, seen = seasons_of(stores)
    model, fixed = learning_seasons(), scenes.calendar.place_of_fixed
    monkeypatch.setattr(type(model.head), "usual", lambda _, seen: torch.ones(len(seen), dtype=torch.bool))
    model.meta = {"summaries": {"passed": True, "fit_trusted": 1e6}}
    missed = ~seen.valid[:, scenes.calendar.place_of_pass[-1]].any(-1)
    assert missed.any() and not missed.all(), "some did not see the last pass, which others saw"
    rows = torch.nonzero(missed).flatten()
    alone, among = (
        summarise_seasons(model, part, fixed, Wanted(["lai"], MAPPED)) for part in (seen.rows(rows), seen)
    )
    assert alone.drawn == among.drawn == 0
    values = [each.stats if which == "dates" else each.whole for each in (alone, among)]
    np.testing.assert_allclose(values[0], values[1][rows.numpy()], rtol=1e-4, atol=1e-4)


def test_a_season_that_nothing_explains_is_flagged_at_all_dates_by_how_rare_its_fit_is(stores: Any) -> None:
    scenes, seen = seasons_of(stores)
    model, fixed = untrained_seasons(), scenes.calendar.place_of_fixed
    model.meta = {**META, "fit_by_entries": 0.1, "fit_threshold": 1.2}
    found = summarise_seasons(model, seen, fixed, Wanted(["lai"], MAPPED, samples=8))
    comparable = model.comparable(torch.from_numpy(found.fit), seen).numpy()
    assert (comparable > 1.2).all(), "an untrained model explains nothing"
    assert (found.flags & FLAGS["misfit"] != 0).all()
    model.meta["fit_threshold"] = float(np.median(comparable))
    again = summarise_seasons(model, seen, fixed, Wanted(["lai"], MAPPED, samples=8))
    flagged = again.flags & FLAGS["misfit"] != 0
    assert (flagged == (comparable > np.median(comparable))[:, None]).all() and 0.4 < flagged.mean() < 0.6


def test_masks_of_other_scenes_and_shifted_months_are_refused(
    bundle: Path, stores: Any, tmp_path: Path
) -> None:
    (first, one), (second, other) = stores[:2]
    with pytest.raises(DataError, match=r"are not those of scenes .*: they have another month"):
        product(bundle, [(first, other), (second, one)], tmp_path / "p.zarr")
    moved = month_stores(
        tmp_path / "moved",
        "2022-04",
        [("2022-04-03T10:30", "S2A", spectra(1), np.ones((ROWS, COLUMNS), bool))],
    )
    for path in moved:
        store = zarr.open_group(path)
        west, south, east, north = store.attrs["bounds"]
        store.attrs["bounds"] = [west + 20, south, east + 20, north]
        zarr.consolidate_metadata(store.store)
    with pytest.raises(DataError, match="do not lie on the grid of"):
        product(bundle, [stores[0], moved], tmp_path / "p.zarr")
    assert not (tmp_path / "p.zarr").exists()


def test_what_does_not_fit_is_refused(bundle: Path, stores: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no model of seasons"):
        product(untrained_bundle(tmp_path / "pixel"), stores, tmp_path / "p.zarr")
    with pytest.raises(ConfigError, match="no date that is mapped lies between"):
        product(bundle, stores, tmp_path / "p.zarr", window=Window(date(2022, 3, 3), date(2022, 3, 9), 10))
    foreign = month_stores(
        tmp_path, "2022-04", [("2022-04-03T10:30", "S2C", spectra(1), np.ones((ROWS, COLUMNS), bool))]
    )
    with pytest.raises(DataError, match="platform S2C, unknown"):
        product(bundle, [*stores, foreign], tmp_path / "p.zarr")
    assert not (tmp_path / "p.zarr").exists()


def test_of_one_block_everything_is_in_memory_and_of_no_other(
    stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the memory of a task does not grow with the tile."""
    monkeypatch.setattr(seasons, "STRIP", 3)
    asked = []
    read = TilePasses.seen

    def counted(self: TilePasses, number: int, rows: slice, columns: slice) -> Any:
        asked.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return read(self, number, rows, columns)

    monkeypatch.setattr(TilePasses, "seen", counted)
    job = SeasonJob(tuple((str(s), str(m)) for s, m in stores), WINDOW, "", MapOptions())
    pieces = list(SeasonScenes(job, BANDS).pieces(0, slice(0, 3)))
    assert len(pieces) == 2 and asked == [9] * 10
