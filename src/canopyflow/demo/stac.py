"""STAC items and static catalogue of the demo, in the conventions of the Planetary Computer.

As there, nothing declares the offset of the digital numbers: it has to be
inferred from ``s2:processing_baseline``.
"""

from datetime import datetime, timedelta
from typing import Any

import numpy as np

from canopyflow.demo.acquisitions import REPROCESSED, Acquisition, sun_position
from canopyflow.demo.scenes import resolution
from canopyflow.demo.spectra import BANDS
from canopyflow.demo.tiles import Tile, transform_points

COLLECTION = "sentinel-2-l2a"
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
# common name, title, centre and width in micrometres
_BAND_FACTS: dict[str, tuple[str, str, float, float]] = {
    "B02": ("blue", "Blue", 0.490, 0.098),
    "B03": ("green", "Green", 0.560, 0.045),
    "B04": ("red", "Red", 0.665, 0.038),
    "B05": ("rededge", "Vegetation red edge 1", 0.704, 0.019),
    "B06": ("rededge", "Vegetation red edge 2", 0.740, 0.018),
    "B07": ("rededge", "Vegetation red edge 3", 0.783, 0.028),
    "B08": ("nir", "NIR", 0.842, 0.145),
    "B8A": ("rededge", "Vegetation red edge 4", 0.865, 0.033),
    "B11": ("swir16", "SWIR (1.6)", 1.610, 0.143),
    "B12": ("swir22", "SWIR (2.2)", 2.190, 0.242),
}
_SCL_PERCENTAGES = {
    "s2:dark_features_percentage": 2,
    "s2:cloud_shadow_percentage": 3,
    "s2:vegetation_percentage": 4,
    "s2:not_vegetated_percentage": 5,
    "s2:water_percentage": 6,
    "s2:unclassified_percentage": 7,
    "s2:medium_proba_clouds_percentage": 8,
    "s2:high_proba_clouds_percentage": 9,
    "s2:thin_cirrus_percentage": 10,
    "s2:snow_ice_percentage": 11,
}
# Absolute orbit of each platform on 2021-03-10; 143 orbits make a ten-day cycle.
_ABSOLUTE_ORBIT = {"S2A": 29856, "S2B": 20948}


def generated(acquisition: Acquisition, baseline: str) -> datetime:
    """When an edition was processed: four hours after the pass, or in the reprocessing of 2023."""
    if baseline == REPROCESSED:
        return datetime(2023, 2, 1, 3) + timedelta(hours=3 * acquisition.day_of_year, seconds=1117)
    return acquisition.overhead + timedelta(hours=4, seconds=31)


def item_id(acquisition: Acquisition, tile: str, baseline: str) -> str:
    """Id of an edition of a tile of a datatake."""
    return (
        f"{acquisition.platform}_MSIL2A_{acquisition.started:%Y%m%dT%H%M%S}_R{acquisition.orbit.number:03d}"
        f"_T{tile}_{generated(acquisition, baseline):%Y%m%dT%H%M%S}"
    )


def _absolute_orbit(acquisition: Acquisition) -> int:
    days = (acquisition.started - datetime(2021, 3, 10)).days
    return _ABSOLUTE_ORBIT[acquisition.platform] + round(14.3 * days)


def granule_id(acquisition: Acquisition, tile: str, baseline: str) -> str:
    """Id of the granule, as in ``s2:granule_id`` and the granule metadata."""
    return (
        f"{acquisition.platform}_OPER_MSI_L2A_TL_DEMO_{generated(acquisition, baseline):%Y%m%dT%H%M%S}"
        f"_A{_absolute_orbit(acquisition):06d}_T{tile}_N{baseline}"
    )


def scl_percentages(scl: np.ndarray) -> dict[str, float]:
    """Shares of the scene classes in percent of the observed pixels, and of nodata in percent of all."""
    observed = scl[scl > 0]
    shares = {
        name: round(100 * float(np.mean(observed == value)), 6) for name, value in _SCL_PERCENTAGES.items()
    }
    cover = round(100 * float(np.isin(observed, (8, 9, 10)).mean()), 6)
    nodata = round(100 * float(np.mean(scl == 0)), 6)
    return {"eo:cloud_cover": cover, "s2:nodata_pixel_percentage": nodata, **shares}


