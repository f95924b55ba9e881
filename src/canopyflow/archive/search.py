"""Searching an archive once and pinning what was found, so that every later stage sees the same items."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from shapely.geometry import box, shape

from canopyflow.archive import items as stac
from canopyflow.archive.catalogue import Catalogue, Found, open_catalogue
from canopyflow.archive.grid import Bounds, Grid, intersection, project_area, snap_outward, union
from canopyflow.archive.harmonise import NOT_ESA, decide_offset
from canopyflow.archive.names import is_plain
from canopyflow.archive.pinned import index, parts
from canopyflow.atomic import write_json
from canopyflow.errors import ArchiveError

log = logging.getLogger("canopyflow")

SAME_STRIP = timedelta(seconds=15)
"""Datastrips that start closer together are editions of one; others are complementary parts of a tile."""

NAMED = 5
"""Rejected items that the log names for each reason; the pinned search names all."""

ASSET_FIELDS = re.compile(r"href|type|title|roles|gsd|bands|proj:.*|raster:.*|eo:.*|file:.*")


@dataclass(frozen=True)
class Query:
    """What is asked of a catalogue.

    ``areas``: (west, south, east, north) in degrees by site name; the name ``""`` stands for one unnamed
    area, whose tiles carry no suffix. ``start``, ``end``: first and last day, UTC, both included. ``bands``:
    those that every item must have, besides SCL. ``resolution``: pixel size of the campaign's grids, metres.
    ``max_cloud_cover``: percent; an item that does not state its cloud cover passes.
    """

    collection: str
    areas: dict[str, Bounds]
    start: date
    end: date
    bands: Sequence[str]
    resolution: float
    max_cloud_cover: float


@dataclass
class Pinning:
    """What one search collects."""

    query: Query
    features: dict[str, stac.Item] = field(default_factory=dict)
    tiles: dict[str, Grid] = field(default_factory=dict)
    rejected: set[tuple[str, str]] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)

    def say(self, message: str) -> None:
        log.warning("search: %s", message)
        self.messages.append(message)


def pin(catalog: str, query: Mapping[str, Any], out: Path, asset_base: Path | None = None) -> None:
    """Search ``catalog`` and write the answer: one file per tile-month, and last their index, ``out``.

    ``query`` holds the fields of a :class:`Query`, days as YYYY-MM-DD; all else is as for :func:`search`.
    The folder of ``out`` is laid out as :mod:`canopyflow.archive.pinned` says. Files of tile-months that the
    search no longer finds are removed. Whoever kills this finds no new index, and runs it again.
    """
    days = {name: date.fromisoformat(query[name]) for name in ("start", "end")}
    pinned = search(catalog, Query(**{**query, **days}), asset_base)
    written = set()
    for tile, month, content in parts(pinned):
        path = out.parent / tile / f"{month}.json"
        write_json(path, content)
        written.add(path)
    for path in set(out.parent.glob("*/*.json")) - written:
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    write_json(out, index(pinned))


def search(catalog: str, query: Query, asset_base: Path | None = None) -> dict[str, Any]:
    """Search ``catalog`` and return the pinned item collection.

    Args:
        catalog: URL of a STAC API, or path of a static catalogue's ``catalog.json``.
        query: what is asked.
        asset_base: folder that relative asset hrefs refer to; the catalogue's own for a static one.

    Returns:
        FeatureCollection with the additional members ``lock`` and, per feature,
        ``canopyflow``; see the module :mod:`canopyflow.archive.pinned` for readers.

    Raises:
        ArchiveError: nothing usable found, or no such catalogue.
        ArchiveUnreachable: the catalogue does not answer.
    """
    _check_areas(query.areas)
    source = open_catalogue(catalog, asset_base)
    pinning = Pinning(query)
    for name in sorted(query.areas):
        _search_area(pinning, source, name)
    if not pinning.features:
        raise _nothing_found(pinning, str(asset_base or catalog))
    return _collection(pinning, source)


def _check_areas(areas: dict[str, Bounds]) -> None:
    for name, (west, south, east, north) in areas.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]*", name):
            raise ArchiveError(f"site name {name!r} cannot name a file", "use letters, digits, - and _")
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            label = f"area {name}" if name else "the area"
            raise ArchiveError(
                f"{label} ({west}, {south}, {east}, {north}) is no box of west, south, east, north",
                "an area across the 180th meridian must be given as two",
            )


def _search_area(pinning: Pinning, source: Catalogue, name: str) -> None:
    """Find, judge, thin out and pin the items of the area of this name."""
    usable: dict[str, list[stac.Item]] = {}
    query, area = pinning.query, pinning.query.areas[name]
    for found in source.items(query.collection, area, query.start, query.end):
        identity = str(found.item.get("id"))
        try:
            if not _inside(found.item, area, query.start, query.end):
                continue
            item = _pinned_item(found, source.base, pinning)
            usable.setdefault(stac.mgrs_tile(item), []).append(item)
        except stac.Unusable as reason:
            pinning.rejected.add((identity, str(reason)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            pinning.rejected.add((identity, f"is no valid STAC item ({type(error).__name__}: {error})"))
    kept = {tile: _one_edition_each(items, pinning) for tile, items in sorted(usable.items())}
    for tile, items in kept.items():
        _pin_tile(pinning, f"{tile}-{name}" if name else tile, items, area)
    label = f"area {name}" if name else "the area"
    codes = sorted({stac.epsg(i) for items in kept.values() for i in items})
    if len(codes) > 1:
        listed = ", ".join(f"EPSG:{c}" for c in codes)
        pinning.say(f"{label} lies across UTM zones ({listed}): each tile keeps its own CRS")
    if not kept:
        pinning.say(f"{label} has no usable item")


def _inside(item: stac.Item, area: Bounds, start: date, end: date) -> bool:
    try:
        day = stac.acquired(item).date()
    except stac.Unusable:
        return False
    if not start <= day <= end:
        return False
    outline = shape(item["geometry"]) if item.get("geometry") else box(*item["bbox"][:4])
    return bool(outline.intersects(box(*area)))


def _pinned_item(found: Found, base: Path | None, pinning: Pinning) -> stac.Item:
    """The item reduced to what later stages need, asset keys and hrefs in our spelling.

    Raises:
        Unusable: with the reason for ``lock.rejected``.
    """
    item = found.item
    if not is_plain(item["id"]):
        raise stac.Unusable("its id cannot name a file: letters, digits, '.', '_' and '-' can")
    cover, limit = item["properties"].get("eo:cloud_cover"), pinning.query.max_cloud_cover
    if cover is not None and float(cover) > limit:
        raise stac.Unusable(f"cloud cover {float(cover):.1f} % is above {limit:g} %")
    assets = {name: _pinned_asset(found, base, name) for name in (*pinning.query.bands, stac.SCL)}
    for name in (stac.GRANULE_METADATA, stac.PRODUCT_METADATA):
        if next(stac.asset_candidates(item, name), None) is not None:
            assets[name] = _pinned_asset(found, base, name)
    pinned: stac.Item = {
        "type": "Feature",
        "stac_version": item.get("stac_version", "1.0.0"),
        "stac_extensions": list(item.get("stac_extensions", [])),
        "id": item["id"],
        "geometry": item.get("geometry"),
        "bbox": item.get("bbox"),
        # stackstac knows proj:epsg only, and pystac >= 1.15 renames it on reading.
        "properties": {**item["properties"], "proj:epsg": stac.epsg(item)},
        "collection": item.get("collection"),
        "links": _self_link(item) if base is None else [],
        "assets": assets,
        "canopyflow": {
            "tile": [],
            "month": stac.acquired(item).strftime("%Y-%m"),
            "platform": stac.platform(item),
        },
    }
    try:
        decide_offset(pinned)
    except ArchiveError as error:
        raise stac.Unusable(error.problem) from error
    return pinned


def _self_link(item: stac.Item) -> list[dict[str, str]]:
    """The item's own address in a remote catalogue; that of a local one changes with every move."""
    links = (link for link in item.get("links", []) if link.get("rel") == "self")
    return [{"rel": "self", "href": link["href"]} for link in links][:1]


