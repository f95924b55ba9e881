"""When the satellites pass: the acquisition plan of the season and the geometry of each pass.

Phase and tracks are those of Sentinel-2 over western Switzerland: orbit 108
every five days, seen from its western half, and orbit 8 three days later, seen
from its eastern half, whose swath here ends inside the western tile.
"""

import math
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np

WEST, EAST = "31TGM", "32TLS"
BOTH = (WEST, EAST)


@dataclass(frozen=True)
class Orbit:
    """A relative orbit here: datatake start, delay until it is overhead, view angles (degrees)."""

    number: int
    start: str
    delay_seconds: int
    view_zenith: float
    view_azimuth: float
    swath_edge: float | None = None


ORBITS = {
    108: Orbit(108, "103021", 467, 7.4, 104.0),
    8: Orbit(8, "104021", 465, 6.7, 286.0, swath_edge=250.0),
}


@dataclass(frozen=True)
class Acquisition:
    """One datatake: its tiles, the processing editions the archive holds, and the weather."""

    day: str
    platform: str
    orbit: Orbit
    tiles: tuple[str, ...]
    editions: tuple[str, ...]
    cloud: float
    cloud_east: float = 0.0
    cirrus: bool = False

    @property
    def started(self) -> datetime:
        """Start of the datatake (UTC): the item's ``datetime``, as in the product name."""
        return datetime.strptime(f"{self.day}T{self.orbit.start}", "%Y-%m-%dT%H%M%S")

    @property
    def overhead(self) -> datetime:
        """Time at which the tiles themselves were sensed (UTC)."""
        return self.started + timedelta(seconds=self.orbit.delay_seconds)

    @property
    def day_of_year(self) -> int:
        """Day of the year, 1 on 1 January."""
        return self.started.timetuple().tm_yday


def edition_first(day: str) -> str:
    """Processing baseline in force when a date of 2021 was first processed."""
    return "02.14" if day < "2021-03-30" else "03.00" if day < "2021-07-01" else "03.01"


# day, orbit, tiles, edition (first / reprocessed / both), cloud share, eastward gradient, cirrus
_PLAN: tuple[tuple[str, int, tuple[str, ...], str, float, float, bool], ...] = (
    ("2021-03-10", 108, BOTH, "first", 0.10, 0.0, False),
    ("2021-03-20", 108, BOTH, "reprocessed", 0.00, 0.0, False),
    ("2021-03-25", 108, (EAST,), "first", 0.25, 0.0, False),
    ("2021-03-30", 108, BOTH, "first", 0.00, 0.0, False),
    ("2021-04-04", 108, BOTH, "reprocessed", 0.35, 0.0, False),
    ("2021-04-09", 108, BOTH, "first", 0.05, 0.0, False),
    ("2021-04-14", 108, BOTH, "reprocessed", 0.20, 0.0, True),
    ("2021-04-22", 8, (WEST,), "first", 0.00, 0.0, False),
    ("2021-04-24", 108, BOTH, "both", 0.06, 0.0, False),
    ("2021-04-29", 108, BOTH, "first", 0.55, 0.0, False),
    ("2021-05-04", 108, BOTH, "reprocessed", 0.62, 3.0, False),
    ("2021-05-09", 108, BOTH, "first", 0.60, 4.0, False),
    ("2021-05-17", 8, (WEST,), "reprocessed", 0.04, 0.0, False),
    ("2021-05-19", 108, BOTH, "first", 1.00, 0.0, False),
    ("2021-05-29", 108, BOTH, "reprocessed", 0.65, 4.0, False),
    ("2021-06-03", 108, (WEST,), "first", 0.15, 0.0, False),
    ("2021-06-08", 108, BOTH, "reprocessed", 0.00, 0.0, False),
    ("2021-06-18", 108, BOTH, "first", 0.12, 0.0, False),
    ("2021-06-21", 8, (WEST,), "first", 0.30, 0.0, False),
    ("2021-06-28", 108, BOTH, "reprocessed", 0.25, 0.0, True),
    ("2021-07-03", 108, BOTH, "first", 0.08, 0.0, False),
    ("2021-07-11", 8, (WEST,), "reprocessed", 0.00, 0.0, False),
    ("2021-07-18", 108, BOTH, "first", 0.15, 0.0, False),
    ("2021-07-28", 108, BOTH, "reprocessed", 0.05, 0.0, False),
)
REPROCESSED = "05.00"


def _editions(day: str, which: str) -> tuple[str, ...]:
    first = edition_first(day)
    return {"first": (first,), "reprocessed": (REPROCESSED,), "both": (first, REPROCESSED)}[which]


def _platform(day: str, orbit: int) -> str:
    """S2A passes orbit 108 on 2021-03-10 and each tenth day, S2B five days off; orbit 8 is three later."""
    days = (date.fromisoformat(day) - date(2021, 3, 10)).days - (3 if orbit == 8 else 0)
    return "S2A" if days % 10 < 5 else "S2B"


def planned(days: tuple[str, ...] | None = None) -> list[Acquisition]:
    """The plan of the season in order of time, or its part on ``days`` (others by :func:`unplanned`)."""
    plan = {
        day: Acquisition(
            day, _platform(day, orbit), ORBITS[orbit], on, _editions(day, which), cloud, east, cirrus
        )
        for day, orbit, on, which, cloud, east, cirrus in _PLAN
    }
    if days is None:
        return list(plan.values())
    return [plan.get(day) or unplanned(day) for day in sorted(set(days))]


def unplanned(day: str) -> Acquisition:
    """A fair-weather acquisition of both tiles by orbit 108 on any date, in the reprocessed edition."""
    date.fromisoformat(day)
    return Acquisition(day, _platform(day, 108), ORBITS[108], BOTH, (REPROCESSED,), 0.1)


def with_tiles(acquisition: Acquisition, tiles: tuple[str, ...]) -> Acquisition:
    """The same acquisition delivered for these tiles only."""
    return replace(acquisition, tiles=tiles)


def sun_position(when: datetime, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solar zenith and azimuth (degrees, clockwise from north) at a UTC time.

    The low-precision series of the Astronomical Almanac (0.01 degrees between
    1950 and 2050; Michalsky 1988, doi:10.1016/0038-092X(88)90045-X), without refraction.
    """
    n = (when - datetime(2000, 1, 1, 12)).total_seconds() / 86400
    mean_longitude = (280.460 + 0.9856474 * n) % 360
    anomaly = math.radians((357.528 + 0.9856003 * n) % 360)
    longitude = math.radians(mean_longitude + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly))
    obliquity = math.radians(23.439 - 0.0000004 * n)
    ascension = math.atan2(math.cos(obliquity) * math.sin(longitude), math.cos(longitude))
    declination = math.asin(math.sin(obliquity) * math.sin(longitude))
    sidereal = (6.697375 + 0.0657098242 * n + when.hour + when.minute / 60 + when.second / 3600) * 15
    hour_angle = np.radians(sidereal + lon) - ascension
    phi = np.radians(lat)
    up = np.sin(phi) * math.sin(declination) + np.cos(phi) * math.cos(declination) * np.cos(hour_angle)
    east = -math.cos(declination) * np.sin(hour_angle)
    north = math.sin(declination) * np.cos(phi) - math.cos(declination) * np.sin(phi) * np.cos(hour_angle)
    return np.degrees(np.arccos(up)), np.degrees(np.arctan2(east, north)) % 360


def relative_azimuth(sun_azimuth: float, view_azimuth: float) -> float:
    """Angle between the two azimuths, folded to 0 .. 180 degrees."""
    return abs((sun_azimuth - view_azimuth + 180) % 360 - 180)
