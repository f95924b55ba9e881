"""Reading a Sentinel-2 STAC item whatever catalogue wrote it: tile, platform, baseline, extent, assets.

Catalogues name the same things differently (``B04``, ``red``, ``red-jp2``, ``B04_10m``; ``s2:mgrs_tile``,
``grid:code``, ``sentinel:utm_zone``; ``05.11``, ``N0511``, 5.11). Everything that knows such spellings is in
this module.
"""

import math
import posixpath
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from canopyflow.archive import footprint, mgrs
from canopyflow.archive.addresses import REMOTE, is_address, without_secrets
from canopyflow.archive.grid import Bounds, project_area

Item = dict[str, Any]

SCL = "SCL"
GRANULE_METADATA = "granule-metadata"
PRODUCT_METADATA = "product-metadata"

COMMON_NAMES = {
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge1",
    "B06": "rededge2",
    "B07": "rededge3",
    "B08": "nir",
    "B8A": "nir08",
    "B11": "swir16",
    "B12": "swir22",
    SCL: "scl",
}
"""Asset keys of earth-search v1 (https://earth-search.aws.element84.com/v1)."""

OTHER_KEYS = {
    GRANULE_METADATA: ("granule_metadata", "metadata", "mtd_tl"),
    PRODUCT_METADATA: ("product_metadata", "mtd_msil2a"),
}
"""Further asset keys of the metadata; sentinel-cogs v0 calls that of the granule plainly ``metadata``."""

PIXEL_SIZES = (5.0, 1000.0)
"""Metres within which a pixel of a Sentinel-2 band can be believed: 10 to 60, or a reduced copy."""


class Unusable(Exception):
    """Why an item or one of its assets cannot be used: a sentence for ``lock.rejected``."""


def item_href(item: Item) -> str | None:
    """The item's own address in its catalogue; None where a local archive's item has none that lasts."""
    return next((str(link["href"]) for link in item["links"] if link["rel"] == "self"), None)


def _property(item: Item, *names: str) -> str:
    """The first of these properties that has a value, as text; empty where none has."""
    found = (item["properties"].get(name) for name in names)
    return next((str(value) for value in found if value not in (None, "")), "")


def acquired(item: Item) -> datetime:
    """Acquisition time, UTC; the start of the interval where ``datetime`` is null."""
    text = _property(item, "datetime", "start_datetime")
    if not text:
        raise Unusable("the item has no datetime")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Unusable(f"its datetime {text[:40]!r} is none") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def mgrs_tile(item: Item) -> str:
    """MGRS tile, zone with two digits: ``32TMT``."""
    for prefix in ("mgrs", "sentinel"):
        parts = [_property(item, f"{prefix}:{name}") for name in ("utm_zone", "latitude_band", "grid_square")]
        if parts[0] and parts[2]:
            return _tile("".join(parts))
    code = _property(item, "s2:mgrs_tile", "sentinel2:mgrs_tile", "grid:code", "tileId")
    if code:
        return _tile(code)
    for text in (item["id"], product_name(item)):
        named = re.search(r"_T?([0-9]{1,2}[A-Z]{3})(?:_|$)", text)
        if named:
            return _tile(named[1])
    raise Unusable("neither properties nor id name an MGRS tile")


def _tile(code: str) -> str:
    try:
        return mgrs.tile_name(code)
    except ValueError as error:
        raise Unusable(str(error)) from None


def platform(item: Item) -> str:
    """``S2A``, ``S2B`` or ``S2C``; from the names of product and item where the property says no more."""
    text = _property(item, "platform")
    name = re.sub(r"[^A-Z0-9]", "", text.upper())
    found = re.fullmatch(r"(?:SENTINEL2|S2|2)([A-C])", name)
    if not found and name in ("", "SENTINEL2", "S2"):
        found = re.match(r"S2([A-C])(?=_)", product_name(item)) or re.match(r"S2([A-C])(?=_)", item["id"])
    if not found:
        raise Unusable(f"platform {text or 'missing'} is not Sentinel-2 A, B or C")
    return f"S2{found[1]}"