def _pinned_asset(found: Found, base: Path | None, name: str) -> dict[str, Any]:
    problem = f"asset {name} is missing"
    for asset in stac.asset_candidates(found.item, name):
        try:
            href = stac.pin_href(asset["href"], found.folder, base)
        except stac.Unusable as reason:
            problem = f"asset {name}: {reason}"
            continue
        kept = {k: v for k, v in asset.items() if ASSET_FIELDS.fullmatch(k)}
        if "proj:code" in kept:
            kept["proj:epsg"] = int(kept["proj:code"].removeprefix("EPSG:"))
        return {**kept, "href": href}
    raise stac.Unusable(problem)


def _one_edition_each(items: list[stac.Item], pinning: Pinning) -> list[stac.Item]:
    """Of several processing editions of one acquisition keep the newest, ESA's own before 99.99.

    The edition that CloudFerro generates under baseline 99.99 is newer by its
    clock only: the chain is another, so it stands in only where ESA's is absent.
    """
    groups: list[list[stac.Item]] = []
    for item in sorted(items, key=lambda i: (stac.datatake(i), str(stac.datastrip_start(i) or ""), i["id"])):
        if groups and _same_acquisition(groups[-1][-1], item):
            groups[-1].append(item)
        else:
            groups.append([item])
    kept = []
    for group in groups:
        best = max(
            group, key=lambda i: (stac.baseline(i) != NOT_ESA, stac.generation(i), stac.baseline(i), i["id"])
        )
        kept.append(best)
        for other in group:
            if other["id"] != best["id"]:
                editions = f"{_edition(best)}; this one {_edition(other)}"
                reason = f"another edition of {best['id']}, which is kept ({editions})"
                pinning.rejected.add((other["id"], reason))
    return kept


