"""Position of the sun, for items that carry no angles."""

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)


def solar_position(
    moment: datetime, longitude: npt.ArrayLike, latitude: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Zenith and azimuth (from north, clockwise) of the sun in degrees, without refraction.

    Astronomical Almanac approximation, 0.01 degree between 1950 and 2050:
    J. J. Michalsky (1988), Solar Energy 40(3), 227-235, doi:10.1016/0038-092X(88)90045-X.
    """
    days = (moment - J2000).total_seconds() / 86400.0
    hours = (moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds() / 3600.0
    mean_longitude = 280.460 + 0.9856474 * days
    anomaly = np.radians(357.528 + 0.9856003 * days)
    ecliptic = np.radians(mean_longitude + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    obliquity = np.radians(23.439 - 4e-7 * days)
    right_ascension = np.arctan2(np.cos(obliquity) * np.sin(ecliptic), np.cos(ecliptic))
    declination = np.arcsin(np.sin(obliquity) * np.sin(ecliptic))
    sidereal = np.radians(
        15.0 * (6.697375 + 0.0657098242 * days + hours) + np.asarray(longitude, dtype=float)
    )
    hour_angle = sidereal - right_ascension
    phi = np.radians(np.asarray(latitude, dtype=float))
    up = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour_angle)
    east = -np.cos(declination) * np.sin(hour_angle)
    north = np.cos(phi) * np.sin(declination) - np.sin(phi) * np.cos(declination) * np.cos(hour_angle)
    return np.degrees(np.arccos(np.clip(up, -1, 1))), np.degrees(np.arctan2(east, north)) % 360.0
