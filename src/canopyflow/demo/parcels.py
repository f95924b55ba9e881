"""The fields of the demo as parcels: outlines in degrees, as far as the scenes reach, each with its crop."""

from typing import Any

import numpy as np
import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from canopyflow.demo.landscape import Landscape
from canopyflow.demo.phenology import CROP_NAMES
from canopyflow.demo.tiles import PLANE, Tile, transform_points

LEAST = 5_000.0
"""Square metres below which what is left of a field at the edge of the scenes is no parcel."""

_POND = 90.0
"""Metres around the middle of the pond that belong to no parcel."""


def parcel_outlines(landscape: Landscape, tiles: list[Tile]) -> dict[str, tuple[str, BaseGeometry]]:
    """Crop and outline (metres of the plane) of each parcel, by name: fields clipped to the scenes, without
    the pond."""
    seen = shapely.union_all([shapely.Polygon(tile.ring(PLANE)) for tile in tiles])
    origin, water = (
        np.array(landscape.origin),
        shapely.Point(*(np.array(landscape.origin) + landscape.pond)).buffer(_POND),
    )
    found = {}
    for field, outline in enumerate(landscape.outlines):
        placed = shapely.transform(outline, lambda points: points + origin)
        left = placed.intersection(seen).difference(water)
        parts = [part for part in shapely.get_parts(left) if part.geom_type == "Polygon"]
        if parts and (largest := max(parts, key=lambda part: part.area)).area >= LEAST:
            found[f"field-{field:03d}"] = (CROP_NAMES[landscape.canopies.crop[field]], largest)
    return found


def make_parcels(landscape: Landscape, tiles: list[Tile]) -> dict[str, Any]:
    """The parcels as GeoJSON (RFC 7946): properties ``parcel`` and ``crop``; seven decimals, a centimetre."""

    def degrees(points: np.ndarray) -> np.ndarray:
        return np.round(np.stack(transform_points(points[:, 0], points[:, 1], PLANE, 4326), axis=1), 7)

    features = [
        {
            "type": "Feature",
            "properties": {"parcel": name, "crop": crop},
            "geometry": mapping(shapely.transform(shapely.geometry.polygon.orient(outline), degrees)),
        }
        for name, (crop, outline) in parcel_outlines(landscape, tiles).items()
    ]
    return {"type": "FeatureCollection", "features": features}
