"""Invented weather: the climate it is to have, years that differ, and a table that comes back."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from canopyflow.demo.tiles import CENTRE
from canopyflow.demo.weather import (
    COLUMNS,
    Weather,
    above_atmosphere,
    make_weather,
    mean_temperature,
    write_weather,
)
from canopyflow.errors import DataError
from canopyflow.models.weather.drivers import read_daily


@pytest.fixture(scope="module")
def long() -> Weather:
    return make_weather(0, range(1980, 2021))


def test_climate_is_that_of_the_plateau(long: Weather) -> None:
    days = len(long.days)
    assert long.temperature.mean() == pytest.approx(9.8, abs=0.6)
    assert long.rain.sum() / days * 365 == pytest.approx(870, rel=0.1)
    assert long.radiation.mean() * 365 == pytest.approx(4500, rel=0.1)
    assert 0.3 < (long.rain > 0).mean() < 0.5


def test_months_differ_from_year_to_year_as_months_do(long: Weather) -> None:
    years, months = (np.array([getattr(day, part) for day in long.days]) for part in ("year", "month"))
    april = [long.temperature[(years == y) & (months == 4)].mean() for y in range(1980, 2021)]
    rain = [long.rain[(years == y) & (months == 7)].sum() for y in range(1980, 2021)]
    assert 1.2 < np.std(april) < 2.6
    assert 35 < np.std(rain) < 75


def test_rain_dims_the_light_and_cools_the_summer(long: Weather) -> None:
    summer = np.array([6 <= day.month <= 8 for day in long.days])
    wet = long.rain > 0
    assert long.radiation[summer & wet].mean() < 0.8 * long.radiation[summer & ~wet].mean()
    assert long.temperature[summer & wet].mean() < long.temperature[summer & ~wet].mean() - 1
    again = wet[1:][wet[:-1]].mean()
    assert again > wet.mean() + 0.1, "rain comes in spells"


def test_light_above_the_atmosphere_is_the_sun_s_height_summed_over_the_day() -> None:
    latitude, hours = np.radians(CENTRE[1]), np.radians(np.arange(-180, 180, 0.25))
    for day, slant in ((172, 0.409), (355, -0.409), (81, 0.0)):
        up = np.sin(latitude) * np.sin(slant) + np.cos(latitude) * np.cos(slant) * np.cos(hours)
        near = 1 + 0.033 * np.cos(2 * np.pi * day / 365)
        summed = 0.0820 * near * np.maximum(up, 0).mean() * 24 * 60
        assert above_atmosphere(np.array([day]))[0] == pytest.approx(summed, rel=0.02)
    assert mean_temperature(np.array([18]))[0] == pytest.approx(0.2)


def test_a_year_does_not_depend_on_which_others_are_asked_for() -> None:
    alone, among = make_weather(3, [2018]), make_weather(3, range(2016, 2020)).season(2018)
    for name in ("temperature", "radiation", "rain"):
        assert np.array_equal(getattr(alone, name), getattr(among, name))
    assert alone.first == date(2017, 10, 1) and alone.days[-1] == date(2018, 12, 31)
    assert not np.array_equal(alone.rain, make_weather(4, [2018]).rain)


def test_the_table_comes_back(tmp_path: Path) -> None:
    made = make_weather(0, [2020])
    write_weather(tmp_path / "weather.csv", made)
    lines = (tmp_path / "weather.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS) and len(lines) == 1 + 92 + 366
    back = read_daily(tmp_path / "weather.csv")
    assert back.first == made.first and back.count == len(made.days)
    for name in COLUMNS[1:]:
        np.testing.assert_allclose(getattr(back, name), getattr(made, name), atol=0.0051)


def test_days_that_are_missing_are_named() -> None:
    made = make_weather(0, [2020])
    with pytest.raises(DataError, match="no weather from 2020-10-01"):
        made.season(2021)
    assert made.part(date(2020, 3, 1), date(2020, 3, 1)).rain.size == 1
    with pytest.raises(DataError, match="no weather from"):
        made.part(date(2020, 3, 2), date(2020, 3, 2) - timedelta(days=1))
