"""Where plots lie: coordinates of any known system in degrees, and what is said of impossible ones.

Coordinates of another datum look like degrees and are not: those of CH1903 are 150 m beside WGS 84, ten
pixels. So a system is transformed or refused, and never ignored.
"""

import logging
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import CRSError, ProjError

from canopyflow.archive.text_tables import MISSING
from canopyflow.errors import DataError

log = logging.getLogger("canopyflow")

Floats = NDArray[np.float64]

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"

METRES = 111_320.0
"""Of a degree of latitude."""

COARSE = 11.2
"""Metres of the fourth decimal of a degree: the coarsest step that still finds a pixel of 10 to 20 m."""

_OFTEN = 0.1
"""Share of coarse positions above which a table is rounded: of exact ones 1 % end in a zero twice."""

_INACCURATE = 5.0
"""Metres of uncertainty of a transformation that are worth a warning."""

_BEYOND = 540.0
"""Degrees of longitude that a polygon may reach to, so that one across the 180th meridian is in one piece."""

_WIDEST = 60.0
"""Degrees of longitude of one polygon: no grid in metres reaches to 85 degrees from its meridian."""

_BESIDE = 1.0
"""Degrees that a place may lie outside of where its system is used."""

_EXPORT = "export it in WGS 84 (EPSG:4326), or with the EPSG code of its system"

_CODE = re.compile(
    r"(?:urn:(?:x-)?ogc:def:crs:|https?://www\.opengis\.net/def/crs/)?([A-Za-z]+)[:/](?:[\w.]*[:/])?(\w+)"
)


def named_system(name: str, path: Path) -> pyproj.CRS:
    """The coordinate system of a name such as ``EPSG:2056``, ``urn:ogc:def:crs:EPSG::2056`` or
    ``http://www.opengis.net/def/crs/EPSG/0/2056`` (which nobody opens). Raises DataError for any other."""
    found = _CODE.fullmatch(name.strip())
    try:
        if found is None:
            raise CRSError(name)
        return pyproj.CRS.from_authority(found.group(1).upper(), found.group(2))
    except CRSError:
        raise DataError(
            f"{path}: its coordinate system {name!r} is unknown",
            _EXPORT,
        ) from None


class ToDegrees:
    """From coordinates of a system, x before y as all vector files have them, to degrees of WGS 84.

    Raises DataError for a file without a system (None), for a local one, and for one that no transformation
    leads out of.
    """

    def __init__(self, system: pyproj.CRS | None, path: Path) -> None:
        if system is None:
            raise DataError(f"{path} does not say of which coordinate system it is", _EXPORT)
        flat = system.sub_crs_list[0] if system.is_compound else system
        self.system, self.path = flat, path
        self.name = _named(flat)
        if not (flat.is_geographic or flat.is_projected):
            raise DataError(f"{path}: coordinates of {self.name} cannot be placed on the globe", _EXPORT)
        self.same = flat.to_2d().equals(pyproj.CRS.from_epsg(4326), ignore_axis_order=True)
        try:
            self._transformer = pyproj.Transformer.from_crs(flat, 4326, always_xy=True, allow_ballpark=False)
        except ProjError:
            raise DataError(f"{path}: no transformation leads from {self.name} to WGS 84", _EXPORT) from None

    def __call__(self, xy: Floats) -> Floats:
        """Degrees (n, 2) of coordinates (n, 2); infinite where there are none."""
        if self.same:
            return xy
        lon, lat = self._transformer.transform(xy[:, 0], xy[:, 1])
        return np.column_stack([lon, lat]).astype(np.float64)

    @property
    def unit(self) -> float | None:
        """Metres of a unit of the coordinates; None for degrees."""
        return float(self.system.axis_info[0].unit_conversion_factor) if self.system.is_projected else None

    def told(self, count: int) -> None:
        """Say, once for a file, what was done and how well."""
        if self.same or not count:
            return
        accuracy = self._transformer.get_last_used_operation().accuracy
        sure = f"to within {accuracy:g} m" if accuracy >= 0 else "with unknown accuracy"
        level = logging.INFO if 0 <= accuracy <= _INACCURATE else logging.WARNING
        log.log(level, "%s: coordinates of %s transformed to WGS 84, %s", self.path.name, self.name, sure)

    def check(self, xy: Floats, rows: Sequence[str]) -> None:
        """Raise DataError unless the degrees of all points (n, 2) of a system lie where it is used, naming
        the first of ``rows`` (n,), in words, that does not."""
        if self.same:
            return
        bad = np.flatnonzero(~self._used(self(xy)))
        if not len(bad):
            return
        first = bad[0]
        x, y = xy[first]
        swapped = self._used(self(xy[[first]][:, ::-1]))[0]
        used = self.system.area_of_use
        beyond = "is no place" if used is None else f"lies outside of {used.name.rstrip('.')}"
        raise DataError(
            f"{self.path}, {rows[first]}: {x:g}, {y:g} of {self.name} {beyond}{others(len(bad))}",
            "x and y are swapped" if swapped else "the coordinates are of another system than the file says",
        )

    def _used(self, degrees: Floats) -> NDArray[np.bool_]:
        inside = np.asarray(np.isfinite(degrees).all(axis=1), bool)
        area = self.system.area_of_use
        if area is not None:
            lon, lat = degrees.T
            # Degrees jump at the 180th meridian, within an area and at its edge.
            wide = area.east - area.west + (360.0 if area.west > area.east else 0.0)
            with np.errstate(invalid="ignore"):
                inside &= (lon - area.west + _BESIDE) % 360.0 <= wide + 2.0 * _BESIDE
            inside &= (lat >= area.south - _BESIDE) & (lat <= area.north + _BESIDE)
        return inside