def _edition(item: stac.Item) -> str:
    return f"baseline {stac.baseline(item)} of {stac.generation(item) or 'unknown time'}"


def _same_acquisition(first: stac.Item, second: stac.Item) -> bool:
    if stac.datatake(first) != stac.datatake(second):
        return False
    strips = stac.datastrip_start(first), stac.datastrip_start(second)
    return strips[0] is None or strips[1] is None or strips[1] - strips[0] < SAME_STRIP


def _pin_tile(pinning: Pinning, tile: str, items: list[stac.Item], area: Bounds) -> None:
    """Add the items that have pixels in the area, and the grid that covers those pixels."""
    code, resolution = stac.epsg(items[0]), pinning.query.resolution
    wanted = snap_outward(project_area(area, code), resolution)
    reaching = []
    for item in items:
        reach = intersection(
            snap_outward(stac.extent(item, item["assets"][pinning.query.bands[0]]), resolution), wanted
        )
        if reach is None or stac.epsg(item) != code:
            pinning.rejected.add((item["id"], f"has no pixel of tile {tile} in the area"))
            continue
        reaching.append(reach)
        feature = pinning.features.setdefault(item["id"], item)
        feature["canopyflow"]["tile"].append(tile)
    if reaching:
        pinning.tiles[tile] = Grid(code, union(reaching), resolution)


def _nothing_found(pinning: Pinning, catalog: str) -> ArchiveError:
    q = pinning.query
    areas = "; ".join(f"{name} {bounds}".strip() for name, bounds in _plain(q)["areas"].items())
    asked = f"collection {q.collection} of {catalog} from {q.start} to {q.end} in {areas}"
    if not pinning.rejected:
        return ArchiveError(f"no item found in {asked}", "check period, area and collection")
    groups = _rejected_by_reason(pinning)
    most = sorted(groups, key=lambda reason: (-len(groups[reason]), reason))[:3]
    reasons = "; ".join(f"{len(groups[reason])} x {reason}" for reason in most)
    return ArchiveError(
        f"no usable item in {asked}: {reasons}", "raise max_cloud_cover, use other bands or widen the period"
    )


def _rejected_by_reason(pinning: Pinning) -> dict[str, list[str]]:
    """Ids of rejected items by reason, without what differs from item to item in a reason."""
    groups: dict[str, list[str]] = {}
    for identity, reason in sorted(pinning.rejected):
        kind = re.sub(r"cloud cover [\d.]+ %", "cloud cover", reason)
        kind = re.sub(r"another edition of .*", "another edition is kept", kind)
        groups.setdefault(kind, []).append(identity)
    return groups


def _plain(query: Query) -> dict[str, Any]:
    """The query as it is recorded."""
    return {
        "areas": {name: [float(v) for v in query.areas[name]] for name in sorted(query.areas)},
        "start": query.start.isoformat(),
        "end": query.end.isoformat(),
        "bands": list(query.bands),
        "resolution": float(query.resolution),
        "max_cloud_cover": float(query.max_cloud_cover),
    }


def _collection(pinning: Pinning, source: Catalogue) -> dict[str, Any]:
    features = [pinning.features[i] for i in sorted(pinning.features)]
    for feature in features:
        feature["canopyflow"]["tile"].sort()
    log.info(
        "search: %d items kept, %d rejected, %d tiles",
        len(features),
        len(pinning.rejected),
        len(pinning.tiles),
    )
    for reason, ids in _rejected_by_reason(pinning).items():
        more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
        log.info("search: rejected, %s: %s%s", reason, ", ".join(ids[:NAMED]), more)
    return {
        "type": "FeatureCollection",
        "features": features,
        "lock": {
            "catalog": source.label,
            "collection": pinning.query.collection,
            "query": _plain(pinning.query),
            "tiles": {tile: pinning.tiles[tile].to_dict() for tile in sorted(pinning.tiles)},
            "rejected": [{"id": i, "reason": reason} for i, reason in sorted(pinning.rejected)],
            "messages": pinning.messages,
        },
    }
