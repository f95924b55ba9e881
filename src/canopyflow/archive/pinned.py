"""The pinned search: which tile-months there are, their items, their grid, their digest.

Layout of its folder::

    index.json              scenes and digest of every tile-month; `lock`: what was asked, all grids, what was
                            rejected and why
    {tile}/{month}.json     items of one tile-month (a FeatureCollection); `lock`: what was asked, its grid

Apart from :mod:`canopyflow.archive.search`, so that editing how we search does
not count as editing how we fetch.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from canopyflow.archive.grid import Grid
from canopyflow.archive.items import Item
from canopyflow.errors import ArchiveError

PINNED_FILES = (".json", ".tif", ".tiff", ".jp2", ".xml")
"""Files of a static catalogue that a search looks at."""

VOLATILE = ("created", "updated", "published")
"""Properties a catalogue rewrites without touching the data."""


def read_pinned(path: str | Path) -> dict[str, Any]:
    """The pinned item collection in ``path``.

    Raises:
        ArchiveError: the file is not one that a search wrote.
    """
    content = json.loads(Path(path).read_text())
    if not isinstance(content, dict) or not {"features", "lock"} <= content.keys():
        raise ArchiveError(f"{path} is no pinned search", "delete it and run the search again")
    return content


def tile_months(pinned: dict[str, Any]) -> list[tuple[str, str]]:
    """Sorted (tile, month) pairs with at least one item."""
    return sorted(by_tile_month(pinned))


def by_tile_month(pinned: dict[str, Any]) -> dict[tuple[str, str], list[Item]]:
    """Items of every tile-month, ordered by acquisition and id; one pass for all jobs of a campaign."""
    groups: dict[tuple[str, str], list[Item]] = {}
    for f in sorted(pinned["features"], key=lambda f: (str(f["properties"].get("datetime")), f["id"])):
        for tile in f["canopyflow"]["tile"]:
            groups.setdefault((tile, f["canopyflow"]["month"]), []).append(f)
    return groups


def items_of(pinned: dict[str, Any], tile: str, month: str) -> list[Item]:
    """Items of a tile-month, ordered by acquisition and id."""
    return by_tile_month(pinned).get((tile, month), [])


def grid_of(pinned: dict[str, Any], tile: str) -> Grid:
    """Pixel grid of a tile.

    Raises:
        ArchiveError: the pinned search has no such tile.
    """
    tiles = pinned["lock"]["tiles"]
    if tile not in tiles:
        raise ArchiveError(f"tile {tile} is not in the pinned search", f"tiles: {', '.join(sorted(tiles))}")
    return Grid.from_dict(tiles[tile])


def digest(items: list[Item], grid: Grid) -> str:
    """Sixteen hexadecimal digits over all that fetching these items on this grid depends on."""
    content = {
        "grid": grid.to_dict(),
        "items": [
            {
                "id": item["id"],
                "assets": item["assets"],
                "duplicates": item["canopyflow"].get("duplicates", []),
                "properties": {k: v for k, v in item["properties"].items() if k not in VOLATILE},
            }
            for item in sorted(items, key=lambda i: str(i["id"]))
        ],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def index(pinned: dict[str, Any]) -> dict[str, Any]:
    """Number of scenes and digest of every tile-month, and the lock of the whole search.

    A pinned item takes some 7 kB, an index entry 60 bytes: a national campaign's items fill half a
    gigabyte, which planning must not read, and no job but of its own tile-month.
    """
    tiles: dict[str, dict[str, Any]] = {}
    for tile, month, part in parts(pinned):
        entry = {"scenes": len(part["features"]), "digest": digest(part["features"], grid_of(part, tile))}
        tiles.setdefault(tile, {})[month] = entry
    return {"tiles": tiles, "lock": pinned["lock"]}


def parts(pinned: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(tile, month, content) of every tile-month: a pinned search of its own, with nothing of the others.

    What was rejected, and why, stands in the index alone.
    """
    lock = pinned["lock"]
    for (tile, month), items in sorted(by_tile_month(pinned).items()):
        area = tile.partition("-")[2]
        query = {**lock["query"], "areas": {area: lock["query"]["areas"][area]}}
        yield (
            tile,
            month,
            {
                "type": "FeatureCollection",
                "features": [_of_tile(item, tile, {i["id"] for i in items}) for item in items],
                "lock": {
                    "catalog": lock["catalog"],
                    "collection": lock["collection"],
                    "query": query,
                    "tiles": {tile: lock["tiles"][tile]},
                },
            },
        )


def _of_tile(item: Item, tile: str, names: set[str]) -> Item:
    """The item as one of a tile whose items are called ``names``: nothing in it is of another tile."""
    ours = dict(item["canopyflow"])
    duplicates = [name for name in ours.get("duplicates", []) if name in names]
    return {**item, "canopyflow": {**ours, "tile": [tile], "duplicates": duplicates}}


def read_index(path: str | Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Entries of :func:`index` by tile and month, sorted.

    Raises:
        ArchiveError: the file is not one that a search wrote.
    """
    content = json.loads(Path(path).read_text())
    if not isinstance(content, dict) or "tiles" not in content:
        raise ArchiveError(f"{path} is no index of a search", "delete it and run the search again")
    return {
        (tile, month): entry
        for tile, months in sorted(content["tiles"].items())
        for month, entry in sorted(months.items())
    }


def static_digest(catalog: str | Path) -> str:
    """Sixteen hexadecimal digits over a static catalogue on disk: where it lies does not count.

    JSON counts with its content, images and metadata with their size, which is what a search pins of them.

    Raises:
        ArchiveError: the catalogue's file is not there.
    """
    root = Path(catalog)
    if not root.exists():
        raise ArchiveError(f"the catalogue {root} is not there", "check archive.catalog")
    folder = root if root.is_dir() else root.parent
    content = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in PINNED_FILES):
        content.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        if path.suffix.lower() == ".json":
            content.update(hashlib.sha256(path.read_bytes()).digest())
        else:
            content.update(f"{path.stat().st_size}\0".encode())
    return content.hexdigest()[:16]


def text_digest(text: str) -> str:
    """Sixteen hexadecimal digits over a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
