"""Growth by weather: the demo's crops on a thermal clock, held back or spurred by light and by water.

A crop's season is that of :mod:`canopyflow.demo.phenology`, read not on the day of the year but on the day by
which a year of mean climate would have brought as much warmth (degree days above the crop's base
temperature). What the clock lets leaves gain is scaled by the light of the last two weeks, over its climate,
and by the water in the root zone of the field's own soil (a bucket: rain in, evapotranspiration out); drought
also sheds leaves. The rest of the year on year difference, a few days and percent, is the farmer's.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np

from canopyflow.demo.phenology import CROPS, Canopies, sigmoid
from canopyflow.demo.randomness import stream
from canopyflow.demo.weather import Weather, mean_radiation, mean_temperature
from canopyflow.errors import DataError
from canopyflow.evapotranspiration import evapotranspiration

BASE_TEMPERATURE = {
    "winter wheat": 2.0, "winter barley": 2.0, "rapeseed": 3.0, "maize": 8.0, "sugar beet": 4.0,
    "grassland": 3.0, "forest": 4.0, "fallow": 5.0,
}  # fmt: skip
"""Degrees below which a crop stands still: about those in use in crop models (cereals 0 to 3, maize 8)."""
_WITHIN_DAY, _ABOUT_CLIMATE = 3.0, 4.6
"""Standard deviation (degrees) of the hours of a day about its mean, and of all hours about mean climate."""
_FARMER_DAYS, _FARMER_SHARE = 1.5, 0.03
_ROOT_ZONE = (70.0, 190.0)
"""Millimetres that a field's root zone holds for plants, from stony to deep soil."""
_SURFACE = 14.0
"""Millimetres that the surface of the soil holds."""
_LIGHT_DAYS = 14
_AUTUMN, _RETURN = 215, 30.0
"""Day of the year from which on clocks return to the calendar, and in how many days (by a factor of e)."""


def _warmth(mean: np.ndarray, spread: float, base: float) -> np.ndarray:
    """Expected degrees above ``base`` where temperature scatters by ``spread`` about ``mean``; above 0."""
    return np.asarray(spread / 1.7 * np.logaddexp(0.0, 1.7 * (mean - base) / spread))


def thermal_clock(temperature: np.ndarray, first_day: int, base: float) -> np.ndarray:
    """On each day (days,) the day of the year by which mean climate is as far, degree days from 1 January.

    ``first_day``: day of the year of the first of ``temperature``, 0 or less in the year before. A clock runs
    from 1 January: before, it shows the day itself. From August on it returns to the calendar, because short
    days and the calendar of harvests end a season more than warmth does.
    """
    day = np.arange(first_day, first_day + temperature.size, dtype=float)
    long = np.arange(1.0, 600.0)
    climate = np.cumsum(_warmth(mean_temperature(long), _ABOUT_CLIMATE, base))
    gained = np.where(day >= 1, _warmth(temperature, _WITHIN_DAY, base), 0.0)
    ahead = np.interp(np.cumsum(gained), climate, long) - day
    return day + np.where(day >= 1, ahead, 0.0) * np.exp(-np.maximum(day - _AUTUMN, 0) / _RETURN)


@dataclass(frozen=True)
class Season(Canopies):
    """What one year's weather makes of all fields, to be asked for any day of that year.

    ``lai_by_day``, ``green_by_day``, ``wetness_by_day``: (fields, days of the year); see
    :meth:`Canopies.composed`.
    """

    year: int
    lai_by_day: np.ndarray
    green_by_day: np.ndarray
    wetness_by_day: np.ndarray

    def variables(self, day: float) -> dict[str, np.ndarray]:
        """The eleven PROSAIL variables on a day of the year (1 on 1 January), each (fields, LEVELS)."""
        at = round(day) - 1
        if not 0 <= at < self.lai_by_day.shape[1]:
            raise DataError(f"{self.year} has no day {day}", f"ask for 1 to {self.lai_by_day.shape[1]}")
        return self.composed(self.lai_by_day[:, at], self.green_by_day[:, at], self.wetness_by_day[:, at])


