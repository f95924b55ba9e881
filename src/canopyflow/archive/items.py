"""Reading a Sentinel-2 STAC item whatever catalogue wrote it: tile, platform, baseline, extent, assets.

Catalogues name the same things differently (``B04``, ``red``, ``red-jp2``, ``B04_10m``; ``s2:mgrs_tile``,
``grid:code``, ``mgrs:*``). Everything that knows such spellings is in this module.
"""

import posixpath
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

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

SIGNATURE_PARAMETERS = ("sig=", "X-Amz-Signature=")


class Unusable(Exception):
    """Why an item or one of its assets cannot be used: a sentence for ``lock.rejected``."""


def item_href(item: Item) -> str | None:
    """The item's own address in its catalogue; None where a local archive's item has none that lasts."""
    return next((str(link["href"]) for link in item["links"] if link["rel"] == "self"), None)


def acquired(item: Item) -> datetime:
    """Acquisition time, UTC; the start of the interval where ``datetime`` is null."""
    text = item["properties"].get("datetime") or item["properties"].get("start_datetime")
    if not text:
        raise Unusable("the item has no datetime")
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def mgrs_tile(item: Item) -> str:
    """MGRS tile, zone with two digits: ``32TMT``."""
    p = item["properties"]
    if "mgrs:utm_zone" in p and "mgrs:grid_square" in p:
        code = f"{p['mgrs:utm_zone']}{p.get('mgrs:latitude_band', '')}{p['mgrs:grid_square']}"
    else:
        code = str(p.get("s2:mgrs_tile") or p.get("grid:code") or "").removeprefix("MGRS-").removeprefix("T")
    if not code:
        named = re.search(r"_T?([0-9]{1,2}[A-Z]{3})(?:_|$)", item["id"])
        if not named:
            raise Unusable("neither properties nor id name an MGRS tile")
        code = named[1]
    found = re.fullmatch(r"([0-9]{1,2})([A-Z]{3})", code)
    if not found:
        raise Unusable(f"{code!r} is no MGRS tile")
    return f"{int(found[1]):02d}{found[2]}"


def platform(item: Item) -> str:
    """``S2A``, ``S2B`` or ``S2C``."""
    name = str(item["properties"].get("platform", "")).upper().replace("SENTINEL-2", "S2")
    found = re.fullmatch(r"S2[A-C]", name) or re.match(r"S2[A-C](?=_)", item["id"])
    if not found:
        raise Unusable(f"platform {name or 'missing'} is not Sentinel-2 A, B or C")
    return found[0]


def baseline(item: Item) -> str:
    """Processing baseline as ``04.00``, from the properties or the product name; empty where unknown."""
    text = str(item["properties"].get("s2:processing_baseline") or "")
    text = text or str(item["properties"].get("processing:version") or "").removeprefix("N")
    if re.fullmatch(r"\d{1,2}\.\d{1,2}", text):
        return text.zfill(5)
    named = re.search(r"_N(\d{2})(\d{2})_", product_name(item))
    return f"{named[1]}.{named[2]}" if named else ""


def product_name(item: Item) -> str:
    """Name of the SAFE product where known, else the id."""
    return str(item["properties"].get("s2:product_uri") or item["id"])


def datatake(item: Item) -> str:
    """Platform and start of the datatake; equal for all editions of one acquisition.

    ``s2:datatake_id`` itself ends in the baseline and so differs between editions.
    """
    named = re.search(r"_(\d{8}T\d{6})_", str(item["properties"].get("s2:datatake_id", "")))
    named = named or re.search(r"_MSIL2A_(\d{8}T\d{6})_", product_name(item))
    return f"{platform(item)}_{named[1] if named else acquired(item).strftime('%Y%m%dT%H%M%S')}"


def datastrip_start(item: Item) -> datetime | None:
    """Sensing start of the datastrip: a tile cut by a strip's end comes as two complementary products."""
    found = re.search(r"_S(\d{8}T\d{6})_", str(item["properties"].get("s2:datastrip_id", "")))
    return datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) if found else None


