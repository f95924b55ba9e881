"""From what a campaign says about where it is to polygons on the globe, one per name."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from pyproj import Geod
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from canopyflow.archive import footprint, mgrs
from canopyflow.errors import ArchiveError, DataError

WGS84 = Geod(ellps="WGS84")
NAME = re.compile(r"[A-Za-z0-9_]*")
WIDEST_ACROSS = 180.0
"""Degrees that a box across the 180th meridian may be wide; a wider one is west and east swapped."""
DEGREES = (
    "urn:ogc:def:crs:OGC:1.3:CRS84",
    "urn:ogc:def:crs:OGC::CRS84",
    "urn:ogc:def:crs:EPSG::4326",
    "EPSG:4326",
)
"""Names of the one coordinate system that GeoJSON has; older files may say another."""


@dataclass(frozen=True)
class Areas:
    """Where a search looks.

    Attributes:
        polygons: by site name, continuous longitudes (:mod:`canopyflow.archive.footprint`). The name ``""``
            stands for one unnamed area, whose tiles carry no suffix.
        tiles: MGRS tiles that are wanted whole; empty where the polygons decide.
    """

    polygons: Mapping[str, BaseGeometry]
    tiles: tuple[str, ...] = ()


def areas_of(area: Mapping[str, Any]) -> Areas:
    """The areas of a campaign's block ``area``, of which exactly one kind is given.

    Args:
        area: ``bbox`` (west, south, east, north in degrees; west larger than east across the 180th meridian),
            ``sites`` ({name: bbox}), ``geojson`` (path of a file with polygons), ``mgrs_tiles`` (names), or
            ``plots`` ({table: path, buffer_metres: number}).

    Raises:
        ArchiveError: a box, a file or a name is none.
    """
    if area.get("mgrs_tiles"):
        squares = dict(sorted(map(_square, area["mgrs_tiles"]), key=lambda each: each[0]))
        return Areas({"": footprint.joined(squares.values())}, tuple(squares))
    if area.get("geojson"):
        return Areas({"": read_polygons(Path(area["geojson"]))})
    if area.get("plots"):
        plots = area["plots"]
        return Areas(around_plots(_places(Path(plots["table"])), float(plots["buffer_metres"])))
    boxes = area.get("sites") or {"": area["bbox"]}
    return Areas({name: box_area(name, bounds) for name, bounds in boxes.items()})


def _square(name: str) -> tuple[str, BaseGeometry]:
    """A tile's name as we spell it, and the polygon around it."""
    try:
        tile = mgrs.tile_name(name)
        return tile, footprint.around(mgrs.bounds_of(tile), mgrs.epsg_of(tile))
    except ValueError as error:
        raise ArchiveError(f"area.mgrs_tiles: {error}") from None


def box_area(name: str, bounds: Sequence[float]) -> BaseGeometry:
    """The polygon of a box in degrees, of this site name. Raises ArchiveError if either is none."""
    if not NAME.fullmatch(name):
        raise ArchiveError(f"site name {name!r} cannot name a file", "use letters, digits and _")
    if not is_box(bounds):
        label = f"area {name}" if name else "the area"
        raise ArchiveError(f"{label} {tuple(bounds)} is no box of west, south, east, north")
    return footprint.box_of(bounds)


def is_box(bounds: Sequence[float]) -> bool:
    """Whether these are west, south, east, north in degrees; west is larger than east across 180 degrees."""
    west, south, east, north = bounds
    in_degrees = -180 <= min(west, east) <= max(west, east) <= 180 and -90 <= south < north <= 90
    across = east < west and east + 360.0 - west <= WIDEST_ACROSS
    return in_degrees and (west < east or across)


def read_polygons(path: Path) -> BaseGeometry:
    """All polygons of a GeoJSON file as one geometry.

    Raises:
        ArchiveError: no such file, no GeoJSON, not in degrees, or without a polygon.
    """
    try:
        content = json.loads(path.read_text())
        named = (content.get("crs") or {}).get("properties", {}).get("name")
        if named is not None and named not in DEGREES:
            raise ValueError(f"its coordinates are of {named}; GeoJSON has degrees (WGS 84)")
        features = content["features"] if content.get("type") == "FeatureCollection" else [content]
        geometries = [each["geometry"] if each.get("type") == "Feature" else each for each in features]
        found = [polygon for each in geometries for polygon in footprint.polygons_of(each)]
        if not found:
            raise ValueError("it has no polygon")
        west, south, east, north = shapely.total_bounds(found)
        if max(abs(west), abs(east)) > 540 or max(abs(south), abs(north)) > 90:
            raise ValueError("its coordinates are no degrees")
    except OSError as error:
        raise ArchiveError(f"area.geojson: {path}: {error.strerror}", "name a file that is there") from None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        said = str(error) if type(error) is ValueError else f"is no GeoJSON ({type(error).__name__}: {error})"
        raise ArchiveError(
            f"area.geojson: {path}: {said}", "give a FeatureCollection, a Feature or a geometry with polygons"
        ) from None
    return footprint.joined(found)


def _places(path: Path) -> dict[str, tuple[float, float, float, float]]:
    """The bounds of each plot of a table, read as ``evaluation.plots`` is. Raises ArchiveError for none."""
    # Here, because a campaign's file is read without the readers of tables.
    from canopyflow.archive.field_tables import read_places

    try:
        return read_places(path)
    except DataError as error:
        raise ArchiveError(f"area.plots: {error.problem}", error.remedy) from None


def around_plots(
    places: Mapping[str, tuple[float, float, float, float]], metres: float
) -> dict[str, BaseGeometry]:
    """A box reaching ``metres`` beyond each plot (west, south, east, north) to all four sides; boxes that
    overlap become one.

    Each is named after the first of its plots in the order of the alphabet.
    """
    boxes = {name: _box_around(bounds, metres) for name, bounds in sorted(places.items())}
    joined: list[tuple[str, BaseGeometry]] = []
    for name, whole in boxes.items():
        apart = [other for other in joined if not footprint.touch(other[1], whole)]
        while len(apart) < len(joined):
            within = [other for other in joined if other not in apart]
            name = min([name, *(other for other, _ in within)])
            whole = box(*footprint.joined([whole, *(other for _, other in within)]).bounds)
            joined = apart
            apart = [other for other in joined if not footprint.touch(other[1], whole)]
        joined.append((name, whole))
    named: dict[str, BaseGeometry] = {}
    for name, whole in sorted(joined, key=lambda each: each[0]):
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
        if plain in named:
            raise ArchiveError(f"area.plots: two plots are called {plain} as files", "rename one of them")
        named[plain] = whole
    return named


def _box_around(bounds: tuple[float, float, float, float], metres: float) -> BaseGeometry:
    west, south, east, north = bounds
    far = max(south, north, key=abs)  # where a degree of longitude is shortest
    lons, lats, _ = WGS84.fwd(
        [west, east, west, west], [north, far, south, far], [0.0, 90.0, 180.0, 270.0], [metres] * 4
    )
    return footprint.box_of([lons[3], lats[2], lons[1], lats[0]])
