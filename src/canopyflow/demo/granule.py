"""Granule metadata (``MTD_TL.xml``) with sun and view angle grids, in the structure of a real L2A granule.

The grids have a node every 5 km from the upper left corner, rows southwards.
View angles come per band and detector; outside a detector's strip they are
NaN. The tile's few hundred pixels lie between the first nodes, inside strip 5.
"""

import xml.etree.ElementTree as ET

import numpy as np

from canopyflow.demo.acquisitions import Acquisition, sun_position
from canopyflow.demo.tiles import Tile, transform_points

STEP = 5000
NODES = 5
_NAMESPACE = "https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd"
_BAND_IDS = 13
# Detector strips as node columns, and how far their azimuth stands off the orbit's: the staggered
# detectors look a little ahead or behind in turn.
_DETECTORS = ((5, slice(0, 3), 0.0), (6, slice(2, NODES), -9.0))
_ZENITH_PER_KM = 0.072
"""Change of the view zenith angle across the track, degrees per km at 786 km altitude."""


def sun_grid(acquisition: Acquisition, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    """Sun zenith and azimuth at the nodes, (NODES, NODES) degrees each."""
    x, y = np.meshgrid(tile.ulx + STEP * np.arange(NODES), tile.uly - STEP * np.arange(NODES))
    return sun_position(acquisition.overhead, *transform_points(x, y, tile.epsg, 4326))


def view_grid(
    acquisition: Acquisition, tile: Tile, band: int, detector: int
) -> tuple[np.ndarray, np.ndarray]:
    """View zenith and azimuth of band id 0-12 by a detector, (NODES, NODES) degrees, NaN off its strip."""
    _, strip, turn = _DETECTORS[detector]
    orbit = acquisition.orbit
    east = (STEP * np.arange(NODES) - tile.bounds[2] / 2 + tile.bounds[0] / 2) / 1000
    # The satellite stands in the direction of the view azimuth; going there lowers the zenith angle.
    slope = -_ZENITH_PER_KM * np.sign(np.sin(np.radians(orbit.view_azimuth)))
    zenith = np.full((NODES, NODES), np.nan)
    zenith[:, strip] = (orbit.view_zenith + slope * east + 0.01 * (band - 6))[strip]
    azimuth = np.where(np.isnan(zenith), np.nan, orbit.view_azimuth + turn + 0.15 * (band - 6))
    return zenith, azimuth


def _element(parent: ET.Element, tag: str, text: object = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    if text is not None:
        element.text = str(text)
    return element


def _grid(parent: ET.Element, tag: str, values: np.ndarray) -> None:
    grid = _element(parent, tag)
    _element(grid, "COL_STEP", STEP, unit="m")
    _element(grid, "ROW_STEP", STEP, unit="m")
    rows = _element(grid, "Values_List")
    for row in values:
        _element(rows, "VALUES", " ".join("NaN" if np.isnan(v) else f"{v:.4f}" for v in row))


def _mean_angles(parent: ET.Element, tag: str, zenith: float, azimuth: float, **attributes: str) -> None:
    mean = _element(parent, tag, **attributes)
    _element(mean, "ZENITH_ANGLE", f"{zenith:.6f}", unit="deg")
    _element(mean, "AZIMUTH_ANGLE", f"{azimuth:.6f}", unit="deg")


def _general(root: ET.Element, acquisition: Acquisition, granule_id: str, baseline: str) -> None:
    info = _element(root, "n1:General_Info")
    _element(info, "TILE_ID", granule_id, metadataLevel="Brief")
    _element(info, "DATASTRIP_ID", f"{granule_id[:20]}DS_N{baseline}", metadataLevel="Standard")
    _element(info, "DOWNLINK_PRIORITY", "NOMINAL", metadataLevel="Standard")
    sensed = f"{acquisition.overhead:%Y-%m-%dT%H:%M:%S}.000000Z"
    _element(info, "SENSING_TIME", sensed, metadataLevel="Standard")


def _geocoding(geometric: ET.Element, tile: Tile) -> None:
    geocoding = _element(geometric, "Tile_Geocoding", metadataLevel="Brief")
    _element(geocoding, "HORIZONTAL_CS_NAME", f"WGS84 / UTM zone {tile.epsg % 100}N")
    _element(geocoding, "HORIZONTAL_CS_CODE", f"EPSG:{tile.epsg}")
    for metres in (10, 20, 60):
        rows, columns = tile.shape(metres)
        size = _element(geocoding, "Size", resolution=str(metres))
        _element(size, "NROWS", rows)
        _element(size, "NCOLS", columns)
    for metres in (10, 20, 60):
        position = _element(geocoding, "Geoposition", resolution=str(metres))
        for tag, value in (("ULX", tile.ulx), ("ULY", tile.uly), ("XDIM", metres), ("YDIM", -metres)):
            _element(position, tag, int(value))


def _angles(geometric: ET.Element, acquisition: Acquisition, tile: Tile) -> None:
    angles = _element(geometric, "Tile_Angles", metadataLevel="Standard")
    sun = _element(angles, "Sun_Angles_Grid")
    sun_zenith, sun_azimuth = sun_grid(acquisition, tile)
    _grid(sun, "Zenith", sun_zenith)
    _grid(sun, "Azimuth", sun_azimuth)
    _mean_angles(angles, "Mean_Sun_Angle", sun_zenith.mean(), sun_azimuth.mean())
    means = []
    for band in range(_BAND_IDS):
        views = [view_grid(acquisition, tile, band, d) for d in range(len(_DETECTORS))]
        for (number, _, _), (zenith, azimuth) in zip(_DETECTORS, views, strict=True):
            grids = _element(
                angles, "Viewing_Incidence_Angles_Grids", bandId=str(band), detectorId=str(number)
            )
            _grid(grids, "Zenith", zenith)
            _grid(grids, "Azimuth", azimuth)
        means.append((np.nanmean([z for z, _ in views]), np.nanmean([a for _, a in views])))
    listed = _element(angles, "Mean_Viewing_Incidence_Angle_List")
    for band, (zenith_mean, azimuth_mean) in enumerate(means):
        _mean_angles(
            listed, "Mean_Viewing_Incidence_Angle", float(zenith_mean), float(azimuth_mean), bandId=str(band)
        )


def granule_metadata(
    acquisition: Acquisition, tile: Tile, granule_id: str, baseline: str, cloud_cover: float
) -> bytes:
    """The XML document of a granule, UTF-8."""
    root = ET.Element("n1:Level-2A_Tile_ID", {"xmlns:n1": _NAMESPACE})
    _general(root, acquisition, granule_id, baseline)
    geometric = _element(root, "n1:Geometric_Info")
    _geocoding(geometric, tile)
    _angles(geometric, acquisition, tile)
    quality = _element(root, "n1:Quality_Indicators_Info", metadataLevel="Standard")
    content = _element(quality, "Image_Content_QI")
    _element(content, "CLOUDY_PIXEL_PERCENTAGE", f"{cloud_cover:.6f}")
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="UTF-8", xml_declaration=True))
