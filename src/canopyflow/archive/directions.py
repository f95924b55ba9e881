"""Directions as zenith and azimuth: means, interpolation, relative azimuth.

Degrees. Azimuths are averaged and interpolated as vectors, so 359 and 1 make 0 and not 180.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Direction:
    """Zenith and azimuth in degrees, arrays of one shape."""

    zenith: Array
    azimuth: Array


def mean_direction(zenith: Array, azimuth: Array, axis: int = 0) -> Direction:
    """Mean along ``axis`` leaving out NaN: zeniths as numbers, azimuths as horizontal vectors."""
    known = np.isfinite(zenith) & np.isfinite(azimuth)
    tilt, turn = np.radians(np.where(known, zenith, 0.0)), np.radians(np.where(known, azimuth, 0.0))
    # Straight up has no azimuth: the small constant keeps the stated one where all zeniths are 0.
    weight = np.where(known, np.sin(tilt) + 1e-9, 0.0)
    count = known.sum(axis=axis)
    total = np.where(known, zenith, 0.0).sum(axis=axis)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    east, north = (weight * np.sin(turn)).sum(axis=axis), (weight * np.cos(turn)).sum(axis=axis)
    return Direction(mean, np.where(count > 0, np.degrees(np.arctan2(east, north)) % 360.0, np.nan))


def relative_azimuth(sun_azimuth: npt.ArrayLike, view_azimuth: npt.ArrayLike) -> npt.NDArray[Any]:
    """Angle between two azimuths, folded to [0, 180] degrees."""
    difference = np.asarray(sun_azimuth) - np.asarray(view_azimuth)
    return np.abs((difference + 180.0) % 360.0 - 180.0)


def interpolate(values: Direction, rows: Array, columns: Array) -> Direction:
    """Bilinear interpolation by node weights ``rows`` (n, my) and ``columns`` (m, mx) to (n, m)."""
    turn = np.radians(values.azimuth)
    east, north = (rows @ part @ columns.T for part in (np.sin(turn), np.cos(turn)))
    return Direction(rows @ values.zenith @ columns.T, np.degrees(np.arctan2(east, north)) % 360.0)