def grow(canopies: Canopies, weather: Weather, year: int) -> Season:
    """Grow all fields through a year under ``weather``, which must reach from 1 October before to its end.

    The farmer's share is drawn from the landscape's seed and the year. Raises DataError where days are
    missing.
    """
    acting = weather.season(year)
    first = (acting.first - date(year, 1, 1)).days + 1
    n, days = canopies.crop.size, acting.rain.size
    rng = stream(canopies.seed, "farmer", year)
    late, share = rng.normal(0, _FARMER_DAYS, n), 1 + _FARMER_SHARE * rng.standard_normal(n)
    clock = _clocks(canopies, acting, first) - late[:, None]
    potential = np.stack([canopies.leaf_area(clock[:, i]) for i in range(days)], 1) * share[:, None]
    leaf_area, supply, wetness = _through_the_days(canopies, acting, first, potential)
    ripe = 1 - sigmoid((clock - (canopies.traits["fall"] - 9)[:, None]) / 5)
    green = ripe * (0.75 + 0.25 * supply)
    own = slice(1 - first, days)
    lasting = (canopies.crop, canopies.traits, canopies.soil_texture, canopies.seed)
    return Season(*lasting, year, leaf_area[:, own], green[:, own], wetness[:, own])


def _clocks(canopies: Canopies, acting: Weather, first: int) -> np.ndarray:
    """The thermal clock of each field's crop, (fields, days); the pond's is the calendar."""
    day = np.arange(first, first + acting.rain.size, dtype=float)
    table = np.stack(
        [thermal_clock(acting.temperature, first, BASE_TEMPERATURE[crop.name]) for crop in CROPS] + [day]
    )
    return np.asarray(table[canopies.crop])


def _light(acting: Weather, first: int) -> np.ndarray:
    """Radiation of the last two weeks over that of the climate, (days,), about 1."""
    day = np.arange(first, first + acting.rain.size)
    kernel = np.ones(_LIGHT_DAYS)
    had = np.convolve(acting.radiation, kernel)[: day.size]
    usual = np.convolve(mean_radiation(day), kernel)[: day.size]
    return np.asarray(had / usual)


def _through_the_days(
    canopies: Canopies, acting: Weather, first: int, potential: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leaf area, water supply (0 .. 1) and wetness of the surface (-0.5 .. 0.5), each (fields, days)."""
    n, days = potential.shape
    capacity = stream(canopies.seed, "root zone").uniform(*_ROOT_ZONE, n)
    light, thirst = _light(acting, first), evapotranspiration(acting.temperature, acting.radiation)
    water, surface, lai = 0.7 * capacity, np.full(n, 0.5), potential[:, 0].copy()
    leaf_area, supply, wetness = np.empty((3, n, days))
    for i in range(days):
        available = np.clip(water / (0.55 * capacity), 0, 1)
        demand = thirst[i] * (0.35 + 0.65 * (1 - np.exp(-0.6 * lai)))
        water = np.clip(water + acting.rain[i] - demand * available, 0, capacity)
        surface = np.clip(surface * np.exp(-thirst[i] / _SURFACE) + acting.rain[i] / _SURFACE, 0, 1)
        before, now = potential[:, max(i - 1, 0)], potential[:, i]
        gain = np.maximum(now - before, 0) * available * np.clip(light[i], 0.5, 1.5) ** 0.5
        kept = np.minimum(now / np.maximum(before, 1e-6), 1.0)
        catching_up = 0.015 * np.maximum(now - lai, 0) * available
        shed = 0.012 * (1 - available) * np.maximum(lai - 0.3, 0)
        lai = lai * kept + gain + catching_up - shed
        leaf_area[:, i], supply[:, i], wetness[:, i] = lai, available, surface - 0.5
    return leaf_area, supply, wetness
