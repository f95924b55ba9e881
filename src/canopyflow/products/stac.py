"""Words of STAC about one published scene: properties, assets, links, and how tile servers may draw it.

Plain dictionaries, written as JSON by whoever calls. The versions of the extensions are those that today's
readers understand: ``proj:epsg`` stands beside ``proj:code``, which only version 1.2 of the projection
extension allows, and scale and offset stand in ``raster:bands``, where stackstac, odc-stac and pystac look
for them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import Transformer

from canopyflow import __version__
from canopyflow.archive.footprint import geojson_of_ring
from canopyflow.archive.grid import Grid
from canopyflow.products.cog import Numbers, Sheet, multihash
from canopyflow.products.styles import Style
from canopyflow.products.words import FLAG_MEANINGS
from canopyflow.vocabulary import FLAGS

STAC_VERSION = "1.1.0"
EXTENSIONS = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in (
        "projection/v1.2.0",
        "raster/v1.1.0",
        "eo/v1.1.0",
        "view/v1.0.0",
        "file/v2.1.0",
        "processing/v1.2.0",
        "classification/v2.0.0",
        "render/v2.0.0",
    )
)
"""Of an item; without scene angles the one about views is left out."""

COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
PROVENANCE = "provenance.json"
CATALOGUE, COLLECTION, THUMBNAIL = "catalog.json", "collection.json", "thumbnail.png"

LEVEL = "L2B"
"""Geophysical variables on the grid of their scene, by the words of Copernicus."""

_EARTH, _ORBIT = 6_371.0, 786.0
"""Kilometres: the mean radius, and the height of Sentinel-2 above it (Sentinel-2 User Handbook, 2015)."""


@dataclass(frozen=True)
class Sight:
    """Means over a scene's grid, degrees; NaN where nobody says it.

    Attributes:
        sun_zenith, sun_azimuth: of the sun, seen from the ground.
        view_zenith, view_azimuth: of the sensor, seen from the ground.
        cloud_cover: share of the scene's pixels that its classification calls cloud, percent.
    """

    sun_zenith: float = math.nan
    sun_azimuth: float = math.nan
    view_zenith: float = math.nan
    view_azimuth: float = math.nan
    cloud_cover: float = math.nan

    def properties(self) -> dict[str, float]:
        """In the words of the view and eo extensions.

        ``view:incidence_angle`` is what the ground sees, ``view:off_nadir`` what the satellite sees of the
        same line: the Earth is round. ``view:azimuth`` leads from the point below the satellite to the scene,
        the other way round than an azimuth of the sensor.
        """
        off_nadir = math.degrees(
            math.asin(math.sin(math.radians(self.view_zenith)) * _EARTH / (_EARTH + _ORBIT))
        )
        found = {
            "view:sun_elevation": 90.0 - self.sun_zenith,
            "view:sun_azimuth": self.sun_azimuth,
            "view:incidence_angle": self.view_zenith,
            "view:off_nadir": off_nadir,
            "view:azimuth": (self.view_azimuth + 180.0) % 360.0,
            "eo:cloud_cover": self.cloud_cover,
        }
        return {name: round(value, 2) for name, value in found.items() if math.isfinite(value)}


@dataclass
class Item:
    """A STAC item that grows: properties first, then assets and renders as their files are written."""

    name: str
    grid: Grid
    properties: dict[str, Any]
    assets: dict[str, dict[str, Any]] = field(default_factory=dict)
    renders: dict[str, dict[str, Any]] = field(default_factory=dict)
    sources: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self, collection: str) -> dict[str, Any]:
        """As GeoJSON; links lead from ``{tile}/{month}/{item}/`` to the collection and the catalogue."""
        geometry, box = footprint(self.grid)
        above = "../../../"
        links = [
            {"rel": "root", "href": f"{above}../{CATALOGUE}", "type": "application/json"},
            {"rel": "parent", "href": f"{above}{COLLECTION}", "type": "application/json"},
            {"rel": "collection", "href": f"{above}{COLLECTION}", "type": "application/json"},
        ]
        seen = any(name.startswith("view:") for name in self.properties)
        return {
            "type": "Feature",
            "stac_version": STAC_VERSION,
            "stac_extensions": [each for each in EXTENSIONS if seen or "/view/" not in each],
            "id": self.name,
            "geometry": geometry,
            "bbox": box,
            "properties": {**self.properties, "renders": self.renders},
            "links": [*links, *self.sources],
            "assets": self.assets,
            "collection": collection,
        }


def footprint(grid: Grid) -> tuple[dict[str, Any], list[float]]:
    """A grid as GeoJSON geometry and bbox; across the 180th meridian as RFC 7946 says."""
    west, south, east, north = grid.bounds
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    to_degrees = Transformer.from_crs(grid.epsg, 4326, always_xy=True)
    ring = [to_degrees.transform(*corner) for corner in corners]
    # Seven decimals of a degree are a centimetre, and keep the last bits of PROJ out of the file.
    return geojson_of_ring(ring, digits=7)


def place(grid: Grid) -> dict[str, Any]:
    """Properties that say where the pixels lie."""
    return {
        "gsd": grid.resolution,
        "proj:code": f"EPSG:{grid.epsg}",
        "proj:epsg": grid.epsg,
        "proj:transform": list(grid.transform)[:6],
        "proj:shape": list(grid.shape),
    }


def processing(model: str, scene: str, software: Mapping[str, Any] | None) -> dict[str, Any]:
    """Properties that say what made the item."""
    made_by = software or {"canopyflow": __version__}
    return {
        "processing:level": LEVEL,
        "processing:lineage": f"canopyflow, model {model}, from {scene}",
        "processing:software": {str(name): str(version) for name, version in sorted(made_by.items())},
    }


def map_asset(sheet: Sheet, numbers: Numbers, resolution: float) -> dict[str, Any]:
    """The asset of a written COG."""
    band: dict[str, Any] = {
        "name": sheet.name,
        "data_type": np.dtype(numbers.dtype).name,
        "sampling": "area",
        "spatial_resolution": resolution,
    }
    if numbers.nodata is not None:
        band["nodata"] = "nan" if math.isnan(numbers.nodata) else int(numbers.nodata)
    if (numbers.scale, numbers.offset) != (1.0, 0.0):
        band |= {"scale": numbers.scale, "offset": numbers.offset}
    if sheet.unit:
        band["unit"] = sheet.unit
    return {
        "href": f"./{sheet.path.name}",
        "type": COG_TYPE,
        "title": sheet.title,
        "roles": ["data"] if numbers.nodata is not None else ["metadata"],
        # STAC 1.1 itself knows these three, and nothing of scale and offset.
        **{key: band[key] for key in ("data_type", "nodata", "unit") if key in band},
        "raster:bands": [band],
        **of_file(sheet.path),
    }


def of_file(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, for its asset."""
    return {"file:size": path.stat().st_size, "file:checksum": multihash(path)}


