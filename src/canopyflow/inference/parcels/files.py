"""Reading parcels, polygons with a name each, from GeoJSON, GeoPackage or GeoParquet."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from canopyflow.archive.footprint import joined, touch
from canopyflow.archive.positions import ToDegrees, fault_in_degrees, fault_of, place_of
from canopyflow.archive.vector_tables import KINDS, Features, features_of
from canopyflow.atomic import atomic_file
from canopyflow.errors import DataError

log = logging.getLogger("canopyflow")

NAMES = ("parcel", "parcel_id", "id")
"""Properties that name a parcel, the first that is there, unless another is asked for."""

_SHOWN = 3
"""Names that an error tells; of the others the number."""

_MEND = "parcels are polygons: leave it out, or mend it (QGIS: Fix geometries)"


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
    where = f"{key}: {path}"
    found = _features(path, key)
    if not len(found.table):
        raise DataError(f"{where} has no parcel", "give a file with polygons")
    named = _names(found.table, where, name)
    shapes = _in_degrees(found, named, path, key)
    parcels = gpd.GeoDataFrame({"parcel": named}, geometry=shapes, crs=4326)
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


def _features(path: Path, key: str) -> Features:
    """All of a file, by the reader of field plots too."""
    if path.suffix.lower() not in KINDS:
        raise DataError(f"{key}: {path} is of no kind that is read here", f"give one of {', '.join(KINDS)}")
    if not path.is_file():
        raise DataError(f"{key}: {path} is no file of this machine", "check the path")
    try:
        return features_of(path)
    except DataError as error:
        raise DataError(f"{key}: {error.problem}", error.remedy) from None


def _names(table: pd.DataFrame, where: str, name: str | None) -> list[str]:
    """The name of each parcel."""
    wanted = [name] if name is not None else list(NAMES)
    found = next((each for each in wanted if each in table), None)
    if found is None:
        raise DataError(
            f"{where} has no property {' or '.join(map(repr, wanted))}; "
            f"it has {', '.join(table.columns) or 'none'}",
            "name the property that tells parcels apart (parcels.id, or --id)",
        )
    named = table[found].str.strip().tolist()
    rows = [f"feature {i}" for i in table.index]
    _refuse([f"has no {found}" if not n else None for n in named], rows, where, "name each parcel")
    distinct = sorted({n for n, count in Counter(named).items() if count > 1})
    if distinct:
        raise DataError(
            f"{where}: {_told(distinct)} stand there more than once", "give each parcel a name of its own"
        )
    return named


def _in_degrees(found: Features, names: list[str], path: Path, key: str) -> list[BaseGeometry]:
    """The polygons in degrees. Raises DataError, with the names, for what is none."""
    where = f"{key}: {path}"
    if found.geometries is None:
        raise DataError(f"{where} has no outlines", "export polygons (GeoParquet, GeoPackage, GeoJSON)")
    _refuse([fault_of(shape) for shape in found.geometries], names, where, _MEND)
    shapes = [shapely.force_2d(shape) for shape in found.geometries]
    try:
        to = ToDegrees(found.system, path)
        inside = np.array([place_of(shape) for shape in shapes])
        if not to.same:
            to.check(inside, list(map(repr, names)))
    except DataError as error:
        raise DataError(f"{key}: {error.problem}", error.remedy) from None
    moved = [_unbroken(shape if to.same else shapely.transform(shape, to), to.same) for shape in shapes]
    to.told(len(moved))
    _refuse([fault_in_degrees(shape) for shape in moved], names, where, "name the file's coordinate system")
    return moved


def _unbroken(shape: BaseGeometry, as_written: bool) -> BaseGeometry:
    """A polygon (degrees) across the 180th meridian in one piece.

    Degrees that were written are cut there into parts (RFC 7946), which all get the longitudes of the first;
    degrees that were transformed jump there. An outline that was written with the jump stays as it is.
    """
    west, _, east, _ = shape.bounds
    if not 180 < east - west <= 360:
        return shape
    if as_written:
        return joined(shapely.get_parts(shape))
    return shapely.transform(shape, lambda xy: np.column_stack([xy[:, 0] % 360.0, xy[:, 1]]))


def _refuse(faults: Sequence[str | None], names: Sequence[str], where: str, remedy: str) -> None:
    """Raise DataError for the first fault, naming what has it and how many have the same."""
    wrong = [(name, fault) for name, fault in zip(names, faults, strict=True) if fault is not None]
    if not wrong:
        return
    name, fault = wrong[0]
    same = sum(each == fault for _, each in wrong) - 1
    more = f" (and {same} more)" if same else ""
    hint = "; points belong into evaluation.plots" if "Point" in fault else ""
    raise DataError(f"{where}: {name!r} {fault}{more}", f"{remedy}{hint}")


def _told(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"parcel{'s' * (len(names) > 1)} {', '.join(map(repr, names[:_SHOWN]))}{more}"


def _place(shape: BaseGeometry) -> str:
    x, y = shape.representative_point().coords[0]
    return f"{x:.4f}, {y:.4f}"