def baseline(item: Item) -> str:
    """Processing baseline as ``04.00``, from the properties or the product name; empty where unknown."""
    names = ("s2", "sentinel2", "sentinel")
    text = _property(item, *(f"{name}:processing_baseline" for name in names), "processing:version")
    text = text.strip().removeprefix("N")
    if found := re.fullmatch(r"(\d{1,2})\.(\d{1,2})", text):
        # A number has lost its zeros: 5.1 is the baseline 05.10.
        return f"{found[1].zfill(2)}.{found[2].ljust(2, '0')}"
    if re.fullmatch(r"\d{1,2}", text):
        return f"{text.zfill(2)}.00"
    found = re.fullmatch(r"(\d{2})(\d{2})", text) or re.search(r"_N(\d{2})(\d{2})(?:_|$)", product_name(item))
    return f"{found[1]}.{found[2]}" if found else ""


def product_name(item: Item) -> str:
    """Name of the SAFE product where known, else the id."""
    names = ("s2:product_uri", "sentinel2:product_title", "sentinel:product_id", "s2:product_id", "title")
    found = (_property(item, name) for name in names)
    return next((name for name in found if "_MSIL2A_" in name), str(item["id"]))


def datatake(item: Item) -> str:
    """Platform and start of the datatake; equal for all editions of one acquisition.

    ``s2:datatake_id`` itself ends in the baseline and so differs between editions.
    """
    text = _property(item, "s2:datatake_id", "eopf:datatake_id", "sentinel2:datatake_id")
    named = re.search(r"_(\d{8}T\d{6})_", text)
    named = named or re.search(r"_MSIL2A_(\d{8}T\d{6})_", product_name(item))
    return f"{platform(item)}_{named[1] if named else acquired(item).strftime('%Y%m%dT%H%M%S')}"


def datastrip_start(item: Item) -> datetime | None:
    """Sensing start of the datastrip: a tile cut by a strip's end comes as two complementary products."""
    text = _property(item, "s2:datastrip_id", "eopf:datastrip_id", "sentinel2:datastrip_id")
    found = re.search(r"_S(\d{8}T\d{6})_", text)
    return datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) if found else None


def generation(item: Item) -> str:
    """Processing time as a sortable text, empty where unknown."""
    given = _property(item, "s2:generation_time", "sentinel2:generation_time", "processing:datetime")
    text = re.sub(r"[^0-9T]", "", given[:19])
    named = re.search(r"_(\d{8}T\d{6})(?:\.SAFE)?$", product_name(item))
    return text or (named[1] if named else "")


def epsg(item: Item, asset: dict[str, Any] | None = None) -> int:
    """EPSG code: ``proj:epsg``, ``proj:code`` (pystac >= 1.15 rewrites one to the other) or the MGRS zone."""
    for source in (asset or {}, item["properties"]):
        if source.get("proj:epsg"):
            return int(source["proj:epsg"])
        if str(source.get("proj:code") or "").startswith("EPSG:"):
            return int(source["proj:code"][5:])
    return mgrs.epsg_of(mgrs_tile(item))


def transform_of(item: Item, asset: dict[str, Any]) -> tuple[list[float], list[int]] | None:
    """``proj:transform`` and ``proj:shape`` (rows, columns) of an asset, or None where not given."""
    transform = asset.get("proj:transform") or item["properties"].get("proj:transform")
    shape = asset.get("proj:shape") or item["properties"].get("proj:shape")
    return (list(transform), list(shape)) if transform and shape else None


