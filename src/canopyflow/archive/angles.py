"""Sun and view angles of a scene on a coarse grid: granule metadata, item properties, or computed.

Degrees; azimuths from north, clockwise, towards the sun and towards the sensor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from defusedxml import ElementTree
from pyproj import Transformer
from scipy import ndimage

from canopyflow.archive.directions import Array, Direction, interpolate, mean_direction
from canopyflow.archive.evidence import ANGLES_ASSUMED, Evidence
from canopyflow.archive.grid import Grid, node_weights, nodes
from canopyflow.archive.items import Item, acquired
from canopyflow.archive.sun import solar_position
from canopyflow.errors import ArchiveError

SPACING = 5000.0
"""Node distance of the granule metadata, metres (COL_STEP, ROW_STEP)."""

WIDEST_VIEW = 20.0
"""Degrees from the zenith beyond which no pixel of Sentinel-2 is seen (the swath's edge is at 12)."""

BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Band of each ``bandId`` (Sentinel-2 Products Specification Document, A_PHYSICAL_BAND)."""


@dataclass(frozen=True)
class GranuleAngles:
    """Angles of one granule: nodes ``x`` (nx,) and ``y`` (ny,) in ``epsg``, arrays (ny, nx).

    ``view`` is NaN where no detector looked; ``mean_sun`` and ``mean_view`` are the
    file's own tile means, scalars, NaN where absent.
    """

    epsg: int
    x: Array
    y: Array
    sun: Direction
    view: Direction
    mean_sun: Direction
    mean_view: Direction


@dataclass(frozen=True)
class SceneAngles:
    """Angles at the nodes (y_angle, x_angle) of a scene grid, and where they come from.

    ``assumed``: a sentence about those that nobody gives, empty where all are known.
    """

    sun: Direction
    view: Direction
    source: str
    assumed: str = ""

    def evidence(self) -> Evidence | None:
        """For the record of the scene, where an angle is assumed."""
        return Evidence(ANGLES_ASSUMED, self.assumed) if self.assumed else None


def angle_nodes(grid: Grid) -> tuple[Array, Array]:
    """Positions (y_angle, x_angle) of the coarse nodes of ``grid``: y falling, at least 2 by 2."""
    xmin, ymin, xmax, ymax = grid.bounds
    return nodes(ymin, ymax, SPACING)[::-1], nodes(xmin, xmax, SPACING)


def _values(element: Any) -> Array:
    return np.array([[float(v) for v in row.text.split()] for row in element.iter("VALUES")])


def _pair(element: Any) -> tuple[Array, Array]:
    return _values(element.find("Zenith")), _values(element.find("Azimuth"))


def _mean_of(elements: Sequence[Any]) -> Direction:
    pairs = [(float(e.find("ZENITH_ANGLE").text), float(e.find("AZIMUTH_ANGLE").text)) for e in elements]
    if not pairs:
        return Direction(np.array(np.nan), np.array(np.nan))
    table = np.array(pairs)
    return mean_direction(table[:, 0], table[:, 1])


def parse_granule(xml: bytes, bands: Sequence[str], name: str = "granule metadata") -> GranuleAngles:
    """Angles of an MTD_TL.xml, view angles merged over detectors and averaged over ``bands``.

    Raises:
        ArchiveError: not XML, or without the angle block.
    """
    try:
        root = ElementTree.fromstring(xml)
        epsg = int(root.find(".//HORIZONTAL_CS_CODE").text.rpartition(":")[2])
        place = root.find(".//Geoposition[@resolution='10']")
        west, north = float(place.find("ULX").text), float(place.find("ULY").text)
        block = root.find(".//Tile_Angles")
        sun = Direction(*_pair(block.find("Sun_Angles_Grid")))
        used = [e for e in block.iter("Viewing_Incidence_Angles_Grids") if _band(e) in bands]
        view = _merged_view(used, sun.zenith.shape)
        means = [e for e in block.iter("Mean_Viewing_Incidence_Angle") if _band(e) in bands]
        mean_sun = _mean_of(list(block.iter("Mean_Sun_Angle")))
        mean_view = _mean_of(means)
    except Exception as error:  # malformed XML, forbidden entities, missing elements, text that is no number
        raise ArchiveError(f"{name} cannot be read: {error}") from error
    rows, columns = sun.zenith.shape
    x, y = west + SPACING * np.arange(columns, dtype=float), north - SPACING * np.arange(rows, dtype=float)
    return GranuleAngles(epsg, x, y, sun, view, mean_sun, mean_view)


def _band(element: Any) -> str:
    return BAND_IDS[int(element.get("bandId"))]


def _merged_view(elements: Sequence[Any], shape: tuple[int, ...]) -> Direction:
    """Mean over the detectors of each band, then over bands: one with many detectors weighs no more."""
    per_band: dict[str, list[tuple[Array, Array]]] = {}
    for element in elements:
        per_band.setdefault(_band(element), []).append(_pair(element))
    merged = [
        mean_direction(np.stack([z for z, _ in pairs]), np.stack([a for _, a in pairs]))
        for _, pairs in sorted(per_band.items())
    ]
    if not merged:
        return Direction(np.full(shape, np.nan), np.full(shape, np.nan))
    return mean_direction(np.stack([m.zenith for m in merged]), np.stack([m.azimuth for m in merged]))


def _filled(values: Direction) -> Direction | None:
    """Missing nodes take the nearest known one; None where nothing is known."""
    missing = ~(np.isfinite(values.zenith) & np.isfinite(values.azimuth))
    if missing.all():
        return None
    nearest = tuple(ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True))
    return Direction(values.zenith[nearest], values.azimuth[nearest])


def scene_angles(
    item: Item, grid: Grid, granule: GranuleAngles | None, view_zenith_if_unknown: float
) -> SceneAngles:
    """Angles of ``item`` at the nodes of ``grid`` (see :func:`angle_nodes`), from the best source there is.

    Granule metadata, else item properties, else (sun) computed from time and place
    and (view) ``view_zenith_if_unknown`` degrees at right angles to the sun, the
    choice that favours neither hot spot nor dark side.

    Raises:
        ArchiveError: the granule metadata are of another place; angles of their edge would be wrong ones.
    """
    if granule is not None:
        _check_place(granule, grid, item)
    y, x = angle_nodes(grid)
    sun, sun_source = _sun(item, grid, granule, y, x)
    view, view_source = _view(item, grid, granule, y, x)
    assumed = ""
    if view is None:
        assumed = f"nobody gives view angles: {view_zenith_if_unknown:g} degrees from the zenith assumed"
        view = Direction(np.full(sun.zenith.shape, view_zenith_if_unknown), (sun.azimuth + 90.0) % 360.0)
        view_source = f"assumed {view_zenith_if_unknown:g} degrees, 90 degrees from the sun"
    return SceneAngles(sun, view, f"sun: {sun_source}; view: {view_source}", assumed)


def _check_place(granule: GranuleAngles, grid: Grid, item: Item) -> None:
    west, south, east, north = grid.bounds
    reach = SPACING
    inside = (
        granule.x.min() - reach <= west
        and east <= granule.x.max() + reach
        and granule.y.min() - reach <= south
        and north <= granule.y.max() + reach
    )
    if granule.epsg != grid.epsg or not inside:
        raise ArchiveError(f"granule-metadata of {item['id']} are of another place than its pixels")


def _from_granule(
    granule: GranuleAngles, values: Direction, grid: Grid, y: Array, x: Array
) -> Direction | None:
    filled = _filled(values)
    if filled is None:
        return None
    return interpolate(filled, node_weights(y, granule.y), node_weights(x, granule.x))


def _constant(zenith: float, azimuth: float, y: Array, x: Array) -> Direction:
    return Direction(np.full((len(y), len(x)), zenith), np.full((len(y), len(x)), azimuth % 360.0))


def _number(value: object) -> float | None:
    """A finite number, also written as text; None where there is none (null, "n/a", NaN)."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _stated(item: Item, *names: str) -> float | None:
    """The first of these properties that is a number."""
    numbers = (_number(item["properties"].get(name)) for name in names)
    return next((number for number in numbers if number is not None), None)


def _stated_sun(item: Item) -> tuple[float, float] | None:
    """Zenith and azimuth of the sun among the properties; None where one is missing or it has set."""
    elevation = _stated(item, "view:sun_elevation")
    zenith = _stated(item, "s2:mean_solar_zenith") if elevation is None else 90.0 - elevation
    azimuth = _stated(item, "view:sun_azimuth", "s2:mean_solar_azimuth")
    return (zenith, azimuth) if zenith is not None and azimuth is not None and 0 <= zenith < 90 else None


def _stated_view(item: Item) -> tuple[float, float] | None:
    """Zenith and azimuth of the view among the properties, else the mean over the assets that state theirs.

    What lies beyond the swath is a placeholder (the extension's own example says 90).
    """
    for sources in ([item["properties"]], list(item["assets"].values())):
        pairs = [pair for source in sources if (pair := _view_of(source)) is not None]
        if pairs:
            mean = mean_direction(*np.array(pairs).T)
            return float(mean.zenith), float(mean.azimuth)
    return None


def _view_of(source: dict[str, Any]) -> tuple[float, float] | None:
    incidence, nadir, azimuth = (
        _number(source.get(f"view:{name}")) for name in ("incidence_angle", "off_nadir", "azimuth")
    )
    zenith = nadir if incidence is None else incidence
    if zenith is None or azimuth is None or not 0 <= zenith <= WIDEST_VIEW:
        return None
    return zenith, azimuth


def _sun(item: Item, grid: Grid, granule: GranuleAngles | None, y: Array, x: Array) -> tuple[Direction, str]:
    if granule is not None:
        found = _from_granule(granule, granule.sun, grid, y, x)
        if found is not None:
            return found, "granule metadata"
    stated = _stated_sun(item)
    if stated is not None:
        return _constant(*stated, y, x), "item properties"
    to_degrees = Transformer.from_crs(grid.epsg, 4326, always_xy=True)
    longitude, latitude = to_degrees.transform(*np.meshgrid(x, y))
    return Direction(*solar_position(acquired(item), longitude, latitude)), "computed"


def _view(
    item: Item, grid: Grid, granule: GranuleAngles | None, y: Array, x: Array
) -> tuple[Direction | None, str]:
    if granule is not None:
        found = _from_granule(granule, granule.view, grid, y, x)
        if found is not None:
            return found, "granule metadata"
        if np.isfinite(granule.mean_view.zenith):
            mean = granule.mean_view
            return _constant(float(mean.zenith), float(mean.azimuth), y, x), "granule metadata, tile mean"
    stated = _stated_view(item)
    return (None, "") if stated is None else (_constant(*stated, y, x), "item properties")
