"""Tables whose rows have places: GeoJSON, GeoPackage, GeoParquet; and Parquet, whose places are columns.

The one reader of such files, of field plots as of parcels. Local files only. A file is what its first bytes
say: no other driver of GDAL is ever asked, so a file cannot send the reader to other files or addresses.
"""

import datetime
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import shapely
from pyproj.exceptions import CRSError
from shapely.errors import ShapelyError
from shapely.geometry import shape

from canopyflow.archive.positions import (
    METRES,
    ToDegrees,
    footprint_of,
    named_system,
    others,
    place_of,
    warn_of_rounding,
)
from canopyflow.archive.text_tables import decoded
from canopyflow.errors import DataError

log = logging.getLogger("canopyflow")

PLACE = ("lon", "lat", "footprint")
"""Columns that say where a row is."""

_SAID = {"lon": "lon", "lat": "lat", "longitude": "lon", "latitude": "lat", "long": "lon", "lng": "lon"}
"""Columns that say it beside a geometry."""

_ANOTHER_PLACE = 20.0
"""Metres from the geometry."""


@dataclass(frozen=True)
class Features:
    """Rows of a file as they stand there: ``table`` of text, indexed from 1, without the places; its
    ``geometries``, None where a row has none, and in place of the list where the file knows of none; the
    coordinate ``system``, x before y, None where the file names none."""

    table: pd.DataFrame
    geometries: list[Any] | None
    system: pyproj.CRS | None


def read_vectors(path: Path) -> pd.DataFrame:
    """Features of points and polygons: properties as text, and :data:`PLACE`; indexed from 1. Of a Parquet
    file without geometries all columns as text.

    Raises DataError for a file of another kind, and for what is neither a point nor a polygon.
    """
    found = features_of(path)
    if found.geometries is None:
        return found.table
    return _placed(found.table, found.geometries, ToDegrees(found.system, path), path)


def features_of(path: Path) -> Features:
    """All features of a file, by the reader of its suffix, which is one of :data:`KINDS`. Raises DataError
    for what is no such file."""
    return KINDS[path.suffix.lower()](path)


def _geojson(path: Path) -> Features:
    """The member ``crs``, which old files have, is obeyed; without one coordinates are degrees of WGS 84."""
    try:
        content = json.loads(decoded(path))
        features = content["features"] if content.get("type") == "FeatureCollection" else [content]
        records = [
            {**({"id": each["id"]} if "id" in each else {}), **(each.get("properties") or {})}
            for each in features
        ]
        written = [feature["geometry"] for feature in features]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} is not a GeoJSON collection of features: {error!r}", "export points or polygons"
        ) from None
    system = pyproj.CRS.from_authority("OGC", "CRS84")
    if "crs" in content:
        system = named_system(_crs_name(content["crs"], path), path)
    geometries = []
    for number, each in enumerate(written, 1):
        try:
            geometries.append(None if each is None else shape(each))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, ShapelyError) as error:
            raise DataError(
                f"{path}, row {number}: its geometry is none: {error!r}", "export it again"
            ) from None
    return Features(_text(pd.DataFrame(records, index=range(len(records)))), geometries, system)


def _crs_name(crs: Any, path: Path) -> str:
    """The name of a system in the member ``crs``."""
    try:
        kind = crs.get("type", "name")
        if kind == "EPSG":
            return f"EPSG:{crs['properties']['code']}"
        if kind == "name":
            return str(crs["properties"]["name"])
    except (AttributeError, KeyError, TypeError):
        pass
    raise DataError(
        f"{path} does not say of which coordinate system it is: crs is {json.dumps(crs)[:80]}",
        "export it in WGS 84 (EPSG:4326), or with the EPSG code of its system",
    )


def _geopackage(path: Path) -> Features:
    """The one layer with places."""
    import pyogrio

    with path.open("rb") as file:
        start = file.read(72)
    if not (start.startswith(b"SQLite format 3\0") and start[68:72] in (b"GPKG", b"GP10", b"GP11")):
        raise DataError(f"{path} is no GeoPackage", "export it again")
    # Absolute, so that no name is taken for a virtual file system.
    place = str(path.resolve())
    try:
        layers = [str(name) for name, kind in pyogrio.list_layers(place) if kind is not None]
        if len(layers) != 1:
            found = ", ".join(map(repr, layers)) or "none"
            raise DataError(
                f"{path} has {len(layers)} layers with places ({found})",
                "export one layer to a file of its own",
            )
        if pyogrio.read_info(place, layer=layers[0])["driver"] != "GPKG":
            raise DataError(f"{path} is no GeoPackage", "export it again")
        table = pyogrio.read_dataframe(place, layer=layers[0], datetime_as_string=True)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise DataError(f"{path} cannot be read: {error}", "export it again") from None
    return _of_frame(table, path)