def check_placement(item: Item, asset: dict[str, Any], name: str) -> None:
    """Whether the grid of an asset, as far as it is given, can be read.

    Raises:
        Unusable: it is in degrees, turned or upside down, its pixels have a size that none of Sentinel-2 has,
            or the asset has another projection than the item.
    """
    code = epsg(item, asset)
    units = _units(code)
    if units != {"metre"}:
        said = f"in {'/'.join(sorted(units))} and not in metres" if units else "which is no projection"
        raise Unusable(f"asset {name}: its grid is EPSG:{code}, {said}")
    if code != epsg(item):
        raise Unusable(f"asset {name}: its grid is EPSG:{code}, that of the item EPSG:{epsg(item)}")
    placed = transform_of(item, asset)
    if placed is None:
        return
    numbers = [float(value) for value in placed[0]]
    if len(numbers) not in (6, 9) or len(placed[1]) != 2 or not all(map(math.isfinite, numbers)):
        raise Unusable(f"asset {name}: proj:transform and proj:shape are no transform and shape")
    a, b, _, d, e, _ = numbers[:6]
    if b or d or a < 0 or e > 0:
        raise Unusable(f"asset {name}: its pixels are turned or upside down (proj:transform {placed[0][:6]})")
    if not (PIXEL_SIZES[0] <= a <= PIXEL_SIZES[1] and math.isclose(a, -e, rel_tol=1e-6)):
        raise Unusable(f"asset {name}: pixels of {a:g} x {-e:g} m are none of Sentinel-2")
    if not all(float(size) == int(size) > 0 for size in placed[1]):
        raise Unusable(f"asset {name}: a raster of {placed[1]} pixels")


@cache
def _units(code: int) -> frozenset[str]:
    """Units of the axes of a coordinate reference system; none where there is no such system."""
    try:
        return frozenset(axis.unit_name for axis in CRS.from_epsg(code).axis_info)
    except CRSError:
        return frozenset()