def _named(system: pyproj.CRS) -> str:
    code = system.to_authority()
    return f"{':'.join(code)} ({system.name})" if code else repr(system.name)


def others(count: int) -> str:
    """How many rows have the fault beside the one that is named."""
    return f" (and {count - 1} more rows)" if count > 1 else ""


def missing(cells: pd.Series) -> pd.Series:
    """Which cells of text hold no value."""
    return cells.str.strip().str.lower().isin(MISSING)


def numbers_of(table: pd.DataFrame, column: str, where: Any, *, optional: bool = False) -> pd.Series:
    """A column of text as finite numbers; missing ones are NaN where they are ``optional``.

    ``where``: from a row of the table to the words that name it. Raises DataError for anything else, naming
    the first row and what it may be.
    """
    cells = table[column].str.strip().str.replace("−", "-")
    empty = missing(cells)
    right = cells.str.fullmatch(NUMBER)
    numbers = cells.where(right, "nan").astype(float)
    wrong = ~np.isfinite(numbers) & ~(empty if optional else False)
    if wrong.any():
        row = table.index[wrong][0]
        found = str(table.at[row, column])
        raise DataError(
            f"{where(row)}: {column} {found!r} is not a number{others(int(wrong.sum()))}",
            _number_remedy(column, found.strip()),
        )
    return numbers


def _number_remedy(column: str, cell: str) -> str:
    if column in ("lon", "lat") and re.search(r"[°'\"′″NSEWO]", cell):
        return "give degrees with decimals and a sign, as 46.72319 or -3.5"
    if re.fullmatch(r"[<>≤≥~≈]\s*\d.*", cell):
        return "a limit is no value: leave the row out, or give a value and its uncertainty"
    if re.fullmatch(r"[+-]?\d{1,3}([,.'’ ]\d{3})+([.,]\d+)?", cell):
        return "write numbers without marks between thousands, and with a point"
    if re.fullmatch(r".*\d\s*(±|\+/?-).*", cell):
        return "put the uncertainty into its own column"
    return "correct the row or leave it out"


