"""Drivers of growth: clocks and water against hand-made weather."""

from datetime import date, timedelta

import numpy as np
import pytest

from canopyflow.errors import DataError
from canopyflow.models.weather.drivers import BASES, DailyWeather, GrowthDrivers, read_daily


def weather(warmer: float = 0.0, years: int = 3) -> DailyWeather:
    """From 1 October 2018; every year the same, but 2020 warmer by so many degrees."""
    first, last = date(2018, 10, 1), date(2018 + years, 12, 31)
    days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    season = np.array([np.sin(2 * np.pi * (day.timetuple().tm_yday - 110) / 365.25) for day in days])
    temperature = 9.0 + 10.0 * season + warmer * np.array([day.year == 2020 for day in days])
    return DailyWeather(first, temperature, 12.0 + 8.0 * season, np.full(len(days), 2.5))


def column(found: np.ndarray, name: str, recipe: GrowthDrivers) -> np.ndarray:
    return found[:, recipe.names.index(name)]


def test_the_clock_of_a_usual_year_is_the_calendar() -> None:
    recipe = GrowthDrivers.learn(weather(), (2019, 2021))
    days = [date(2021, 1, 1) + timedelta(days=d) for d in range(130, 300, 10)]
    found = recipe.of(weather(), days)
    assert column(found, "calendar", recipe).tolist() == list(range(130, 300, 10))
    for base in BASES:
        assert column(found, f"clock_{base}", recipe) == pytest.approx(range(130, 300, 10), abs=1e-3)


def test_the_clock_of_a_warm_year_is_where_degree_days_say() -> None:
    usual, warm = weather(), weather(2.0)
    recipe = GrowthDrivers.learn(warm, (2019, 2021))
    day = date(2020, 6, 1)
    since = (day - date(2020, 1, 1)).days
    begin = (date(2020, 1, 1) - warm.first).days
    gained = np.maximum(warm.temperature[begin : begin + since + 1] - 4, 0).sum()
    begin = (date(2021, 1, 1) - usual.first).days
    climate = np.cumsum(np.maximum(usual.temperature[begin : begin + 365] - 4, 0))
    clock = float(column(recipe.of(warm, [day]), "clock_4", recipe)[0])
    assert clock > since + 10
    assert climate[int(clock)] <= gained + 1e-6 <= climate[int(clock) + 1] + 1e-6


def test_water_falls_in_drought_and_rises_with_rain() -> None:
    dry = weather()
    at = (date(2020, 6, 1) - dry.first).days
    dry.rain[at:] = 0.0
    recipe = GrowthDrivers.learn(dry, (2019,))
    before, after = (recipe.of(w, [date(2020, 8, 1)]) for w in (weather(), dry))
    for name in ("water_80_20", "water_160_20"):
        assert 0.0 <= column(after, name, recipe)[0] < 0.5 * column(before, name, recipe)[0] <= 0.5
    assert column(after, "water_80_20", recipe)[0] < column(after, "water_160_20", recipe)[0]


def test_only_weather_up_to_a_day_counts() -> None:
    whole, torn = weather(), weather()
    at = (date(2020, 6, 1) - whole.first).days
    for later in (torn.temperature, torn.radiation, torn.rain):
        later[at + 1 :] = 7.0
    recipe = GrowthDrivers.learn(whole, (2019,))
    assert np.array_equal(recipe.of(whole, [date(2020, 6, 1)]), recipe.of(torn, [date(2020, 6, 1)]))
    assert not np.array_equal(recipe.of(whole, [date(2020, 6, 2)]), recipe.of(torn, [date(2020, 6, 2)]))


def test_a_recipe_comes_back_from_its_state() -> None:
    recipe = GrowthDrivers.learn(weather(2.0), (2019, 2020))
    back = GrowthDrivers.from_state(recipe.state())
    days = [date(2021, 5, 5)]
    assert back.names == recipe.names and len(recipe.names) == recipe.of(weather(), days).shape[1]
    assert back.of(weather(), days) == pytest.approx(recipe.of(weather(), days), abs=1e-2)


def test_weather_that_does_not_reach_is_told() -> None:
    recipe = GrowthDrivers.learn(weather(), (2019,))
    for day in (date(2018, 11, 1), date(2022, 1, 1)):
        with pytest.raises(DataError, match=f"does not reach {day}"):
            recipe.of(weather(), [day])
    with pytest.raises(DataError, match="no whole year of weather: 2018, 2022 lack days"):
        GrowthDrivers.learn(weather(), (2022, 2018))


def test_the_climate_is_that_of_whole_years() -> None:
    whole = weather(2.0)
    cut = (date(2021, 9, 30) - whole.first).days
    short = DailyWeather(
        whole.first, *(each[:cut] for each in (whole.temperature, whole.radiation, whole.rain))
    )
    found = GrowthDrivers.learn(short, (2018, 2019, 2020, 2021)).climate
    assert np.array_equal(found, GrowthDrivers.learn(whole, (2019, 2020)).climate)


def test_a_file_of_weather_is_read_or_refused(tmp_path) -> None:
    path = tmp_path / "weather.csv"
    path.write_text("date,temperature,radiation,rain\n2020-01-01,1.5,3,0\n2020-01-02,2.5,4,1.25\n")
    found = read_daily(path)
    assert (found.first, found.last) == (date(2020, 1, 1), date(2020, 1, 2))
    assert found.rain.tolist() == [0.0, 1.25]
    path.write_text("date;temperature;radiation;rain\n2020-01-01;1,5;3;0\n")
    assert read_daily(path).temperature.tolist() == [1.5]
    with pytest.raises(DataError, match="has no radiation"):
        path.write_text("date,temperature,rain\n2020-01-01,1,2\n")
        read_daily(path)
    with pytest.raises(DataError, match=r"nowhere.csv does not exist"):
        read_daily(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2020-01-04,1,2,3", "row 3: 2020-01-04 follows 2020-01-01.*one row a day"),
        ("2020-01-01,1,2,3", "row 3: 2020-01-01 follows 2020-01-01"),
        ("2020-01-02,1,,3", "row 3: radiation '' is not a number.*fill gaps"),
        ("2020-01-02,warm,2,3", "row 3: temperature 'warm' is not a number"),
        ("2020-01-02,1,2,inf", "row 3: rain 'inf' is not a number"),
        ("02.01.2020,1,2,3", "row 3: date '02.01.2020' is no date.*2021-03-01, one row a day"),
        ("2020-01-02 00:00,1,2,3", "row 3: date '2020-01-02 00:00' is no date"),
        ("2020-02-30,1,2,3", "row 3: date '2020-02-30' is no date"),
        (",1,2,3", "row 3: date '' is no date"),
        ("2020-01-02,1,2", "line 3: 3 fields where the header has 4"),
    ],
)
def test_a_row_of_weather_that_cannot_be_read_is_named(tmp_path, row, said) -> None:
    path = tmp_path / "weather.csv"
    path.write_text(f"date,temperature,radiation,rain\n2020-01-01,1,2,3\n{row}\n")
    with pytest.raises(DataError, match=f"weather.csv, {said}"):
        read_daily(path)
