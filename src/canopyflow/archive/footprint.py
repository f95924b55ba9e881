"""Polygons on the globe: longitudes that run on across the 180th meridian, rings around a pole, GeoJSON.

Inside the program a polygon has continuous longitudes: one across the 180th meridian reaches from 179 to 181
and not to -179. Catalogues write such polygons in every way; see :func:`polygon_of_ring`.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import shapely
from pyproj import Transformer
from shapely import affinity
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from canopyflow.archive.grid import Bounds

WORLD = box(-180.0, -90.0, 180.0, 90.0)
POLE = 89.999
SLIVER = 1e-12
"""Square degrees below which a polygon is a line."""
APART = 0.5
"""Degrees between parts of an area beyond which a catalogue is asked for each on its own."""


def polygon_of_ring(ring: Sequence[Sequence[float]]) -> BaseGeometry:
    """The polygon within a ring of (longitude, latitude), with continuous longitudes.

    A step of more than 180 degrees is taken as the short way across the 180th meridian, unless the ring is
    then a mere line: so are those of a box around the world. A ring that goes round a pole without naming it
    is closed over that pole.
    """
    if len(ring) < 4:
        raise ValueError(f"a ring of {len(ring)} points is no polygon")
    plain = [(float(point[0]), float(point[1])) for point in ring]
    lons = [plain[0][0]]
    for (before, _), (lon, _) in itertools.pairwise(plain):
        step = (lon - before + 180.0) % 360.0 - 180.0
        lons.append(lons[-1] + step)
    lats = [lat for _, lat in plain]
    turned = lons[-1] - lons[0]
    if abs(turned) > 180.0:
        if max(map(abs, lats)) >= POLE:
            return _valid(Polygon(plain))
        pole = 90.0 if sum(lats) > 0 else -90.0
        return _valid(Polygon([*zip(lons, lats, strict=True), (lons[-1], pole), (lons[0], pole)]))
    run_on = _valid(Polygon(zip(lons, lats, strict=True)))
    return run_on if run_on.area > SLIVER else _valid(Polygon(plain))


def _valid(geometry: BaseGeometry) -> BaseGeometry:
    """The polygons of a geometry, mended where its rings cross themselves."""
    mended = geometry if geometry.is_valid else shapely.make_valid(geometry)
    parts = [part for part in getattr(mended, "geoms", [mended]) if part.area > 0]
    return shapely.union_all(parts) if len(parts) != 1 else parts[0]


def polygons_of(geometry: dict[str, Any]) -> Iterator[BaseGeometry]:
    """The polygons of a GeoJSON geometry, each with continuous longitudes.

    Raises:
        ValueError: it has none; the text names its type.
    """
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        for member in geometry["geometries"]:
            yield from polygons_of(member)
        return
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a {kind} is no polygon")
    many = geometry["coordinates"] if kind == "MultiPolygon" else [geometry["coordinates"]]
    for outer, *holes in many:
        whole = polygon_of_ring(outer)
        yield whole.difference(shapely.union_all([near(polygon_of_ring(hole), whole) for hole in holes]))


def box_of(bounds: Sequence[float]) -> BaseGeometry:
    """The polygon of a GeoJSON bbox of four or six numbers; across 180 degrees west is larger than east."""
    numbers = [float(value) for value in bounds]
    if len(numbers) not in (4, 6):
        raise ValueError(f"a bbox of {len(numbers)} numbers")
    west, south = numbers[:2]
    east, north = numbers[len(numbers) // 2 :][:2]
    return box(west, south, east + 360.0 if east < west else east, north)


def near(geometry: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
    """``geometry``, moved by whole turns to where its middle is nearest to that of ``other``."""
    apart = (other.bounds[0] + other.bounds[2] - geometry.bounds[0] - geometry.bounds[2]) / 2
    return affinity.translate(geometry, 360.0 * round(apart / 360.0))


def common(first: BaseGeometry, second: BaseGeometry) -> BaseGeometry:
    """What two geometries have in common, in the longitudes of ``first``."""
    turns = (affinity.translate(second, 360.0 * turn) for turn in (-1, 0, 1))
    return shapely.union_all([first.intersection(turned) for turned in turns])


def touch(first: BaseGeometry, second: BaseGeometry) -> bool:
    """Whether two geometries have a point in common."""
    return any(affinity.translate(second, 360.0 * turn).intersects(first) for turn in (-1, 0, 1))


def boxes_around(area: BaseGeometry) -> list[Bounds]:
    """Boxes, none across 180 degrees, that hold an area: what a catalogue can be asked for.

    Parts that lie apart have boxes of their own, so that islands far from each other do not ask for an ocean.
    """
    boxes = [part.bounds for part in parts_of(area)]
    merged: list[Bounds] = []
    for bounds in sorted(boxes):
        west, south, east, north = bounds
        grown = True
        while grown:
            grown = False
            reach = box(west - APART, south - APART, east + APART, north + APART)
            for other in merged:
                if reach.intersects(box(*other)):
                    west, south = min(west, other[0]), min(south, other[1])
                    east, north = max(east, other[2]), max(north, other[3])
                    merged.remove(other)
                    grown = True
                    break
        merged.append((west, south, east, north))
    return sorted(piece.bounds for bounds in merged for piece in _cut(box(*bounds)))


def parts_of(geometry: BaseGeometry) -> list[BaseGeometry]:
    """The polygons that a geometry consists of."""
    return [part for part in getattr(geometry, "geoms", [geometry]) if part.area > 0]


def _cut(geometry: BaseGeometry) -> list[BaseGeometry]:
    """The polygon pieces of a geometry in longitudes from -180 to 180."""
    if geometry.bounds[2] - geometry.bounds[0] >= 360.0:
        return [box(-180.0, geometry.bounds[1], 180.0, geometry.bounds[3])]
    turned = (affinity.translate(geometry, 360.0 * turn) for turn in (-1, 0, 1))
    return [part for piece in turned for part in parts_of(piece.intersection(WORLD))]


def geojson_of_ring(ring: Sequence[tuple[float, float]], digits: int) -> tuple[dict[str, Any], list[float]]:
    """GeoJSON geometry and bbox of a ring of (longitude, latitude), rounded to ``digits`` decimals.

    Across the 180th meridian the geometry is a MultiPolygon cut there, and the bbox has a west that is larger
    than its east (RFC 7946, sections 3.1.9 and 5.2).
    """
    whole = polygon_of_ring(ring)
    if max(map(abs, whole.bounds[::2])) <= 180.0:
        corners = _rounded(whole.exterior.coords, digits)
        lons, lats = zip(*corners, strict=True)
        return {"type": "Polygon", "coordinates": [corners]}, [min(lons), min(lats), max(lons), max(lats)]
    pieces = sorted(_cut(whole), key=lambda piece: -piece.bounds[0])
    coordinates = [[_rounded(orient(piece).exterior.coords, digits)] for piece in pieces]
    return {"type": "MultiPolygon", "coordinates": coordinates}, [round(v, digits) for v in bbox_of(whole)]


def bbox_of(geometry: BaseGeometry) -> list[float]:
    """West, south, east, north in degrees; west is larger than east across the 180th meridian."""
    west, south, east, north = geometry.bounds
    if east - west >= 360.0:
        return [-180.0, south, 180.0, north]
    if west < -180.0 or east > 180.0:
        west, east = ((lon + 180.0) % 360.0 - 180.0 for lon in (west, east))
    return [west, south, east, north]


def _rounded(ring: Iterable[Sequence[float]], digits: int) -> list[list[float]]:
    """The points of a ring, without those that rounding makes the same as the one before."""
    points = [[round(lon, digits), round(lat, digits)] for lon, lat, *_ in ring]
    return [point for i, point in enumerate(points) if i == 0 or point != points[i - 1]]


def around(bounds: Bounds, epsg: int) -> BaseGeometry:
    """The box of longitudes and latitudes around bounds in a projection."""
    to_degrees = Transformer.from_crs(epsg, 4326, always_xy=True)
    return box_of(to_degrees.transform_bounds(*bounds, densify_pts=21))


def joined(parts: Iterable[BaseGeometry]) -> BaseGeometry:
    """One geometry of several, all in the longitudes of the first."""
    listed = list(parts)
    return shapely.union_all([near(part, listed[0]) for part in listed])