def generation(item: Item) -> str:
    """Processing time as a sortable text, empty where unknown."""
    text = re.sub(r"[^0-9T]", "", str(item["properties"].get("s2:generation_time") or "")[:19])
    named = re.search(r"_(\d{8}T\d{6})(?:\.SAFE)?$", product_name(item))
    return text or (named[1] if named else "")


def epsg(item: Item, asset: dict[str, Any] | None = None) -> int:
    """EPSG code: ``proj:epsg``, ``proj:code`` (pystac >= 1.15 rewrites one to the other) or the MGRS zone."""
    for source in (asset or {}, item["properties"]):
        if source.get("proj:epsg"):
            return int(source["proj:epsg"])
        if str(source.get("proj:code") or "").startswith("EPSG:"):
            return int(source["proj:code"][5:])
    tile = mgrs_tile(item)
    return (32600 if tile[2] >= "N" else 32700) + int(tile[:2])


def transform_of(item: Item, asset: dict[str, Any]) -> tuple[list[float], list[int]] | None:
    """``proj:transform`` and ``proj:shape`` (rows, columns) of an asset, or None where not given."""
    transform = asset.get("proj:transform") or item["properties"].get("proj:transform")
    shape = asset.get("proj:shape") or item["properties"].get("proj:shape")
    return (list(transform), list(shape)) if transform and shape else None


def extent(item: Item, asset: dict[str, Any]) -> Bounds:
    """Bounds of an asset in the item's CRS; from the lon/lat box where no projection fields are given."""
    placed = transform_of(item, asset)
    if placed:
        (a, _, x0, _, e, y0), (rows, columns) = placed[0][:6], placed[1]
        return x0, y0 + e * rows, x0 + a * columns, y0
    box = asset.get("proj:bbox") or item["properties"].get("proj:bbox")
    if box:
        return tuple(float(v) for v in box)  # type: ignore[return-value]
    west, south, east, north = (float(v) for v in item["bbox"][:4])
    return project_area((west, south, east, north), epsg(item))


def asset_candidates(item: Item, name: str) -> Iterator[dict[str, Any]]:
    """Assets that may hold band ``name`` (or SCL, metadata), best first: GeoTIFF before JPEG 2000."""
    common = COMMON_NAMES.get(name, name.replace("-", "_"))
    keys = [name, common, f"{name}_10m", f"{name}_20m", f"{name}_60m", f"{name}-jp2", f"{common}-jp2"]
    for key in keys:
        if key in item["assets"]:
            asset = item["assets"][key]
            yield asset
            for other in asset.get("alternate", {}).values():
                if "href" in other:
                    yield {**asset, "href": other["href"]}


def pin_href(href: str, folder: Path | None, base: Path | None) -> str:
    """The href to store: relative to ``base`` for files of the archive, else the absolute unsigned URL.

    ``folder`` is what a relative href refers to. The check is lexical: ``..`` must
    not leave the archive, links that its owner placed inside it are the owner's.
    """
    parts = urlsplit(href)
    if parts.scheme in ("http", "https"):
        signed = any(key in parts.query for key in SIGNATURE_PARAMETERS)
        return urlunsplit(parts._replace(query="", fragment="")) if signed else href
    if parts.scheme not in ("", "file"):
        raise Unusable(f"{href} is not reachable by http and no http variant is given")
    if base is None or folder is None:
        raise Unusable(f"{href} is relative, and the catalogue has no folder of its own")
    path = unquote(parts.path) if parts.scheme == "file" else href
    full = posixpath.normpath(posixpath.join(folder.absolute().as_posix(), path))
    root = posixpath.normpath(base.absolute().as_posix())
    if not full.startswith(root.rstrip("/") + "/"):
        raise Unusable(f"{href} leaves the folder of the archive")
    return posixpath.relpath(full, root)


def resolve_href(href: str, base: Path | None) -> str:
    """URL or path to open for a pinned href; checked again because a pinned file can be edited."""
    pinned = pin_href(href, base, base)
    return pinned if pinned.startswith(("http://", "https://")) else str(Path(base or "") / pinned)
