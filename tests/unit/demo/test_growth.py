"""Growth by weather: warmth hastens it, drought and gloom hold it back; the mean year is the crops' table."""

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from canopyflow.demo.growth import Season, grow, thermal_clock
from canopyflow.demo.landscape import build_landscape
from canopyflow.demo.phenology import _BOUNDS, CROP_NAMES, Canopies
from canopyflow.demo.weather import Weather, make_weather, mean_radiation, mean_temperature
from canopyflow.errors import DataError
from canopyflow.vocabulary import NAMES

YEAR = 2019


@pytest.fixture(scope="module")
def canopies() -> Canopies:
    return build_landscape(0).canopies


def mean_weather() -> Weather:
    """A year of mean climate about which days scatter by 3.5 degrees, with rain enough every day."""
    day = np.arange(-91, 366)
    scatter = 3.5 * np.sqrt(2) * np.sin(2.4 * day)
    return Weather(
        date(YEAR - 1, 10, 1), mean_temperature(day) + scatter, mean_radiation(day), np.full(day.size, 4.0)
    )


def grown(canopies: Canopies, **changes: Any) -> Season:
    return grow(canopies, replace(mean_weather(), **changes), YEAR)


def lai(season: Season, crop: str) -> np.ndarray:
    """Mean leaf area of a crop's fields, (days,)."""
    return np.asarray(season.lai_by_day[season.crop == CROP_NAMES.index(crop)].mean(0))


def test_a_mean_year_brings_the_season_of_the_crop_table(canopies: Canopies) -> None:
    season = grown(canopies)
    for crop in ("winter wheat", "maize", "sugar beet"):
        fields = canopies.crop == CROP_NAMES.index(crop)
        table = np.stack([canopies.leaf_area(float(day)) for day in range(1, 300)], 1)[fields].mean(0)
        mine = lai(season, crop)[:299]
        assert mine.max() == pytest.approx(table.max(), rel=0.12), crop
        half = [int(np.argmax(curve > 0.5 * curve.max())) for curve in (mine, table)]
        assert abs(half[0] - half[1]) <= 6, crop


def test_clock_of_the_mean_climate_is_near_the_calendar_and_warmth_hastens_it() -> None:
    mean, warm = (thermal_clock(mean_weather().temperature + more, -91, 3.0)[92:] for more in (0.0, 2.0))
    calendar = np.arange(1, 366)
    assert np.abs(mean - calendar)[calendar > 80].max() < 12
    assert 8 < (warm - mean)[120] < 30
    assert (np.diff(warm) >= 0).all() and (np.diff(mean) >= 0).all()
    assert np.abs(warm - calendar)[-1] < 2, "late in the year the calendar rules"


def test_a_warm_spring_is_early(canopies: Canopies) -> None:
    warm = mean_weather().temperature + 2.5
    usual, early = (
        lai(season, "winter wheat") for season in (grown(canopies), grown(canopies, temperature=warm))
    )
    assert early[95] > usual[95] + 0.5
    assert early[190] < usual[190], "and ripens early"


def test_drought_and_gloom_hold_leaves_back(canopies: Canopies) -> None:
    ordinary = mean_weather()
    rain = np.where(np.arange(ordinary.rain.size) > 92 + 60, 0.0, ordinary.rain)
    usual, dry = grown(canopies), grown(canopies, rain=rain)
    dim = grown(canopies, radiation=0.6 * ordinary.radiation)
    assert lai(dry, "maize").max() < 0.5 * lai(usual, "maize").max()
    assert lai(dim, "maize").max() < 0.95 * lai(usual, "maize").max()
    assert dry.wetness_by_day[:, 180:240].max() < -0.4 < usual.wetness_by_day[:, 180:240].min()
    assert dry.green_by_day[:, 200].mean() < usual.green_by_day[:, 200].mean()


def test_states_stay_inside_the_bounds_of_the_sampling_laws_whatever_the_year(canopies: Canopies) -> None:
    weather = make_weather(0, [2018, 2019])
    for year in (2018, 2019):
        season = grow(canopies, weather, year)
        for day in range(1, 366, 30):
            variables = season.variables(day)
            assert set(variables) == set(NAMES)
            assert variables["lai"].min() > 0 and variables["lai"].max() <= 8
            share = variables["lai"] / 10
            for name, ((low0, high0), (low1, high1)) in _BOUNDS.items():
                assert np.all(variables[name] >= low0 + (low1 - low0) * share - 1e-9), name
                assert np.all(variables[name] <= high0 + (high1 - high0) * share + 1e-9), name


def test_a_leap_year_has_one_day_more_and_no_year_has_a_day_zero(canopies: Canopies) -> None:
    leap = grow(canopies, make_weather(0, [2020]), 2020)
    assert leap.variables(366)["lai"].shape == leap.variables(1)["lai"].shape
    with pytest.raises(DataError, match="2020 has no day 367"):
        leap.variables(367)
    with pytest.raises(DataError, match="no day 0"):
        leap.variables(0)


def test_most_of_what_a_year_changes_is_the_weather_s(canopies: Canopies) -> None:
    """The same weather over other farmers foretells a year far better than the mean of other years."""
    weather = make_weather(0, range(2010, 2016))
    others = replace(canopies, seed=canopies.seed + 1)
    days = np.arange(60, 300, 5)
    mine, theirs = (
        np.stack([grow(which, weather, year).lai_by_day[:, days] for year in range(2010, 2016)])
        for which in (canopies, others)
    )
    climatology = (mine.sum(0) - mine) / 5
    by_climatology, by_weather = (np.sqrt(((mine - said) ** 2).mean()) for said in (climatology, theirs))
    assert by_weather < 0.5 * by_climatology and by_climatology > 0.3
