"""Reading parcels, polygons with a name each, from GeoJSON, GeoPackage or GeoParquet."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyogrio
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from canopyflow.archive.footprint import touch
from canopyflow.atomic import atomic_file
from canopyflow.errors import DataError

log = logging.getLogger("canopyflow")

NAMES = ("parcel", "parcel_id", "id")
"""Properties that name a parcel, the first that is there, unless another is asked for."""

_SHOWN = 3
"""Names that an error tells; of the others the number."""

_GPKG = b"SQLite format 3\x00"


def read_parcels(path: Path, name: str | None = None, *, key: str = "parcels") -> gpd.GeoDataFrame:
    """Parcels of a file: ``parcel`` (text, distinct) and ``geometry`` (polygons, EPSG:4326), by name.

    ``name``: the property that names a parcel, by default the first of :data:`NAMES` that there is; ``key``:
    what an error is about. The file's own coordinate system is honoured; a GeoJSON file that names none has
    degrees. Only files of this machine are read, by their suffix and content.

    Raises
    ------
    DataError
        for a file that is not there or is of another kind, an unknown coordinate system, and, with the names
        of the parcels, for names that are missing or given twice and for what is no polygon: points, lines,
        empty or crossing outlines, coordinates that are no degrees.
    """
    table = _read(path, key)
    if not len(table):
        raise DataError(f"{key}: {path} has no parcel", "give a file with polygons")
    named = _names(table, path, name, key)
    shapes = table.geometry.force_2d().to_numpy()
    _check_shapes(shapes, named, path, key)
    parcels = gpd.GeoDataFrame({"parcel": named}, geometry=shapes, crs=table.crs)
    if parcels.crs.to_epsg() != 4326:
        parcels = parcels.to_crs(4326)
    bounds = parcels.bounds.to_numpy()
    beyond = (
        ~np.isfinite(bounds).all(1)
        | (np.abs(bounds[:, [1, 3]]).max(1) > 90)
        | (np.abs(bounds[:, [0, 2]]).max(1) > 540)
    )
    _refuse(
        beyond,
        named,
        f"{key}: {path}",
        "lies at no longitude and latitude",
        "name the file's coordinate system",
    )
    return parcels.sort_values("parcel", kind="stable", ignore_index=True)


def check_parcels(
    path: Path, out: Path, name: str | None = None, area: BaseGeometry | None = None
) -> gpd.GeoDataFrame:
    """Read parcels as :func:`read_parcels` does and keep them as GeoParquet, EPSG:4326.

    A campaign does this first. Raises DataError too if no parcel lies in the ``area`` (polygons in degrees);
    those that lie outside are named in a warning.
    """
    parcels = read_parcels(path, name)
    if area is not None:
        inside = np.array([touch(area, shape) for shape in parcels.geometry])
        if not inside.any():
            flipped = any(touch(area, shapely.transform(s, lambda p: p[:, ::-1])) for s in parcels.geometry)
            raise DataError(
                f"parcels: no parcel of {path} lies in the campaign's area; the first, "
                f"{parcels['parcel'][0]!r}, is around {_place(parcels.geometry[0])}",
                "longitude and latitude are swapped" if flipped else "check `area` and `parcels.path`",
            )
        if not inside.all():
            log.warning("%s lie outside the area", _told(parcels["parcel"][~inside].tolist()))
    with atomic_file(out) as scratch:
        parcels.to_parquet(scratch, index=False)
    log.info("%s: %d parcels", path.name, len(parcels))
    return parcels


def _read(path: Path, key: str) -> gpd.GeoDataFrame:
    """All of a file, with its coordinate system; by the reader of its suffix."""
    readers: dict[str, Callable[[Path, str], gpd.GeoDataFrame]] = {
        ".geojson": _geojson,
        ".json": _geojson,
        ".gpkg": _geopackage,
        ".parquet": _geoparquet,
        ".geoparquet": _geoparquet,
        ".pq": _geoparquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{key}: {path} is of no kind that is read here", "give .geojson, .gpkg or .parquet (GeoParquet)"
        )
    if not path.is_file():
        raise DataError(f"{key}: {path} is no file of this machine", "check the path")
    table = reader(path.resolve(), key)
    if table.crs is None:
        raise DataError(f"{key}: {path} names no coordinate system", "write the file again with one")
    return table


def _geojson(path: Path, key: str) -> gpd.GeoDataFrame:
    """Features of GeoJSON, whose ``crs``, if there is one, is honoured."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        features = content["features"] if content.get("type") == "FeatureCollection" else [content]
        rows = [
            {"id": each["id"], **_properties(each)} if "id" in each else _properties(each)
            for each in features
        ]
        shapes = [_shape(each.get("geometry")) for each in features]
        named = (content.get("crs") or {"properties": {"name": "EPSG:4326"}})["properties"]["name"]
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        UnicodeDecodeError,
        shapely.GEOSException,
    ) as error:
        raise DataError(
            f"{key}: {path} is no GeoJSON ({type(error).__name__}: {error})", "give features"
        ) from None
    try:
        crs = CRS.from_user_input(named)
    except CRSError:
        raise DataError(
            f"{key}: {path} is in {named!r}, which nobody knows",
            "write it in degrees (WGS 84), without `crs`",
        ) from None
    return gpd.GeoDataFrame(pd.DataFrame(rows), geometry=shapes, crs=crs)


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    if feature["type"] != "Feature":
        raise ValueError(f"a {feature['type']} is no Feature")
    return {name: value for name, value in (feature.get("properties") or {}).items() if name != "geometry"}


