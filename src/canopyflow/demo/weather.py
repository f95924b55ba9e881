"""Daily weather over the landscape: invented, with the climate of the Swiss plateau, for any years.

A Richardson-type generator (Richardson 1981, doi:10.1029/WR017i001p00182): rain comes and stays away in
spells, and temperature and radiation follow whether it rains. Slow anomalies of some weeks lie over all
three, so that springs are early or late and summers dry or wet, as years are. The means are those of Payerne
(MeteoSwiss normals 1991-2020: 9.8 degrees, 870 mm, 4.5 GJ m-2 a year), rounded.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from canopyflow.atomic import atomic_file
from canopyflow.demo.randomness import stream
from canopyflow.demo.tiles import CENTRE
from canopyflow.errors import DataError

COLUMNS = ("date", "temperature", "radiation", "rain")
"""Of ``weather.csv``: ISO date; daily mean, degrees Celsius; MJ m-2 a day, global; mm a day."""
AUTUMN = (10, 1)
"""Month and day of the year before from which on weather acts on a season."""

_MEAN, _SWING, _COLDEST = 9.8, 9.6, 18
_SLOW_DAYS, _SLOW_KELVIN, _FAST, _FAST_KELVIN = 40.0, 1.7, 0.68, 2.4
_WET_DAYS = 35.0
_RAIN_SHAPE, _RAIN_MEAN = 0.75, 6.2
CLEAR, OVERCAST = 0.66, 0.22
"""Clearness (share of the radiation above the atmosphere that arrives) of a cloudless and of a dull day."""


@dataclass(frozen=True)
class Weather:
    """Consecutive days from ``first`` on: temperature (degrees), radiation (MJ m-2 d-1), rain (mm d-1), each
    (days,)."""

    first: date
    temperature: np.ndarray
    radiation: np.ndarray
    rain: np.ndarray

    @property
    def days(self) -> list[date]:
        """The dates, one a day."""
        return [self.first + timedelta(days=i) for i in range(self.rain.size)]

    def part(self, first: date, last: date) -> "Weather":
        """The days from ``first`` to ``last``. Raises DataError where some of them are missing."""
        begin, end = (first - self.first).days, (last - self.first).days + 1
        if begin < 0 or end > self.rain.size or begin >= end:
            raise DataError(
                f"no weather from {first} to {last}: there is from {self.first} on for {self.rain.size} days",
                "make the weather of these years too",
            )
        chosen = slice(begin, end)
        return Weather(first, self.temperature[chosen], self.radiation[chosen], self.rain[chosen])

    def season(self, year: int) -> "Weather":
        """What acts on the growth of ``year``: 1 October of the year before to 31 December."""
        return self.part(date(year - 1, *AUTUMN), date(year, 12, 31))

    def clearness(self, day: date) -> float:
        """Share of the radiation above the atmosphere that reached the ground on a day."""
        of_day = self.part(day, day)
        return float(of_day.radiation[0] / above_atmosphere(np.array([day.timetuple().tm_yday]))[0])


def mean_temperature(day_of_year: np.ndarray) -> np.ndarray:
    """Mean temperature of the climate on days of the year, degrees, same shape."""
    return np.asarray(_MEAN - _SWING * np.cos(2 * math.pi * (day_of_year - _COLDEST) / 365.25))


def mean_clearness(day_of_year: np.ndarray) -> np.ndarray:
    """Mean clearness of the climate on days of the year, same shape."""
    season = 0.5 - 0.5 * np.cos(2 * math.pi * (day_of_year - 10) / 365.25)
    return np.asarray(0.38 + 0.13 * season)


def mean_radiation(day_of_year: np.ndarray) -> np.ndarray:
    """Mean radiation of the climate on days of the year, MJ m-2 d-1, same shape."""
    return np.asarray(mean_clearness(day_of_year) * above_atmosphere(day_of_year))


def above_atmosphere(day_of_year: np.ndarray) -> np.ndarray:
    """Daily radiation above the atmosphere at the demo's latitude, MJ m-2 d-1, same shape.

    Allen et al. 1998, FAO Irrigation and drainage paper 56, equations 21 to 25.
    """
    phase = 2 * math.pi * day_of_year / 365
    near = 1 + 0.033 * np.cos(phase)
    declination = 0.409 * np.sin(phase - 1.39)
    latitude = math.radians(CENTRE[1])
    sunset = np.arccos(-math.tan(latitude) * np.tan(declination))
    height = sunset * math.sin(latitude) * np.sin(declination)
    height = height + math.cos(latitude) * np.cos(declination) * np.sin(sunset)
    return np.asarray(24 * 60 / math.pi * 0.0820 * near * height)


def _autoregression(noise: np.ndarray, keep: float) -> np.ndarray:
    """A stationary first-order series with standard deviation 1 driven by ``noise`` (days,)."""
    values = np.empty_like(noise)
    values[0] = noise[0]
    for i in range(1, noise.size):
        values[i] = keep * values[i - 1] + math.sqrt(1 - keep**2) * noise[i]
    return values


def _year(seed: int, year: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Temperature, radiation and rain of a calendar year, each (365 or 366,): one stream a year."""
    rng = stream(seed, "weather", year)
    n = (date(year, 12, 31) - date(year, 1, 1)).days + 1
    day = np.arange(1, n + 1)
    noise = rng.standard_normal((4, n))
    warm = 0.5 * rng.standard_normal() + _SLOW_KELVIN * _autoregression(noise[0], math.exp(-1 / _SLOW_DAYS))
    dull = _autoregression(noise[1], math.exp(-1 / _WET_DAYS))
    chance, amount = rng.random(n), rng.gamma(_RAIN_SHAPE, _RAIN_MEAN / _RAIN_SHAPE, n)
    wet = np.zeros(n, dtype=bool)
    for i in range(n):
        before = wet[i - 1] if i else chance[-1] < 0.38
        logit = (0.35 if before else -1.05) + 0.6 * float(dull[i])
        wet[i] = chance[i] < 1 / (1 + math.exp(-logit))
    summer = np.sin(math.pi * (day - 15) / 365) ** 2
    rain = np.where(wet, amount * (0.75 + 0.5 * summer), 0.0)
    # Rain cools a summer's day and comes with mild air in winter.
    temperature = mean_temperature(day) + warm + _FAST_KELVIN * _autoregression(noise[2], _FAST)
    temperature = temperature + np.where(wet, 1.2 - 3.2 * summer, -0.7 + 1.9 * summer)
    clearness = mean_clearness(day) + np.where(wet, -0.14, 0.09) - 0.03 * dull + 0.09 * noise[3]
    radiation = np.clip(clearness, 0.07, 0.74) * above_atmosphere(day)
    return temperature, radiation, rain


def make_weather(seed: int, years: Sequence[int]) -> Weather:
    """Weather from 1 October before the first of ``years`` to the end of the last, without a gap.

    A year's weather depends on the seed and on itself alone, not on which other years are asked for.
    """
    first, last = min(years), max(years)
    made = [_year(seed, year) for year in range(first - 1, last + 1)]
    whole = Weather(date(first - 1, 1, 1), *(np.concatenate([part[i] for part in made]) for i in range(3)))
    return whole.part(date(first - 1, *AUTUMN), date(last, 12, 31))


def write_weather(path: str | Path, weather: Weather) -> None:
    """Write ``weather.csv``: one row a day, columns as :data:`COLUMNS`, two decimals."""
    with atomic_file(path) as scratch, scratch.open("w", newline="") as sink:
        table = csv.writer(sink, lineterminator="\n")
        table.writerow(COLUMNS)
        for day, *values in zip(
            weather.days, weather.temperature, weather.radiation, weather.rain, strict=True
        ):
            table.writerow([day.isoformat(), *(f"{value:.2f}" for value in values)])
