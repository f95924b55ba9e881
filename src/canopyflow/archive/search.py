"""Searching an archive once and pinning what was found, so that every later stage sees the same items."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from shapely import wkb
from shapely.geometry.base import BaseGeometry

from canopyflow.archive import footprint
from canopyflow.archive import items as stac
from canopyflow.archive.addresses import cleaned, without_secrets
from canopyflow.archive.areas import areas_of, box_area
from canopyflow.archive.candidates import Candidates, Wanted
from canopyflow.archive.catalogue import Catalogue, open_catalogue
from canopyflow.archive.editions import note_duplicates, one_edition_each, tell_apart
from canopyflow.archive.grid import Bounds, Grid, intersection, project_area, snap_outward, union
from canopyflow.archive.lock import lock_assets
from canopyflow.archive.pinned import index, parts, read_index, read_pinned, text_digest
from canopyflow.archive.presets import PRESETS, address_of, check_keys
from canopyflow.archive.signing import open_client
from canopyflow.atomic import write_json
from canopyflow.errors import ArchiveError

log = logging.getLogger("canopyflow")

FOUND = "CANOPYFLOW_FOUND"
"""Environment variable: index of an answer that a search of the same question pins, and asks nobody."""
NAMED = 5
"""Rejected items that the log names for each reason; the pinned search names all."""
BESIDE = 1.0
"""Degrees beyond a tile within which the shape of an area still counts for the grid of that tile."""
BEND = 0.02
"""Degrees between the points by which a bent edge of an area is followed into a projection."""


@dataclass(frozen=True)
class Query:
    """What is asked of a catalogue.

    Attributes:
        collection: its name in the catalogue.
        areas: by site name, a box of (west, south, east, north) in degrees, or a polygon with continuous
            longitudes. The name ``""`` stands for one unnamed area, whose tiles carry no suffix.
        start, end: first and last day, UTC, both included.
        bands: those that every item must have, besides SCL.
        resolution: pixel size of the campaign's grids, metres.
        max_cloud_cover: percent; an item that does not state its cloud cover passes.
        tiles: MGRS tiles that are wanted whole; empty where the areas decide.
        lock: ``assets``: size and ETag of each file are pinned as well; ``items``: what the items state.
        from_bucket: read the bucket of the Copernicus Data Space rather than its download service.
    """

    collection: str
    areas: Mapping[str, Bounds | BaseGeometry]
    start: date
    end: date
    bands: Sequence[str]
    resolution: float
    max_cloud_cover: float
    tiles: tuple[str, ...] = ()
    lock: str = "items"
    from_bucket: bool = False

    @property
    def polygons(self) -> dict[str, BaseGeometry]:
        """The areas as polygons, in the order of their names.

        Raises:
            ArchiveError: a box is none.
        """
        return {
            name: area if isinstance(area, BaseGeometry) else box_area(name, area)
            for name, area in sorted(self.areas.items())
        }


@dataclass
class Pinning:
    """What one search collects: features by tile and id, grids, and what there is to say."""

    query: Query
    features: dict[tuple[str, str], stac.Item] = field(default_factory=dict)
    tiles: dict[str, Grid] = field(default_factory=dict)
    rejected: set[tuple[str, str]] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)

    def say(self, message: str) -> None:
        log.warning("search: %s", message)
        self.messages.append(message)

    def reject(self, item: stac.Item, reason: str) -> None:
        # What a catalogue gives for an item may be anything.
        self.rejected.add((str(item.get("id") if isinstance(item, dict) else item)[:200], cleaned(reason)))


def pin(catalog: str, query: Mapping[str, Any], out: Path, asset_base: Path | None = None) -> None:
    """Search ``catalog`` and write the answer: one file per tile-month, and last their index, ``out``.

    ``query`` holds the fields of a :class:`Query`, days as YYYY-MM-DD, and instead of ``areas`` and
    ``tiles`` the campaign's ``area`` (:func:`canopyflow.archive.areas.areas_of`); all else is as for
    :func:`search`. The folder of ``out`` is laid out as :mod:`canopyflow.archive.pinned` says. Files of
    tile-months that are no longer found are removed. A killed search leaves no index, and is run again.
    """
    # The address of an API that serves local files changes from run to run.
    question = text_digest(json.dumps([catalog if asset_base is None else "", query], sort_keys=True))
    if _adopt(os.environ.get(FOUND), question, out):
        return
    asked = dict(query)
    areas = areas_of(asked.pop("area"))
    full = Query(
        areas=areas.polygons,
        tiles=areas.tiles,
        start=date.fromisoformat(asked.pop("start")),
        end=date.fromisoformat(asked.pop("end")),
        from_bucket=catalog in PRESETS and PRESETS[catalog].from_bucket,
        **asked,
    )
    pinned = search(catalog, full, asset_base)
    pinned["lock"]["question"] = question
    _write(parts(pinned), index(pinned), out)


def _adopt(found: str | None, question: str, out: Path) -> bool:
    """Pin an answer that somebody has looked at already, if there is one and it is one to this question."""
    if found is None:
        return False
    content = json.loads(Path(found).read_text())
    if content["lock"]["question"] != question:
        return False
    log.info("search: pinning what was found before")
    months = read_index(found)
    files = (
        (tile, month, read_pinned(Path(found).parent / tile / f"{month}.json")) for tile, month in months
    )
    _write(files, content, out)
    return True


def _write(files: Iterable[tuple[str, str, dict[str, Any]]], entries: dict[str, Any], out: Path) -> None:
    """Write one file per tile-month, remove those of others, and last the index."""
    written = set()
    for tile, month, content in files:
        path = out.parent / tile / f"{month}.json"
        write_json(path, content)
        written.add(path)
    for path in set(out.parent.glob("*/*.json")) - written:
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    write_json(out, entries)


def search(catalog: str, query: Query, asset_base: Path | None = None) -> dict[str, Any]:
    """Search ``catalog`` and return the pinned item collection.

    Args:
        catalog: a preset, the URL of a STAC API, or path or URL of a static catalogue's ``catalog.json``;
            ${NAME} is read from the environment, and only as it is written told and pinned.
        query: what is asked.
        asset_base: folder that relative asset hrefs refer to; the catalogue's own for a static one.

    Returns:
        FeatureCollection with the additional members ``lock`` and, per feature,
        ``canopyflow``; see the module :mod:`canopyflow.archive.pinned` for readers.

    Raises:
        ArchiveError: nothing usable found, no such catalogue, or one whose files need keys that are not set.
        ArchiveUnreachable: the catalogue does not answer.
    """
    check_keys(catalog)
    polygons = query.polygons
    address, client = address_of(catalog), open_client()
    source = open_catalogue(address, asset_base, client)
    pinning = Pinning(query)
    candidates = Candidates(
        Wanted(query.bands, query.start, query.end, query.max_cloud_cover, query.tiles, query.from_bucket)
    )
    for name, area in polygons.items():
        _search_area(pinning, source, candidates, name, area)
    if candidates.cut:
        listed = ", ".join(sorted(candidates.cut))
        pinning.say(f"queries of addresses are not kept ({listed}): what cannot be read without is set aside")
    if not pinning.features:
        raise _nothing_found(pinning, str(asset_base or catalog))
    if query.lock == "assets":
        for message in lock_assets(_features(pinning), source.base, client):
            pinning.say(message)
    # The address of an API on the local machine changes from run to run, as does the place of files.
    label = catalog if source.label == without_secrets(address) and catalog not in PRESETS else source.label
    return _collection(pinning, without_secrets(label))


def _search_area(
    pinning: Pinning, source: Catalogue, candidates: Candidates, name: str, area: BaseGeometry
) -> None:
    """Find, judge, thin out and pin the items of the area of this name."""
    usable: dict[str, list[stac.Item]] = {}
    query = pinning.query
    for bounds in footprint.boxes_around(area):
        for found in source.items(query.collection, bounds, query.start, query.end):
            try:
                item = candidates.judge(found, source.base, area)
                if item is not None:
                    usable.setdefault(stac.mgrs_tile(item), []).append(item)
            except stac.Unusable as reason:
                pinning.reject(found.item, str(reason))
    kept = {tile: _thinned(pinning, items) for tile, items in sorted(usable.items())}
    for tile, items in kept.items():
        _pin_tile(pinning, tile, name, items, area)
    label = f"area {name}" if name else "the area"
    codes = sorted({stac.epsg(i) for items in kept.values() for i in items})
    if len(codes) > 1:
        listed = ", ".join(f"EPSG:{c}" for c in codes)
        pinning.say(f"{label} lies across UTM zones ({listed}): each tile keeps its own CRS")
    if not any(kept.values()):
        pinning.say(f"{label} has no usable item")
    for tile in query.tiles:
        if not kept.get(tile):
            pinning.say(f"tile {tile} has no usable item")


def _thinned(pinning: Pinning, items: list[stac.Item]) -> list[stac.Item]:
    """Items of a tile with one edition of each acquisition."""
    items, mistaken = tell_apart(items)
    kept, others = one_edition_each(items)
    for item, reason in [*mistaken, *others]:
        pinning.reject(item, reason)
    return kept


def _pin_tile(pinning: Pinning, tile: str, site: str, items: list[stac.Item], area: BaseGeometry) -> None:
    """Add the items that have pixels in the area, and the grid that covers those pixels."""
    resolution, band = pinning.query.resolution, pinning.query.bands[0]
    label = f"{tile}-{site}" if site else tile
    codes = [stac.epsg(item) for item in items]
    code = max(sorted(set(codes)), key=codes.count, default=0)
    extents = {item["id"]: stac.extent(item, item["assets"][band]) for item in items}
    of_tile = [extents[item["id"]] for item in items if stac.epsg(item) == code]
    wanted = _wanted(area, union(of_tile), code, bool(pinning.query.tiles)) if of_tile else None
    reaching, kept = [], []
    for item in items:
        if stac.epsg(item) != code:
            pinning.reject(item, f"its grid is EPSG:{stac.epsg(item)}, that of tile {tile} EPSG:{code}")
            continue
        pixels = snap_outward(extents[item["id"]], resolution)
        reach = intersection(pixels, snap_outward(wanted, resolution)) if wanted else None
        if reach is None:
            pinning.reject(item, f"has no pixel of tile {label} in the area")
            continue
        reaching.append(reach)
        feature = pinning.features.setdefault((tile, item["id"]), item)
        feature["canopyflow"]["tile"].append(label)
        kept.append(feature)
    if reaching:
        note_duplicates(kept)
        pinning.tiles[label] = Grid(code, union(reaching), resolution)


def _wanted(area: BaseGeometry, extent: Bounds, code: int, whole: bool) -> Bounds | None:
    """Bounds of an area in the projection of a tile of this extent; None where it does not come near it.

    Only what lies beside the tile counts: far from its zone, a projection has no meaning.
    """
    if whole:
        return extent
    west, south, east, north = footprint.around(extent, code).bounds
    beside = footprint.box_of(
        (west - BESIDE, max(south - BESIDE, -90.0), east + BESIDE, min(north + BESIDE, 90.0))
    )
    found = [_projected(part, code) for part in footprint.parts_of(footprint.common(beside, area))]
    reaching = [bounds for bounds in found if intersection(bounds, extent)]
    return union(reaching) if reaching else None


def _projected(part: BaseGeometry, code: int) -> Bounds:
    """Bounds of a polygon in a projection."""
    if part.equals(part.envelope):
        return project_area(part.bounds, code)
    return union(
        [project_area((lon, lat, lon, lat), code) for lon, lat in part.segmentize(BEND).exterior.coords]
    )


def _nothing_found(pinning: Pinning, catalog: str) -> ArchiveError:
    q = pinning.query
    areas = "; ".join(f"{name} {list(bounds)}".strip() for name, bounds in _plain(q)["areas"].items())
    asked = f"collection {q.collection} of {without_secrets(catalog)} from {q.start} to {q.end} in {areas}"
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
    """The query as it is recorded; of an area that is no box, bounds and a digest."""
    plain: dict[str, Any] = {
        "areas": {name: footprint.bbox_of(area) for name, area in query.polygons.items()},
        "start": query.start.isoformat(),
        "end": query.end.isoformat(),
        "bands": list(query.bands),
        "resolution": float(query.resolution),
        "max_cloud_cover": float(query.max_cloud_cover),
    }
    shapes = {
        name: hashlib.sha256(wkb.dumps(area)).hexdigest()[:16]
        for name, area in query.polygons.items()
        if not area.equals(area.envelope)
    }
    return (
        plain | ({"tiles": list(query.tiles)} if query.tiles else {}) | ({"shapes": shapes} if shapes else {})
    )


def _features(pinning: Pinning) -> list[stac.Item]:
    return [pinning.features[key] for key in sorted(pinning.features, key=lambda key: key[::-1])]


def _collection(pinning: Pinning, label: str) -> dict[str, Any]:
    features = _features(pinning)
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
            "catalog": label,
            "collection": pinning.query.collection,
            "query": _plain(pinning.query),
            "tiles": {tile: pinning.tiles[tile].to_dict() for tile in sorted(pinning.tiles)},
            "rejected": [{"id": i, "reason": reason} for i, reason in sorted(pinning.rejected)],
            "messages": pinning.messages,
        },
    }
