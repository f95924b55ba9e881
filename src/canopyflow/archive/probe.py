"""Asking a catalogue whether a campaign can be had from it: a few questions, and nothing is pinned.

All questions go through :mod:`canopyflow.archive.http`, with less patience than a search has: whoever asks
waits for the answer.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from canopyflow.archive import items as stac
from canopyflow.archive.addresses import is_address, without_secrets
from canopyflow.archive.areas import areas_of
from canopyflow.archive.candidates import Candidates, Wanted
from canopyflow.archive.catalogue import Api, Catalogue, open_catalogue
from canopyflow.archive.editions import one_edition_each
from canopyflow.archive.footprint import boxes_around
from canopyflow.archive.http import Client, Patience, Refused
from canopyflow.archive.items import resolve_href
from canopyflow.archive.presets import PRESETS, address_of, check_keys
from canopyflow.archive.signing import (
    CDSE_FILES,
    CDSE_STORE,
    PLANETARY_COMPUTER_HOST,
    open_client,
)
from canopyflow.errors import ArchiveError
from canopyflow.registry import nearest

HASTY = Patience(attempts=3, pause=0.5, longest=5.0, longest_asked=10.0)
"""One who asks for a first time wants to know, and not to wait."""

SERVICES = {
    PLANETARY_COMPUTER_HOST: "Planetary Computer",
    **dict.fromkeys(CDSE_FILES, "the Copernicus Data Space"),
    CDSE_STORE: "the keys of its object store",
}
"""Who signs the files of which host (:mod:`canopyflow.archive.signing`)."""

SHOWN = 3
"""Reasons for which items are rejected, and files, that are named."""


@dataclass(frozen=True)
class Answer:
    """One line of what a catalogue says: about ``what``; whether it is as it must be; in words."""

    what: str
    is_fine: bool
    text: str


@dataclass
class _Asking:
    """What is known so far; each question reads what those before have found."""

    catalog: str
    query: Mapping[str, Any]
    base: Path | None
    client: Client
    source: Catalogue | None = None
    items: list[stac.Item] | None = None
    rejected: Counter[str] | None = None


def probe(
    catalog: str, query: Mapping[str, Any], asset_base: Path | None = None, client: Client | None = None
) -> Iterator[Answer]:
    """Ask step by step; ends with the first answer that is not fine.

    Args:
        catalog: as for :func:`canopyflow.archive.search.search`.
        query: as for :func:`canopyflow.archive.search.pin`.
        asset_base: folder that relative hrefs of an API refer to.
        client: by default one with the credentials of the environment and little patience.
    """
    asking = _Asking(catalog, query, asset_base, client or open_client(HASTY))
    steps: list[tuple[str, Callable[[_Asking], str]]] = [
        ("account", _account),
        ("catalogue", _catalogue),
        ("collection", _collection),
        ("items", _items),
        ("bands", _bands),
        ("files", _files),
    ]
    for what, step in steps:
        try:
            yield Answer(what, True, step(asking))
        except ArchiveError as error:
            yield Answer(what, False, str(error))
            return


def _account(asking: _Asking) -> str:
    check_keys(asking.catalog)
    preset = PRESETS.get(asking.catalog)
    if preset is not None and preset.keys:
        return "keys are set in the environment; whether they open a file, the last line says"
    return "none is needed" if preset is not None else "none is known to be needed"


def _catalogue(asking: _Asking) -> str:
    address = address_of(asking.catalog)
    asking.source = open_catalogue(address, asking.base, asking.client)
    kind = "a STAC API" if isinstance(asking.source, Api) else "a static catalogue"
    if isinstance(asking.source, Api):
        return f"{without_secrets(address)} answers: {kind} ({asking.source.client.id})"
    return f"{without_secrets(address)} is there: {kind} ({asking.source.label})"


def _collection(asking: _Asking) -> str:
    name, source = asking.query["collection"], asking.source
    if not isinstance(source, Api):
        return f"{name}: a static catalogue has no list; its items are counted below"
    address = f"{source.url.rstrip('/')}/collections"
    try:
        found = asking.client.get(f"{address}/{quote(name, safe='')}", _object)
    except Refused as refused:
        known = _known(asking.client, address)
        raise ArchiveError(
            f"{without_secrets(source.url)} has no collection {name!r} ({refused.reason})",
            f"archive.collection: {nearest(name, known)}" if known else "set archive.collection",
        ) from None
    interval = ((found.get("extent") or {}).get("temporal") or {}).get("interval") or [[None, None]]
    start, end = (str(day)[:10] if day else None for day in interval[0][:2])
    return f"{name} is there" + (f", {start} to {end or 'today'}" if start else "")


def _object(content: bytes) -> dict[str, Any]:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _known(client: Client, address: str) -> list[str]:
    """Names of collections, as far as the first page of them goes; none where there is no list."""
    try:
        listed = client.get(address, _object).get("collections") or []
    except ArchiveError:
        return []
    return [str(each.get("id")) for each in listed if isinstance(each, dict)][:200]


def _items(asking: _Asking) -> str:
    query, source = asking.query, asking.source
    assert source is not None  # the step before has opened it
    areas = areas_of(query["area"])
    start, end = (date.fromisoformat(query[name]) for name in ("start", "end"))
    preset = PRESETS.get(asking.catalog)
    wanted = Wanted(
        query["bands"],
        start,
        end,
        query["max_cloud_cover"],
        areas.tiles,
        preset is not None and preset.from_bucket,
    )
    candidates = Candidates(wanted)
    usable: dict[str, dict[str, stac.Item]] = {}
    rejected: dict[str, str] = {}
    for area in areas.polygons.values():
        for bounds in boxes_around(area):
            for found in source.items(query["collection"], bounds, start, end):
                try:
                    item = candidates.judge(found, source.base, area)
                except stac.Unusable as reason:
                    rejected[str(found.item.get("id"))] = str(reason)
                else:
                    if item is not None:
                        usable.setdefault(stac.mgrs_tile(item), {})[item["id"]] = item
    asking.rejected = Counter(_kind(reason) for reason in rejected.values())
    asking.items = []
    for _, of_tile in sorted(usable.items()):
        kept, others = one_edition_each(list(of_tile.values()))
        asking.items += kept
        asking.rejected["another processing of the same acquisition"] += len(others)
    return _counted(asking, areas.tiles)


def _kind(reason: str) -> str:
    """A reason without what differs from item to item."""
    return "too cloudy" if reason.startswith("cloud cover") else reason


def _counted(asking: _Asking, tiles: tuple[str, ...]) -> str:
    items, query = asking.items or [], asking.query
    reasons = [f"{n} {reason}" for reason, n in (asking.rejected or Counter()).most_common(SHOWN) if n]
    said = f"; left out: {', '.join(reasons)}" if reasons else ""
    asked = f"for {query['start']} to {query['end']} in the area"
    if not items:
        if reasons:
            raise ArchiveError(f"no usable item {asked}{said}", "raise max_cloud_cover, or use other bands")
        raise ArchiveError(
            f"no item {asked} in collection {query['collection']}", "check period, area and collection"
        )
    found = sorted({stac.mgrs_tile(item) for item in items})
    days = sorted(stac.acquired(item).date() for item in items)
    lacking = sorted(set(tiles) - set(found))
    listed = ", ".join(found[: 2 * SHOWN]) + (" ..." if len(found) > 2 * SHOWN else "")
    return (
        f"{len(items):,} scenes {asked}, {days[0]} to {days[-1]}, in {len(found)} "
        f"{'tile' if len(found) == 1 else 'tiles'} ({listed}){said}"
        + (f"; no scene of {', '.join(lacking)}" if lacking else "")
    )


def _bands(asking: _Asking) -> str:
    items, bands = asking.items or [], asking.query["bands"]
    count = sum(stac.GRANULE_METADATA in item["assets"] for item in items)
    share = (
        "all"
        if count == len(items)
        else f"{count:,} of {len(items):,}, of the others from what the item states"
    )
    named = f"{bands[0]} ... {bands[-1]}"
    return f"all {len(bands)} ({named}) and SCL in each scene; angles from the metadata of {share}"


def _files(asking: _Asking) -> str:
    item = (asking.items or [])[-1]
    name = asking.query["bands"][0]
    asset = item["assets"][name]
    base = asking.source.base if asking.source is not None else None
    place = resolve_href(asset["href"], base)
    if not is_address(place):
        if not Path(place).is_file():
            raise ArchiveError(f"{name} of {item['id']} is not there: {place}", "complete the archive")
        return f"{name} of {item['id']} is there, on this machine"
    answer = asking.client.head(place)
    service = SERVICES.get(str(urlsplit(place).hostname))
    how = f"signed by {service}" if service else "without a signature"
    size = f", {answer.size / 1e6:.1f} MB" if answer.size else ""
    ranged = "" if answer.ranged else "; the server sends whole files only"
    return f"{name} of {item['id']} can be read, {how}{size}{ranged}"
