"""Drivers of growth from a daily table of weather: how far the season is, how much light, how much water.

Weather of a day says little of a canopy on that day; what has accumulated does. For each day:

- ``calendar``, days since 1 January, and sine and cosine of the year;
- ``clock_B`` for base temperatures B: the day by which the mean of the reference years had as many degree
  days (daily means above B, from 1 January) as this year has now: a thermal clock, in days;
- ``radiation_W``, ``water_C_W``: means of the last W days of radiation, and of the water stress coefficient
  of a root zone that holds C mm (1: plants have what they need; 0: they have nothing).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canopyflow.errors import DataError
from canopyflow.evapotranspiration import evapotranspiration
from canopyflow.models.weather.tables import read_cells, read_days, read_numbers

COLUMNS = ("temperature", "radiation", "rain")
"""Daily mean, degrees Celsius; global, MJ m⁻² d⁻¹; mm d⁻¹."""
BASES = (2, 4, 8)
"""Base temperatures, degrees: about those of cereals, of beet and trees, of maize."""
WINDOWS = (20, 60)
ROOT_ZONES = (80, 160)
DEPLETION = 0.5
"""Share of a root zone's water that plants take freely; .5 to .55 of most crops (FAO 56, table 22)."""
_HARMONICS = 2
_YEAR = 365
BEFORE = 80
"""Days of weather that must lie before the first day asked for."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DailyWeather:
    """Consecutive days from ``first`` on; each column (days,)."""

    first: date
    temperature: Floats
    radiation: Floats
    rain: Floats

    @property
    def count(self) -> int:
        """Number of days."""
        return len(self.temperature)

    @property
    def last(self) -> date:
        """The last day."""
        return self.first + timedelta(days=self.count - 1)


def read_daily(path: str | Path) -> DailyWeather:
    """Read a CSV of columns ``date`` (ISO) and :data:`COLUMNS`, one row a day, in order of time.

    Raises DataError, naming the row, where a column, a day or a number is missing.
    """
    path = Path(path)
    table = read_cells(path, ("date", *COLUMNS), COLUMNS)
    days = read_days(table["date"], path)
    if not days:
        raise DataError(f"{path} has no rows", "give one row a day")
    for row, (before, after) in zip(table.index[1:], pairwise(days), strict=True):
        if (after - before).days != 1:
            raise DataError(f"{path}, row {row}: {after} follows {before}", "one row a day, in order of time")
    columns = (read_numbers(table[name], path, "fill gaps of the weather before") for name in COLUMNS)
    return DailyWeather(days[0], *columns)


@dataclass(frozen=True)
class GrowthDrivers:
    """How drivers are made: ``climate`` (bases, 365) are mean degree days of the reference years by day."""

    climate: Floats

    @classmethod
    def learn(cls, weather: DailyWeather, years: Sequence[int]) -> GrowthDrivers:
        """With the mean of those of ``years`` as reference whose weather is whole: this year may still run.
        Raises DataError where there is none."""
        of_years = [[_degree_days(weather, year, base)[:_YEAR] for base in BASES] for year in years]
        whole = [rows for rows in of_years if len(rows[0]) == _YEAR]
        if not whole:
            raise DataError(
                f"no whole year of weather: {', '.join(map(str, sorted(years)))} lack days",
                f"there is from {weather.first} to {weather.last}; give all days of at least one of them",
            )
        return cls(np.mean(whole, 0))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the drivers."""
        waves = [f"{wave}_{k}" for k in range(1, _HARMONICS + 1) for wave in ("sine", "cosine")]
        clocks = [f"clock_{base}" for base in BASES]
        zones = [f"water_{capacity}" for capacity in ROOT_ZONES]
        means = [f"{name}_{window}" for name in ("radiation", *zones) for window in WINDOWS]
        return ("calendar", *waves, *clocks, *means)

    def of(self, weather: DailyWeather, days: Sequence[date]) -> Floats:
        """Drivers (days, drivers). Raises DataError for a day without the :data:`BEFORE` days before it."""
        series = [weather.radiation, *(_water(weather, capacity) for capacity in ROOT_ZONES)]
        clocks: dict[int, Floats] = {}
        rows = []
        for day in days:
            at, since = (day - weather.first).days, (day - date(day.year, 1, 1)).days
            if at < BEFORE or at >= weather.count or at < since:
                raise DataError(
                    f"weather does not reach {day}",
                    f"it is from {weather.first} to {weather.last}; a day needs {BEFORE} days before it, "
                    "and its year from 1 January on",
                )
            if day.year not in clocks:
                clocks[day.year] = self._clock(weather, day.year)
            angles = [2.0 * math.pi * k * since / 365.25 for k in range(1, _HARMONICS + 1)]
            waves = [wave(angle) for angle in angles for wave in (math.sin, math.cos)]
            means = [each[at - window + 1 : at + 1].mean() for each in series for window in WINDOWS]
            rows.append([since, *waves, *clocks[day.year][:, since], *means])
        return np.array(rows)

    def _clock(self, weather: DailyWeather, year: int) -> Floats:
        """Thermal clocks (bases, days of the year that there are), days since 1 January."""
        day = np.arange(_YEAR, dtype=float)
        return np.array(
            [
                np.interp(_degree_days(weather, year, base), known, day)
                for base, known in zip(BASES, self.climate, strict=True)
            ]
        )

    def state(self) -> dict[str, Any]:
        """As plain values, for a file."""
        return {"kind": "growth", "climate": np.round(self.climate, 4).tolist()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> GrowthDrivers:
        """What :meth:`state` gave."""
        return cls(np.array(state["climate"]))


def _degree_days(weather: DailyWeather, year: int, base: float) -> Floats:
    """Degree days above ``base`` from 1 January on, (days of the year that there are,)."""
    begin = (date(year, 1, 1) - weather.first).days
    if begin < 0:
        return np.empty(0)
    end = min(begin + (date(year + 1, 1, 1) - date(year, 1, 1)).days, weather.count)
    return np.cumsum(np.maximum(weather.temperature[begin:end] - base, 0.0))


def _water(weather: DailyWeather, capacity: float) -> Floats:
    """Water stress coefficient (days,) of a root zone of ``capacity``, mm, which starts full.

    Rain comes in, evapotranspiration times the coefficient goes out (Allen et al. 1998, FAO Irrigation and
    drainage paper 56, equation 84).
    """
    loss = evapotranspiration(weather.temperature, weather.radiation)
    water, found = capacity, np.empty(weather.count)
    for i in range(weather.count):
        supply = min(1.0, water / ((1.0 - DEPLETION) * capacity))
        water = min(max(water + weather.rain[i] - loss[i] * supply, 0.0), capacity)
        found[i] = min(1.0, water / ((1.0 - DEPLETION) * capacity))
    return found
