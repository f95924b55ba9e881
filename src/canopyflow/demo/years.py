"""The demo over several years: one landscape whose fields grow by the weather of each year, and its passes.

Every field keeps its crop from year to year, so that a map of one year can be asked of the weather alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from canopyflow.demo.acquisitions import Acquisition, unplanned
from canopyflow.demo.growth import grow
from canopyflow.demo.landscape import Landscape, build_landscape
from canopyflow.demo.weather import CLEAR, OVERCAST, Weather, make_weather
from canopyflow.errors import DataError

FIRST, LAST = 2016, 2022
"""Years that have passes: Sentinel-2A delivers whole ones from 2016 on, and the archive's edition, like that
of the real reprocessing, was made in 2023. Weather and truth can be had of others too."""
_WEATHER = (1951, 2049)
"""Years for which the sun's position is good."""
PASSES = 24
SEASON_STARTS, SEASON_DAYS = (3, 1), 240
"""Passes lie in the 240 days from 1 March on."""
_REVISIT = 5
_ANCHOR = date(2021, 3, 10)
_TWO_SATELLITES = date(2017, 7, 1)
"""From here on Sentinel-2B delivers regularly, and a place is passed every five days instead of ten."""


@dataclass(frozen=True)
class World:
    """A landscape (of ``seed``), as it lies before any year, and the weather of its ``years``."""

    seed: int
    years: tuple[int, ...]
    bare: Landscape
    weather: Weather

    def landscape(self, year: int) -> Landscape:
        """The landscape with what grows in a year. Raises DataError for a year without weather."""
        return replace(self.bare, canopies=grow(self.bare.canopies, self.weather, year))

    def passes(self, year: int, count: int = PASSES) -> list[Acquisition]:
        """``count`` acquisitions of a year: of equally long parts of the season each the clearest day.

        Their cloud covers follow the weather. Raises DataError for more than the satellites fly.
        """
        _check_flown(year)
        start, width = date(year, *SEASON_STARTS), SEASON_DAYS / count if count else 0.0
        flown = [day for day in _overpasses(year) if 0 <= (day - start).days < SEASON_DAYS]
        chosen = []
        for part in range(count):
            inside = [day for day in flown if part * width <= (day - start).days < (part + 1) * width]
            if not inside:
                break
            chosen.append(max(inside, key=self.weather.clearness))
        if count < 1 or len(chosen) < count:
            raise DataError(
                f"{count} passes of {year}: the satellites make {len(flown)}, not always as many in a part",
                f"ask for 1 to {PASSES}",
            )
        return [self.acquisition(day) for day in chosen]

    def acquisition(self, day: date) -> Acquisition:
        """An acquisition of any day of these years, as cloudy as its weather. Raises DataError for others."""
        if day.year not in self.years:
            raise DataError(f"{day} is of none of the years {list(self.years)}", "name its year too")
        _check_flown(day.year)
        return replace(unplanned(day.isoformat()), cloud=cloud_share(self.weather.clearness(day)))

    def season(self, year: int) -> tuple[date, date]:
        """First and last day of a year on which passes may lie."""
        first = date(year, *SEASON_STARTS)
        return first, first + timedelta(days=SEASON_DAYS - 1)


def build_world(seed: int, years: Sequence[int]) -> World:
    """The world of a seed over ``years``. What one year is does not depend on which others are asked for.

    Raises DataError for no year, or one before 1951 or after 2049.
    """
    asked = tuple(sorted(set(years)))
    if not asked or asked[0] < _WEATHER[0] or asked[-1] > _WEATHER[1]:
        raise DataError(f"demo years {list(asked)}", f"name some of {_WEATHER[0]} to {_WEATHER[1]}")
    return World(seed, asked, build_landscape(seed), make_weather(seed, asked))


def _check_flown(year: int) -> None:
    if not FIRST <= year <= LAST:
        raise DataError(f"the demo has no passes in {year}", f"name years of {FIRST} to {LAST}")


def cloud_share(clearness: float) -> float:
    """Share of the sky under clouds of a day with this clearness (0 .. 1), two decimals."""
    return round(float(np.clip((CLEAR - clearness) / (CLEAR - OVERCAST), 0.0, 1.0)), 2)


def _overpasses(year: int) -> Iterator[date]:
    """Days of orbit 108 in a year: every ten until Sentinel-2B flies, every five after that."""
    day = date(year, 1, 1)
    day += timedelta(days=(_ANCHOR - day).days % _REVISIT)
    while day.year == year:
        if day >= _TWO_SATELLITES or unplanned(day.isoformat()).platform == "S2A":
            yield day
        day += timedelta(days=_REVISIT)


def read_years(text: str) -> tuple[int, ...]:
    """Years of ``2016..2021``, ``2018`` or ``2017,2019..2021``. Raises DataError for other text."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("..")
        try:
            found |= set(range(int(first), int(last or first) + 1))
        except ValueError:
            raise DataError(f"years {text!r}", "write 2016..2021, 2019, or 2016,2018..2020") from None
    if not found:
        raise DataError(f"years {text!r} are none", "write the earlier year first: 2016..2021")
    return tuple(sorted(found))