def _properties(acquisition: Acquisition, tile: Tile, baseline: str, scl: np.ndarray) -> dict[str, Any]:
    started, name = acquisition.started, acquisition.platform
    made = generated(acquisition, baseline)
    centre = (tile.ulx + 5.0 * tile.size, tile.uly - 5.0 * tile.size)
    lonlat = transform_points(np.array(centre[0]), np.array(centre[1]), tile.epsg, 4326)
    zenith, azimuth = sun_position(acquisition.overhead, *lonlat)
    compact = baseline.replace(".", "")
    return {
        "datetime": f"{started:%Y-%m-%dT%H:%M:%S}.024Z",
        "platform": f"Sentinel-{name[1:]}",
        "constellation": "Sentinel 2",
        "instruments": ["msi"],
        "proj:epsg": tile.epsg,
        "proj:bbox": list(tile.bounds),
        "proj:shape": list(tile.shape(10)),
        "proj:transform": [10.0, 0.0, tile.ulx, 0.0, -10.0, tile.uly],
        "s2:mgrs_tile": tile.name,
        "s2:granule_id": granule_id(acquisition, tile.name, baseline),
        "s2:datatake_id": f"G{name}_{started:%Y%m%dT%H%M%S}_{_absolute_orbit(acquisition):06d}_N{baseline}",
        "s2:product_uri": f"{name}_MSIL2A_{started:%Y%m%dT%H%M%S}_N{compact}_R{acquisition.orbit.number:03d}"
        f"_T{tile.name}_{made:%Y%m%dT%H%M%S}.SAFE",
        "s2:product_type": "S2MSI2A",
        "s2:datatake_type": "INS-NOBS",
        "s2:processing_baseline": baseline,
        "s2:generation_time": f"{made:%Y-%m-%dT%H:%M:%S}.000000Z",
        "sat:orbit_state": "descending",
        "sat:relative_orbit": acquisition.orbit.number,
        "s2:mean_solar_zenith": round(float(zenith), 6),
        "s2:mean_solar_azimuth": round(float(azimuth), 6),
        **scl_percentages(scl),
    }


def _raster_asset(tile: Tile, href: str, metres: int, title: str) -> dict[str, Any]:
    return {
        "href": href,
        "type": _COG,
        "roles": ["data"],
        "title": title,
        "gsd": float(metres),
        "proj:bbox": list(tile.bounds),
        "proj:shape": list(tile.shape(metres)),
        "proj:transform": [float(metres), 0.0, tile.ulx, 0.0, -float(metres), tile.uly],
    }


def _assets(tile: Tile) -> dict[str, Any]:
    """The assets of an item, hrefs (bare file names) relative to the item's own folder."""
    assets = {}
    for band in BANDS:
        common, title, centre, width = _BAND_FACTS[band]
        number = band[1:].lstrip("0")
        asset = _raster_asset(
            tile, f"{band}.tif", resolution(band), f"Band {number} - {title} - {resolution(band)}m"
        )
        asset["eo:bands"] = [
            {"name": band, "common_name": common, "center_wavelength": centre, "full_width_half_max": width}
        ]
        assets[band] = asset
    assets["SCL"] = _raster_asset(tile, "SCL.tif", 20, "Scene classification map (SCL)")
    assets["granule-metadata"] = {
        "href": "MTD_TL.xml",
        "type": "application/xml",
        "roles": ["metadata"],
        "title": "Granule metadata",
    }
    return assets


def make_item(acquisition: Acquisition, tile: Tile, baseline: str, scl: np.ndarray) -> dict[str, Any]:
    """The STAC item of one edition of one tile, asset hrefs relative to the item's folder, no links."""
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            f"https://stac-extensions.github.io/{name}/v1.0.0/schema.json"
            for name in ("eo", "sat", "projection")
        ],
        "id": item_id(acquisition, tile.name, baseline),
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [[list(corner) for corner in tile.ring()]]},
        "bbox": list(tile.bbox()),
        "properties": _properties(acquisition, tile, baseline, scl),
        "links": [],
        "assets": _assets(tile),
    }


def rebased(item: dict[str, Any], folder: str) -> dict[str, Any]:
    """A copy of an item whose asset hrefs are seen from the archive's own folder."""
    assets = {key: {**asset, "href": f"{folder}/{asset['href']}"} for key, asset in item["assets"].items()}
    return {**item, "links": [], "assets": assets}


def _link(rel: str, href: str, media: str = "application/json") -> dict[str, str]:
    return {"rel": rel, "href": href, "type": media}


def linked(item: dict[str, Any]) -> dict[str, Any]:
    """The item as its own file in the static catalogue: links upwards."""
    links = [
        _link("root", "../../catalog.json"),
        _link("parent", "../collection.json"),
        _link("collection", "../collection.json"),
    ]
    return {**item, "links": links}


def make_catalog() -> dict[str, Any]:
    """The root of the static catalogue."""
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "canopyflow-demo",
        "title": "canopyflow demo archive",
        "description": "Synthetic Sentinel-2 L2A scenes of an invented landscape; no real observation.",
        "links": [_link("root", "./catalog.json"), _link("child", f"./{COLLECTION}/collection.json")],
    }


def make_collection(items: list[dict[str, Any]]) -> dict[str, Any]:
    """The collection with the extent of ``items`` and links to them."""
    boxes = np.array([item["bbox"] for item in items])
    times = sorted(item["properties"]["datetime"] for item in items)
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": COLLECTION,
        "title": "Sentinel-2 Level-2A (synthetic)",
        "description": "Surface reflectance with scene classification, made by canopyflow demo.",
        "license": "Apache-2.0",
        "extent": {
            "spatial": {"bbox": [[*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist()]]},
            "temporal": {"interval": [[times[0], times[-1]]]},
        },
        "links": [
            _link("root", "../catalog.json"),
            _link("parent", "../catalog.json"),
            *(_link("item", f"./{item['id']}/{item['id']}.json", "application/geo+json") for item in items),
        ],
    }