def bitfields(bits: Mapping[str, int] = FLAGS) -> list[dict[str, Any]]:
    """The bits of ``flags`` in the words of the classification extension."""
    return [
        {
            "name": name,
            "description": FLAG_MEANINGS.get(name, name),
            "offset": bit.bit_length() - 1,
            "length": 1,
            "classes": [{"value": 0, "name": "no"}, {"value": 1, "name": "yes"}],
        }
        for name, bit in bits.items()
    ]


def render(asset: str, style: Style, numbers: Numbers) -> dict[str, Any]:
    """How a tile server draws an asset. Its range is one of stored numbers, as tile servers take it."""
    ends = [(value - numbers.offset) / numbers.scale for value in (style.least, style.most)]
    block: dict[str, Any] = {
        "title": style.caption,
        "assets": [asset],
        "rescale": [[round(end) if numbers.scale != 1.0 else end for end in ends]],
        "colormap_name": style.ramp,
    }
    if numbers.nodata is not None and math.isfinite(numbers.nodata):
        block["nodata"] = int(numbers.nodata)
    return block


def derived_from(href: str, name: str) -> dict[str, str]:
    """Link to the STAC item of the source scene."""
    return {"rel": "derived_from", "href": href, "type": "application/geo+json", "title": name}


def shares_of_flags(histogram: Mapping[int, int]) -> dict[str, float]:
    """Share of the pixels with a posterior that carry each flag, of those that any pixel carries."""
    clear = {number: count for number, count in histogram.items() if not number & FLAGS["masked"]}
    total = sum(clear.values())
    counts = {name: sum(n for number, n in clear.items() if number & bit) for name, bit in FLAGS.items()}
    return {name: round(count / total, 4) for name, count in counts.items() if count}
