"""Models of seasons go through the one training loop."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seasons import SMALL, some_seasons
from training_runs import (
    BANDS,
    ELBO,
    NPE,
    digests,
    drawn_seasons,
    fit,
    history,
    interrupt,
    make,
    season_cube,
    watch,
)

from canopyflow.cubes.seasons import open_seasons
from canopyflow.errors import ConfigError, DataError
from canopyflow.models import load
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.generative._season import Season
from canopyflow.observations.observation import (
    Observation,
    View,
    by_themselves,
    concatenate,
    each_date,
    padded,
)
from canopyflow.observations.sources.seasons import Seasons, _filled_up
from canopyflow.observations.sources.seasons_drawn import SeasonsDrawn
from canopyflow.observations.sources.simulations import Simulations
from canopyflow.registry import GENERATIVE, OBJECTIVES, SEASON_PRIORS
from canopyflow.training.stores import check_finite
from canopyflow.training.trainer import _reference

MODEL: dict[str, Any] = {
    "family": "mixture",
    "encoder": "season",
    "encoder_options": SMALL,
    "dynamics": "season_gp",
}
ON_SEASONS = {"data": "seasons_drawn"}
DATES = 5
PHASES = (
    {**NPE, **ON_SEASONS, "epochs": 2, "optimizer": "muon"},
    {**ELBO, **ON_SEASONS, "epochs": 1, "steps": 2},
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("seasons")
    return {
        split: drawn_seasons(folder / split, seed=i, dates=DATES)
        for i, split in enumerate(("train", "validation"))
    }


@pytest.fixture(scope="module")
def bundle(stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("run"), stores)


def run(folder: Path, stores: dict[str, Path], **changes: Any) -> Path:
    given = {"model": MODEL, "phases": PHASES, "batch_size": 32, **changes}
    return fit(folder, {"seasons_drawn": stores}, **given)


def test_a_model_of_seasons_is_trained_and_kept(bundle: Path) -> None:
    model = load(bundle)
    assert isinstance(model, Amortised) and isinstance(model.generative, Season)
    lines = history(bundle)
    assert [line["objective"] for line in lines] == ["npe", "npe", "elbo"]
    assert lines[1]["validation"] < lines[0]["validation"]
    assert len(model.meta["angle_range"]["lower"]) == 3 and len(model.meta["reflectance_range"]["lower"]) == 5
    assert 0.5 < model.meta["fit_threshold"] < 50 and "fit_by_bands" not in model.meta
    assert 0.0 <= model.meta["fit_by_entries"] < 0.5
    assert set(model.meta["flags"]) == {"out_of_domain", "misfit", "together"}
    seen = some_seasons(model.generative, 3, 7).seen
    assert model.posterior(seen).draw(2).z.shape == (2, 3, 7, 11)


def test_a_stopped_run_ends_with_the_same_bits(
    bundle: Path, stores: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, stores)
    assert digests(run(tmp_path, stores)) == digests(bundle)


def test_dates_are_hidden_anew_at_each_step(
    stores: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = watch(monkeypatch, "npe")
    run(tmp_path, stores, phases=[{**NPE, **ON_SEASONS, "epochs": 2}])
    masks = [call.sample.seen.valid.any(-1) for call in calls if call.training]
    validation = [call.sample.seen.valid.any(-1) for call in calls if not call.training]
    assert len(masks) == 6 and all(0.2 < float(mask.float().mean()) < 0.8 for mask in masks)
    assert not torch.equal(masks[0], masks[3])
    assert len(validation) == 6 and torch.equal(validation[0], validation[3])


def test_sources_of_another_view_are_refused(stores: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="simulations are no seasons"):
        run(tmp_path, stores, phases=[NPE])
    with pytest.raises(ConfigError, match="seasons_drawn are no pixels"):
        run(tmp_path, stores, phases=PHASES, model={})


def test_a_store_holds_what_was_drawn(stores: dict[str, Path]) -> None:
    sample = SeasonsDrawn().load(stores["train"], BANDS[::-1], ["S2A", "S2B"], 50, 3)
    seen, truth = sample.seen, sample.truth
    assert truth is not None and seen.day is not None
    assert seen.view is View.SEASON and seen.reflectance.shape == (50, DATES, 5)
    assert truth.shape == (50, DATES, 11) and sample.noise_free.all()
    assert (seen.day.diff(dim=-1) >= 0).all() and seen.day.min() >= 0 and seen.day.max() <= 365
    span = seen.day.amax(-1) - seen.day.amin(-1)
    assert span.min() < 60 and span.max() > 150
    model = Season(*_parts())
    rendered = model.decode(truth, seen.in_bands(model.bands))
    torch.testing.assert_close(rendered.flip(-1), seen.reflectance)


def _parts() -> tuple[Any, Any]:
    pixel = GENERATIVE.build("prosail", BANDS, ("S2A", "S2B"))
    return pixel, SEASON_PRIORS.build("season_gp", pixel)


def test_stores_of_pixels_and_of_seasons_are_told_apart(stores: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="drawn seasons, not simulated pixels"):
        Simulations().load(stores["train"], BANDS, ["S2A", "S2B"])
    with pytest.raises(DataError, match="simulated pixels, not drawn seasons"):
        SeasonsDrawn().load(make(tmp_path / "pixels", 8), BANDS, ["S2A", "S2B"])
    with pytest.raises(DataError, match="S2B"):
        SeasonsDrawn().load(stores["train"], BANDS, ["S2A"])


def test_each_date_of_a_season_is_a_pixel() -> None:
    sample = some_seasons(Season(*_parts()), 3)
    flat = each_date(sample)
    assert flat.seen.view is View.PIXEL and flat.seen.day is None and len(flat) == 18
    assert torch.equal(flat.seen.geometry[7], sample.seen.geometry[1, 1])
    assert flat.truth is not None and sample.truth is not None
    assert torch.equal(flat.truth[7], sample.truth[1, 1])
    assert each_date(flat) is flat


def test_dates_of_a_season_go_by_themselves_observed_ones_first() -> None:
    sample = some_seasons(Season(*_parts()), 4, 6)
    assert sample.truth is not None and sample.seen.day is not None
    valid = sample.seen.valid.clone()
    valid[:, 2:] = False
    sample = replace(sample, seen=replace(sample.seen, valid=valid))
    alone = by_themselves(sample, 2)
    assert alone.seen.view is View.SEASON and alone.seen.reflectance.shape == (8, 1, 5)
    assert alone.truth is not None and alone.truth.shape == (8, 1, 11) and len(alone.noise_free) == 8
    assert alone.seen.day is not None and alone.seen.valid.all()
    for row in range(8):
        (date,) = torch.nonzero(sample.seen.day[row // 2] == alone.seen.day[row, 0])[0].tolist()
        assert date < 2 and torch.equal(alone.truth[row, 0], sample.truth[row // 2, date])
        assert torch.equal(alone.seen.geometry[row, 0], sample.seen.geometry[row // 2, date])
        assert torch.equal(alone.seen.reflectance[row, 0], sample.seen.reflectance[row // 2, date])
    assert len(by_themselves(sample, 9)) == 4 * 6


def _dates(seen: Observation, which: slice) -> Observation:
    return seen.each(lambda value: value[:, which])


def test_npe_looks_at_dates_alone_beside_their_season() -> None:
    model = Amortised(ModelOptions(bands=BANDS, platforms=("S2A", "S2B"), **MODEL)).eval()
    sample = some_seasons(model.generative, 3, 2)
    both = OBJECTIVES.build("npe", alone=2).loss(model, sample, 1)
    of_all = OBJECTIVES.build("npe").loss(model, sample, 1)
    assert sample.truth is not None
    single = []
    for k in (slice(0, 1), slice(1, 2)):
        date = replace(sample, seen=_dates(sample.seen, k), truth=sample.truth[:, k])
        single.append(OBJECTIVES.build("npe").loss(model, date, 1))
    torch.testing.assert_close(both, of_all + single[0] + single[1])
    with pytest.raises(ConfigError, match=r"'alone'.*pixels are alone"):
        of_pixels = Amortised(ModelOptions("mixture", BANDS, ("S2A", "S2B")))
        OBJECTIVES.build("npe", alone=1).loss(of_pixels, each_date(sample), 1)
    for wrong in (-1, 1.5, True):
        with pytest.raises(ConfigError, match=r"'alone'.*whole number"):
            OBJECTIVES.build("npe", alone=wrong)


def test_seasons_of_unequal_length_are_filled_up_with_dates_of_which_nothing_is_known() -> None:
    model = Season(*_parts())
    one, two = some_seasons(model, 2, 4), some_seasons(model, 3, 6, seed=1)
    both = concatenate([one, two])
    assert both.truth is None and both.seen.valid.shape == (5, 6, 5)
    assert not both.seen.valid[:2, 4:].any() and both.seen.valid[:2, :4].all() and both.seen.valid[2:].all()
    assert both.seen.day is not None and one.seen.day is not None
    assert (both.seen.day[:2, 4] - one.seen.day.amax(-1) == 5.0).all()
    assert (both.seen.day[:2].diff(dim=-1)[:, 3:] >= 5.0).all()
    assert padded(two.seen, 6) is two.seen
    assert concatenate([replace(one, truth=None), one]).truth is None


def test_real_seasons_have_dates_that_only_fill_up_after_all_others(tmp_path: Path) -> None:
    cube = season_cube(tmp_path / "train.zarr")
    sample = Seasons().load(cube, BANDS, ["S2A", "S2B"])
    seen, store = sample.seen, open_seasons(cube)
    assert seen.day is not None and sample.truth is None and not sample.noise_free.any()
    assert torch.equal(seen.valid.any(-1), torch.from_numpy(store["valid"].values))
    assert torch.equal(seen.valid.any(-1), seen.valid.all(-1))
    real = torch.from_numpy(store["reflectance"].values).nan_to_num(0.0)
    assert torch.equal(seen.reflectance, real)
    assert torch.equal(seen.day[:40].long(), torch.from_numpy(store["day"].values[:40]).long())
    assert (seen.day[40:, 5] - seen.day[40:, 4] == 5.0).all() and (
        seen.day[40:, 6:] > seen.day[40:, 5:6]
    ).all()
    assert (seen.day.diff(dim=-1) > 0).all()


def test_a_bound_learns_from_drawn_and_real_seasons_together(stores: dict[str, Path], tmp_path: Path) -> None:
    cube = season_cube(tmp_path / "train.zarr")
    phases = [{**ELBO, "data": "seasons_drawn+seasons", "epochs": 1, "steps": 2}]
    both = {"seasons_drawn": stores, "seasons": {"train": cube, "validation": cube}}
    lines = history(fit(tmp_path, both, model=MODEL, phases=phases, batch_size=32))
    assert lines[0]["skipped"] == 0 and lines[0]["validation"] is not None


@pytest.mark.parametrize("objective", ["elbo", "iwae", "beta_elbo", "predictive_nll"])
def test_what_a_season_cannot_be_trained_by_is_refused(
    objective: str, stores: dict[str, Path], tmp_path: Path
) -> None:
    """Before anything is read: weights by a density that is none, and losses of single dates."""
    phase = {**NPE, **ON_SEASONS, "objective": objective}
    curves = MODEL | {"dynamics": "season_curves"}
    with pytest.raises(ConfigError, match=rf"training phase 1: {objective} (weighs traj|looks at single)"):
        run(tmp_path, stores, phases=[phase], model=curves)
    if objective == "predictive_nll":
        with pytest.raises(ConfigError, match="looks at single dates alone"):
            run(tmp_path, stores, phases=[phase])


def test_real_seasons_have_no_truth_and_drawn_ones_are_named(stores: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"truth, which seasons have not .* seasons_drawn"):
        run(tmp_path, stores, phases=[{**NPE, "data": "seasons"}])


def test_satellites_that_pass_on_one_day_are_less_than_a_day_apart() -> None:
    """On the last day of a season too, and dates that only fill up come after both."""
    day = np.array([[3, 3, 9, 9, 0, 0], [3, 4, 5, 9, 9, 9], [0, 0, 0, 0, 0, 0]], np.float32)
    found = _filled_up(day)
    third = 1.0 / 3.0
    expected = [[3, 3 + third, 9, 9 + third, 14, 19], [3, 4, 5, 9, 9 + third, 9 + 2 * third]]
    np.testing.assert_allclose(found[:2], expected, rtol=1e-6)
    assert (np.diff(found) > 0).all() and found[2, 0] == 0.0
    assert _filled_up(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_simulations_stand_in_where_something_was_seen(tmp_path: Path) -> None:
    """Angles of clouded dates are unknown, and dates that only fill up are not of the year."""
    sample = Seasons().load(season_cube(tmp_path / "train.zarr"), BANDS, ["S2A", "S2B"])
    known = sample.seen.valid.any(-1)
    assert sample.seen.day is not None
    geometry = torch.where(known.unsqueeze(-1), torch.tensor([45.0, 6.0, 90.0]), 0.0)
    day = torch.where(known, sample.seen.day, 500.0)
    real = replace(sample, seen=replace(sample.seen, geometry=geometry, day=day))
    model = Amortised(ModelOptions(bands=BANDS, platforms=("S2A", "S2B"), **MODEL))
    stands_in = _reference({"train": {"seasons": real}}, model).seen
    assert stands_in.day is not None and stands_in.day.max() <= sample.seen.day[known].max()
    assert ((stands_in.geometry[..., :2] - torch.tensor([45.0, 6.0])).abs() < 1e-3).all()


def test_values_that_are_no_numbers_are_counted_by_season() -> None:
    sample = some_seasons(Season(*_parts()), 3)
    sample.seen.geometry[1, :4] = torch.nan
    with pytest.raises(DataError, match="1 of 3 seasons hold values"):
        check_finite(sample, "store")