def extent(item: Item, asset: dict[str, Any]) -> Bounds:
    """Bounds of an asset in the item's CRS; those of its tile or lon/lat box where no projection is given."""
    placed = transform_of(item, asset)
    if placed:
        (a, _, x0, _, e, y0), (rows, columns) = placed[0][:6], placed[1]
        return x0, y0 + e * rows, x0 + a * columns, y0
    given = asset.get("proj:bbox") or item["properties"].get("proj:bbox")
    if given:
        numbers = [float(value) for value in given]
        west, south, *_ = numbers
        east, north = numbers[len(numbers) // 2 :][:2]
        return west, south, east, north
    return project_area(_outline_given(item).bounds, epsg(item))


def outline(item: Item) -> BaseGeometry:
    """What the item covers, as a polygon of continuous longitudes (:mod:`canopyflow.archive.footprint`).

    From its geometry, else its bbox, else the grid of its assets.
    """
    if item.get("geometry") or item.get("bbox"):
        return _outline_given(item)
    for asset in item["assets"].values():
        if transform_of(item, asset) or asset.get("proj:bbox") or item["properties"].get("proj:bbox"):
            return footprint.around(extent(item, asset), epsg(item, asset))
    raise Unusable("it has neither geometry nor bbox, nor projection fields")


def _outline_given(item: Item) -> BaseGeometry:
    if item.get("geometry"):
        return footprint.joined(footprint.polygons_of(item["geometry"]))
    if item.get("bbox"):
        return footprint.box_of(item["bbox"])
    raise Unusable("it has neither geometry nor bbox, nor projection fields")


def asset_candidates(item: Item, name: str) -> Iterator[dict[str, Any]]:
    """Assets that may hold band ``name`` (or SCL, metadata), best first, and their alternates.

    By key, then by the one band that an asset says it has, then by title; GeoTIFF before JPEG 2000, fine
    before coarse pixels.
    """
    assets = item["assets"]
    found = [key for key in _keys(name) if key in assets]
    if name not in OTHER_KEYS:
        others = [key for key in assets if key not in found and _is_of(assets[key], name)]
        found += sorted(others, key=lambda key: (_is_jpeg(assets[key]), _coarseness(assets[key]), key))
    for key in found:
        yield assets[key]
        for other in (assets[key].get("alternate") or {}).values():
            if "href" in other:
                yield {**assets[key], **{k: v for k, v in other.items() if k in ("href", "type")}}


def _keys(name: str) -> list[str]:
    if name in OTHER_KEYS:
        return [name, *OTHER_KEYS[name]]
    common = COMMON_NAMES.get(name, name)
    sized = [f"{key}_{size}m" for size in (10, 20, 60) for key in (name, common)]
    return [name, common, name.lower(), *sized, f"{name}-jp2", f"{common}-jp2"]


def _is_of(asset: dict[str, Any], name: str) -> bool:
    """Whether an asset says that it holds band ``name`` (or SCL) and nothing else.

    The common name ``rededge`` stands for four bands and so names none.
    """
    bands = asset.get("eo:bands") or asset.get("bands") or []
    if len(bands) > 1:
        return False
    said = {str(band.get(key)) for band in bands for key in ("name", "common_name", "eo:common_name")}
    if said & {*COMMON_NAMES, *COMMON_NAMES.values()}:
        return name in said or (COMMON_NAMES.get(name) in said and not said & (COMMON_NAMES.keys() - {name}))
    title = str(asset.get("title") or "")
    if name == SCL:
        return bool(re.search(r"scene class?if|\bSCL\b", title, re.IGNORECASE))
    number = re.search(r"\bB(?:and)?\s*0?(\d{1,2}A?)\b", title, re.IGNORECASE)
    return number is not None and f"B{number[1].upper().zfill(2)}" == name


def _is_jpeg(asset: dict[str, Any]) -> bool:
    return "jp2" in f"{asset.get('type')} {asset.get('href')}".lower()


def _coarseness(asset: dict[str, Any]) -> float:
    transform = asset.get("proj:transform")
    return float(transform[0] if transform else asset.get("gsd") or math.inf)


def pin_href(href: str, folder: str | Path | None, base: Path | None) -> str:
    """The href to store: relative to ``base`` for files of the archive, else the address without secrets.

    ``folder`` is what a relative href refers to: a folder of the archive, or the address of a remote item.
    The check is lexical: ``..`` must not leave the archive, links that its owner placed inside it are the
    owner's. Signatures and keys are never kept (:mod:`canopyflow.archive.addresses`).

    Raises:
        Unusable: nothing here can read it.
    """
    if not isinstance(href, str) or not href.strip():
        # Joined to an item's own address, nothing would be that of the item.
        raise Unusable("it has no address")
    href = bucket_address(href)
    if isinstance(folder, str):
        href = urljoin(folder, href)
    try:
        parts = urlsplit(href)
    except ValueError:
        raise Unusable("its address cannot be read") from None
    if parts.scheme in REMOTE:
        if not parts.hostname:
            raise Unusable("its address names no host")
        return without_secrets(href)
    if parts.scheme not in ("", "file") or parts.netloc:
        # What has no host may be anything, such as user and password of an address without its scheme.
        kind = f"{parts.scheme}://" if parts.scheme and parts.netloc else "its address"
        raise Unusable(f"{kind} is not reachable by http and no http variant is given")
    shown = re.split("[?#]", without_secrets(href))[0]
    if base is None or not isinstance(folder, Path):
        raise Unusable(f"{shown} is relative, and the catalogue has no folder of its own")
    path = unquote(parts.path) if parts.scheme == "file" else shown
    full = posixpath.normpath(posixpath.join(folder.absolute().as_posix(), path))
    root = posixpath.normpath(base.absolute().as_posix())
    if not full.startswith(root.rstrip("/") + "/"):
        raise Unusable(f"{shown} leaves the folder of the archive")
    return posixpath.relpath(full, root)


EODATA = "s3://eodata/"
"""The bucket of the Copernicus Data Space, which its keys open by http as well."""


def is_bucket(href: object) -> bool:
    """Whether an href is an object of the bucket of the Copernicus Data Space."""
    return str(href).startswith(EODATA)


def bucket_address(href: str) -> str:
    """The http address of an object of the bucket; any other href as it is."""
    if not is_bucket(href):
        return href
    return "https://eodata.dataspace.copernicus.eu/eodata/" + href.removeprefix(EODATA)


def resolve_href(href: str, base: Path | None) -> str:
    """URL or path to open for a pinned href; checked again because a pinned file can be edited."""
    pinned = pin_href(href, base, base)
    return pinned if is_address(pinned) else str(Path(base or "") / pinned)
