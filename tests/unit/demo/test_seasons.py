"""Pixels through a season: honest noise, clouds that hide the ground, a truth that does not care for them."""

import numpy as np
import pytest

from canopyflow.demo.acquisitions import planned
from canopyflow.demo.landscape import build_landscape
from canopyflow.demo.randomness import stream
from canopyflow.demo.scenes import SIGMA_AD, SIGMA_AI, SIGMA_MD, SIGMA_MI
from canopyflow.demo.seasons import SeasonPixels, _observed, season_pixels, yearly_truth
from canopyflow.demo.years import build_world
from canopyflow.errors import DataError
from canopyflow.vocabulary import ANGLES, BANDS, NAMES, PLATFORMS

COUNT = 40


@pytest.fixture(scope="module")
def season() -> SeasonPixels:
    return season_pixels(3, COUNT)


def test_shapes_and_kinds_are_those_that_an_observation_takes(season: SeasonPixels) -> None:
    assert season.reflectance.shape == season.valid.shape == (COUNT, 24, len(BANDS))
    assert season.geometry.shape == (COUNT, 24, len(ANGLES))
    assert season.states.shape == (
        COUNT,
        24,
        len(NAMES),
    )
    assert season.platform.shape == season.day.shape == season.clear.shape == (COUNT, 24)
    assert season.valid.dtype == bool and season.platform.dtype == np.int64
    assert {season.reflectance.dtype, season.geometry.dtype, season.day.dtype} == {np.dtype(np.float32)}
    assert set(season.truth) == {*NAMES, "gai", "ccc", "cwc", "fapar"}


def test_days_count_from_the_first_of_january_and_platforms_are_numbered(season: SeasonPixels) -> None:
    plan = planned()
    assert season.year == 2021 and season.day[0, 0] == 31 + 28 + 9  # 10 March
    assert (np.diff(season.day, axis=1) > 0).all()
    assert [PLATFORMS[i] for i in season.platform[0]] == [acquisition.platform for acquisition in plan]


def test_truth_is_that_of_the_field_at_clouded_dates_too(season: SeasonPixels) -> None:
    assert all(np.isfinite(values).all() for values in season.truth.values())
    clouded = ~season.clear
    assert 0.05 < clouded.mean() < 0.6 and clouded.all(0).any() and season.clear.all(0).any()
    fields = build_landscape(3).canopies
    on = int(np.flatnonzero(clouded.all(0))[0])
    grown = fields.variables(season.day[0, on] + 1)
    for name in NAMES:
        gap = np.abs(np.asarray(grown[name])[season.field] - season.truth[name][:, on, None]).min(1)
        assert gap.max() < 1e-4 * max(1.0, float(np.max(grown[name]))), name
    np.testing.assert_allclose(season.truth["ccc"], season.truth["lai"] * season.truth["cab"], rtol=1e-5)


def test_noise_of_clear_dates_has_the_assumed_size_and_clouds_are_bright(
    season: SeasonPixels,
) -> None:
    clean, seen = season.clean, season.reflectance
    sigma = np.sqrt((SIGMA_MI**2 + SIGMA_MD**2) * clean**2 + SIGMA_AI**2 + SIGMA_AD**2)
    score = ((seen - clean) / sigma)[season.valid]
    assert abs(score.mean()) < 0.1 and 0.93 < score.std() < 1.07
    assert ((seen - clean)[~season.valid]).mean() > 0.1


@pytest.mark.parametrize("bright", [0.0, 0.6])
def test_noise_is_common_to_the_bands_as_the_atbd_says(bright: float) -> None:
    clear, n = planned(("2021-06-08",))[0], 20_000
    place = (np.full(n, 4.06e6), np.full(n, 2.64e6))
    seen, _ = _observed(np.full((n, len(BANDS)), bright), clear, place, 0, stream(0, "test"))
    common = (SIGMA_MI * bright) ** 2 + SIGMA_AI**2
    own = (SIGMA_MD * bright) ** 2 + SIGMA_AD**2
    np.testing.assert_allclose(np.cov(seen.T), common + own * np.eye(len(BANDS)), rtol=0.08)


def test_same_words_same_pixels_and_the_seed_chooses_others(season: SeasonPixels) -> None:
    again, other = season_pixels(3, 4, passes=2), season_pixels(3, 4, passes=2, seed=1)
    assert np.array_equal(again.reflectance, season_pixels(3, 4, passes=2).reflectance)
    assert not np.array_equal(again.x, other.x)
    assert np.array_equal(again.day[0], season.day[0, [0, -1]])


@pytest.mark.parametrize(("count", "passes"), [(0, 24), (3, 0), (3, 25)])
def test_what_does_not_exist_is_refused(count: int, passes: int) -> None:
    with pytest.raises(DataError, match="ask for"):
        season_pixels(0, count, passes=passes)


def test_a_year_with_weather_is_followed_from_march_to_october() -> None:
    season = season_pixels(3, 6, year=2018, passes=6)
    assert season.year == 2018 and season.day.shape == (6, 6)
    assert season.day[0, 0] < 100 and season.day[0, -1] > 240
    grown = build_world(3, [2018]).landscape(2018).canopies.variables(season.day[0, 2] + 1)["lai"]
    gap = np.abs(grown[season.field] - season.truth["lai"][:, 2, None]).min(1)
    assert gap.max() < 1e-5


def test_truth_of_several_years_is_that_of_their_pixels() -> None:
    season = season_pixels(3, 6, year=2018, passes=2)
    truth = yearly_truth(3, 6, [2017, 2018], season.day[0].astype(int).tolist(), ("lai", "ccc"))
    assert truth.values["lai"].shape == (2, 6, 2) and truth.years == (2017, 2018)
    assert np.array_equal(truth.x, season.x) and np.array_equal(truth.crop, season.crop)
    for name in ("lai", "ccc"):
        np.testing.assert_allclose(truth.values[name][1], season.truth[name], rtol=1e-5)
    assert not np.allclose(truth.values["lai"][0], truth.values["lai"][1])
    assert truth.weather.first.year == 2016