def check_degrees(lon: pd.Series, lat: pd.Series, where: Any) -> None:
    """Raise DataError for positions that are no longitude and latitude, saying what they may be; ``where`` as
    in :func:`numbers_of`."""
    for column, values, limit in (("lon", lon, 180.0), ("lat", lat, 90.0)):
        bad = values.index[values.abs() > limit]
        if len(bad):
            remedy = "give WGS 84 longitude and latitude in degrees, not projected metres"
            if max(abs(lon[bad[0]]), abs(lat[bad[0]])) > 1000:
                remedy += "; a GeoJSON, GeoPackage or GeoParquet that names its system is transformed"
            elif column == "lat" and abs(lon[bad[0]]) <= 90:
                remedy = "lon and lat may be swapped"
            raise DataError(
                f"{where(bad[0])}: {column} {values[bad[0]]:g} is outside ±{limit:g} degrees"
                f"{others(len(bad))}",
                remedy,
            )
    nowhere = lon.index[(lon == 0) & (lat == 0)]
    if len(nowhere):
        raise DataError(
            f"{where(nowhere[0])}: lon 0, lat 0 is a place in the Gulf of Guinea{others(len(nowhere))}",
            "give the position, or leave the row out",
        )


def warn_of_rounding(
    x: Sequence[str], y: Sequence[str], lat: Floats, path: Path, unit: float | None = None
) -> None:
    """Warn of positions that are written too coarsely to find a pixel, with the metres that this means.

    ``x``, ``y``: coordinates as written; ``lat``: their latitudes, degrees; ``unit``: metres of a unit of
    projected coordinates, None for degrees.
    """
    places = sorted({(a, b, round(float(c), 1)) for a, b, c in zip(x, y, lat, strict=True)})
    metres = []
    for a, b, c in places:
        east, north = METRES * np.cos(np.radians(c)) if unit is None else unit, unit or METRES
        steps = _step(a, unit) * east, _step(b, unit) * north
        least = min(_step(a, unit), _step(b, unit)) * (unit or METRES)
        metres.append(float(np.hypot(*steps)) / 2 if least > COARSE else 0.0)
    coarse = [each for each in metres if each]
    if len(coarse) > _OFTEN * len(places):
        first = places[next(i for i, each in enumerate(metres) if each)]
        log.warning(
            "%s: coordinates of %d of %d places are rounded (first: %s, %s): a plot may lie %.0f m beside, "
            "and a pixel is 10 to 20 m wide; give %s",
            path.name,
            len(coarse),
            len(places),
            first[0],
            first[1],
            max(coarse),
            "at least five decimals" if unit is None else "metres",
        )


def _step(text: str, unit: float | None) -> float:
    """The last place of a number as written; of projected ones also its trailing zeros."""
    number = Decimal(text.strip())
    exponent = (number.normalize() if unit is not None and number else number).as_tuple().exponent
    return float(10.0 ** int(exponent))


def fault_of(geometry: Any) -> str | None:
    """What is wrong with a polygon, in words that go on from its name; None if nothing is."""
    if geometry is None or geometry.is_empty:
        return "has no geometry"
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        return f"is a {geometry.geom_type}, and no polygon"
    if not geometry.is_valid:
        return f"is no valid polygon: {shapely.is_valid_reason(geometry)}"
    return None if geometry.area > 0 else "has no area"


def fault_in_degrees(geometry: Any) -> str | None:
    """The same of a polygon in degrees, which also has to lie on the globe and not around it."""
    fault = fault_of(geometry)
    if fault is None:
        west, south, east, north = geometry.bounds
        on_globe = south >= -90 and north <= 90 and max(-west, east) <= _BEYOND
        if not (on_globe and np.isfinite(geometry.bounds).all()):
            fault = "lies at no longitude and latitude"
        elif east - west > 180:
            fault = "reaches around the globe: is it cut at the 180th meridian?"
        elif east - west > _WIDEST:
            fault = f"reaches over {east - west:.0f} degrees of longitude: are these several of one name?"
    return fault


def footprint_of(geometry: Any) -> str:
    """Text (WKT, degrees, eight decimals) of a polygon; raises ValueError, saying why, for what is none."""
    fault = fault_in_degrees(geometry)
    if fault is not None:
        raise ValueError(fault)
    return str(shapely.to_wkt(geometry, rounding_precision=8))


def place_of(geometry: Any) -> tuple[float, float]:
    """Longitude and latitude of a point, or of a point inside of a polygon."""
    inside = geometry if geometry.geom_type == "Point" else geometry.representative_point()
    return float(inside.x), float(inside.y)