def _shape(geometry: dict[str, Any] | None) -> BaseGeometry | None:
    return None if geometry is None else shapely.from_geojson(json.dumps(geometry))


def _geopackage(path: Path, key: str) -> gpd.GeoDataFrame:
    """The one layer of a GeoPackage that has geometries."""
    with path.open("rb") as file:
        head = file.read(len(_GPKG))
    if head != _GPKG:
        raise DataError(f"{key}: {path} is no GeoPackage", "write it again")
    try:
        layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
        if len(layers) != 1:
            raise DataError(
                f"{key}: {path} has the layers {', '.join(layers) or 'none'}", "keep one of polygons"
            )
        return pyogrio.read_dataframe(path, layer=layers[0])
    except pyogrio.errors.DataSourceError as error:
        raise DataError(f"{key}: {path} cannot be read: {error}", "write it again") from None


def _geoparquet(path: Path, key: str) -> gpd.GeoDataFrame:
    try:
        return gpd.read_parquet(path)
    except (ValueError, pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{key}: {path} is no GeoParquet: {error}", "write it with geopandas or GDAL"
        ) from None


def _names(table: gpd.GeoDataFrame, path: Path, name: str | None, key: str) -> list[str]:
    """The name of each parcel, as text."""
    there = [str(column) for column in table.columns if column != table.geometry.name]
    wanted = [name] if name is not None else list(NAMES)
    found = next((each for each in wanted if each in there), None)
    if found is None:
        raise DataError(
            f"{key}: {path} has no property {' or '.join(map(repr, wanted))}; "
            f"it has {', '.join(there) or 'none'}",
            "name the property that tells parcels apart (parcels.id, or --id)",
        )
    values = table[found]
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "f" and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    named = ["" if missing else str(v).strip() for v, missing in zip(values, values.isna(), strict=True)]
    rows = [f"feature {i + 1}" for i in range(len(named))]
    _refuse(np.array([not n for n in named]), rows, f"{key}: {path}", f"has no {found}", "name each parcel")
    twice = pd.Series(named).duplicated(keep=False).to_numpy()
    distinct = sorted({n for n, more in zip(named, twice, strict=True) if more})
    if distinct:
        raise DataError(
            f"{key}: {path}: {_told(distinct)} stand there more than once",
            "give each parcel a name of its own",
        )
    return named


def _check_shapes(shapes: Sequence[BaseGeometry | None], names: list[str], path: Path, key: str) -> None:
    """Raise DataError for what is no polygon with an area."""
    where = f"{key}: {path}"
    empty = np.array([shape is None or shape.is_empty for shape in shapes])
    _refuse(empty, names, where, "has no geometry", "leave it out, or draw it")
    for kind in sorted(
        {shape.geom_type for shape in shapes if shape is not None} - {"Polygon", "MultiPolygon"}
    ):
        other = np.array([shape is not None and shape.geom_type == kind for shape in shapes])
        hint = "; points belong into evaluation.plots" if "Point" in kind else ""
        _refuse(other, names, where, f"is a {kind}", f"parcels are polygons{hint}")
    for i, shape in enumerate(shapes):
        if not shapely.is_valid(shape):
            reason = shapely.is_valid_reason(shape)
            raise DataError(
                f"{where}: the outline of {names[i]!r} is not valid: {reason}",
                "mend it (QGIS: Fix geometries)",
            )
    _refuse(shapely.area(shapes) <= 0, names, where, "has no area", "leave it out, or draw it")


def _refuse(wrong: np.ndarray, names: list[str], where: str, what: str, remedy: str) -> None:
    """Raise DataError if something is wrong with one of ``names``."""
    found = [name for name, bad in zip(names, wrong, strict=True) if bad]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise DataError(f"{where}: {found[0]!r} {what}{more}", remedy)


def _told(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"parcel{'s' * (len(names) > 1)} {', '.join(map(repr, names[:_SHOWN]))}{more}"


def _place(shape: BaseGeometry) -> str:
    x, y = shape.representative_point().coords[0]
    return f"{x:.4f}, {y:.4f}"