def _parquet(path: Path) -> Features:
    """GeoParquet, or plain Parquet."""
    import geopandas
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        if b"geo" in (schema.metadata or {}):
            return _of_frame(geopandas.read_parquet(path.resolve()), path)
        with pq.ParquetFile(path) as file:
            table = file.read().to_pandas(ignore_metadata=True)
    except (pa.ArrowException, CRSError, ShapelyError, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}", "write it again") from None
    return Features(_text(table), None, None)


KINDS: dict[str, Callable[[Path], Features]] = {
    **dict.fromkeys((".geojson", ".json"), _geojson),
    ".gpkg": _geopackage,
    **dict.fromkeys((".parquet", ".geoparquet", ".pq"), _parquet),
}
"""Suffixes of files that are read here."""


def _of_frame(table: Any, path: Path) -> Features:
    """Of a GeoDataFrame."""
    try:
        geometries, system = list(table.geometry), table.crs
    except AttributeError:
        raise DataError(f"{path} has no places", "export points or polygons") from None
    return Features(_text(pd.DataFrame(table.drop(columns=table.geometry.name))), geometries, system)


def _placed(text: pd.DataFrame, geometries: Sequence[Any], to: ToDegrees, path: Path) -> pd.DataFrame:
    """The columns of a table of text with the places of its rows in degrees."""
    rows = range(1, len(geometries) + 1)
    plain = [_plain(each, row, path) for each, row in zip(geometries, rows, strict=True)]
    there = np.array([place_of(each) for each in plain], np.float64).reshape(-1, 2)
    is_point = np.array([each.geom_type == "Point" for each in plain], bool)
    to.check(there, [f"row {row}" for row in rows])
    moved = list(shapely.transform(np.array(plain, object), to)) if plain else []
    to.told(len(moved))
    degrees = [place_of(each) for each in moved]
    if not to.same:
        # Degrees of WGS 84 are looked at when their columns are read.
        x, y = ([repr(float(each)) for each in there[is_point, axis]] for axis in (0, 1))
        warn_of_rounding(x, y, np.array([lat for _, lat in degrees], np.float64)[is_point], path, to.unit)
    footprints = []
    for row, each, point in zip(rows, moved, is_point, strict=True):
        try:
            footprints.append("" if point else footprint_of(each))
        except ValueError as error:
            raise DataError(f"{path}, row {row}: its geometry {error}", "correct it") from None
    _compare(text, degrees, path)
    text = text.drop(columns=[name for name in text if str(name).strip().lower() in (*PLACE, *_SAID)])
    places = {"lon": [repr(lon) for lon, _ in degrees], "lat": [repr(lat) for _, lat in degrees]}
    return text.assign(**places, footprint=footprints)


def _compare(table: pd.DataFrame, degrees: Sequence[tuple[float, float]], path: Path) -> None:
    """Warn where columns say another place than the geometry, which is taken."""
    named = {_SAID.get(str(name).strip().lower(), str(name)): name for name in table}
    if not {"lon", "lat"} <= set(named):
        return
    lon, lat = (pd.to_numeric(table[named[axis]], errors="coerce") for axis in ("lon", "lat"))
    here = np.array(degrees, np.float64).reshape(-1, 2)
    away = np.hypot(METRES * np.cos(np.radians(here[:, 1])) * (lon - here[:, 0]), METRES * (lat - here[:, 1]))
    if (away > _ANOTHER_PLACE).any():
        row = away.index[away > _ANOTHER_PLACE][0]
        log.warning(
            "%s, row %d: its columns say lon %s, lat %s, %.0f m from its geometry, which is taken%s",
            path.name, row, table.at[row, named["lon"]], table.at[row, named["lat"]], away[row],
            others(int((away > _ANOTHER_PLACE).sum())),
        )  # fmt: skip


def _plain(geometry: Any, row: int, path: Path) -> Any:
    """A point or polygon in the plane; a single point as such."""
    if geometry is None or geometry.is_empty:
        raise DataError(f"{path}, row {row} has no geometry", "give it a place, or leave it out")
    if geometry.geom_type == "MultiPoint" and len(geometry.geoms) == 1:
        geometry = geometry.geoms[0]
    if geometry.geom_type not in ("Point", "Polygon", "MultiPolygon"):
        raise DataError(
            f"{path}, row {row} is a {geometry.geom_type}, and a plot is a point or a polygon",
            "export points or polygons",
        )
    return shapely.force_2d(geometry)


def _text(table: pd.DataFrame) -> pd.DataFrame:
    """All cells as text, "" where there is nothing; rows from 1."""
    cells = {str(name): [_cell(value) for value in column] for name, column in table.items()}
    return pd.DataFrame(cells, index=pd.RangeIndex(1, len(table) + 1), dtype=object)


def _cell(value: Any) -> str:
    if value is None or value is pd.NaT or value is pd.NA:
        return ""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float):
        if np.isnan(value):
            return ""
        # An id that was a whole number is one; pandas makes it a fraction where another row has none.
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return str(value)
