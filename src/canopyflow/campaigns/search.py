"""Asking a campaign's catalogue now, and what the answer changes in what is pinned."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from canopyflow.archive.grid import Grid
from canopyflow.archive.lock import suppose_locks
from canopyflow.archive.pinned import VOLATILE, digest, grid_of, read_index, read_pinned
from canopyflow.archive.search import FOUND, pin
from canopyflow.atomic import write_json
from canopyflow.config import Campaign
from canopyflow.config.archive import DEMO_CATALOG
from canopyflow.demo.search import pin_demo
from canopyflow.errors import CanopyflowError, DataError

INDEX = "index.json"


@dataclasses.dataclass(frozen=True)
class Difference:
    """What a tile-month gains, loses and has otherwise: ids of items; ``changed`` says what of each."""

    tile: str
    month: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: dict[str, str]
    grids: tuple[Grid | None, Grid | None]


def ask(campaign: Campaign, folder: Path, supposing: Path | None = None) -> Path:
    """Search as the campaign's rule would, into ``folder``; returns the index of what was found.

    Args:
        campaign: the campaign.
        folder: an empty one.
        supposing: index of a former answer, which need not be there. If given, the archive is not asked for
            size and ETag of each file, of which a nation has a million: files are supposed to be as they
            were then. Digests of such an answer are not final, and nobody can pin it.

    Raises:
        DataError: the campaign has no archive, or its demo archive is not written yet.
        ArchiveError: the catalogue gives nothing usable, or does not answer.
    """
    if campaign.archive is None:
        raise DataError("a campaign of simulations searches nothing", "give area, period and archive")
    index = folder / INDEX
    is_supposed = supposing is not None and campaign.archive.lock == "assets"
    query = {**campaign.query, "lock": "items"} if is_supposed else campaign.query
    if not campaign.uses_demo:
        pin(campaign.archive.catalog, query, index)
    elif DEMO_CATALOG.exists():
        pin_demo(DEMO_CATALOG, query, index)
    else:
        raise DataError("the demo archive is not written yet", "run the campaign once")
    if supposing is not None and is_supposed:
        _suppose(index, supposing)
    return index


def _suppose(found: Path, pinned: Path) -> None:
    """Complete an answer without locks by those that are pinned, and its digests with it."""
    content = json.loads(found.read_text())
    before = read_index(pinned) if pinned.exists() else {}
    for tile, month in read_index(found):
        path = found.parent / tile / f"{month}.json"
        part = read_pinned(path)
        old = read_pinned(pinned.parent / tile / path.name)["features"] if (tile, month) in before else []
        suppose_locks(part["features"], {item["id"]: item for item in old})
        content["tiles"][tile][month]["digest"] = digest(part["features"], grid_of(part, tile))
        write_json(path, part)
    write_json(found, content)


def differences(pinned: Path, found: Path) -> Iterator[Difference]:
    """Tile-months that differ between two indexes and the files beside them; the first may be missing."""
    before = read_index(pinned) if pinned.exists() else {}
    after = read_index(found)
    for tile, month in sorted(before.keys() | after.keys()):
        if before.get((tile, month)) != after.get((tile, month)):
            old, new = (
                read_pinned(index.parent / tile / f"{month}.json") if (tile, month) in entries else None
                for index, entries in ((pinned, before), (found, after))
            )
            yield _difference(tile, month, old, new)


def _difference(tile: str, month: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> Difference:
    items = [{f["id"]: f for f in part["features"]} if part else {} for part in (old, new)]
    both = sorted(items[0].keys() & items[1].keys())
    changed = {name: ", ".join(_changes(items[0][name], items[1][name])) for name in both}
    return Difference(
        tile,
        month,
        added=tuple(sorted(items[1].keys() - items[0].keys())),
        removed=tuple(sorted(items[0].keys() - items[1].keys())),
        changed={name: text for name, text in changed.items() if text},
        grids=(grid_of(old, tile) if old else None, grid_of(new, tile) if new else None),
    )


def _changes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """What differs between two states of an item, as far as its scene depends on it."""
    for kind in ("properties", "assets"):
        for name in sorted(old[kind].keys() | new[kind].keys()):
            first, second = old[kind].get(name), new[kind].get(name)
            if first == second or name in VOLATILE:
                continue
            if kind == "properties" or first is None or second is None:
                yield name
                continue
            fields = sorted(f for f in first.keys() | second.keys() if first.get(f) != second.get(f))
            yield f"{name} ({', '.join(fields)})"
    if old["canopyflow"].get("duplicates") != new["canopyflow"].get("duplicates"):
        yield "duplicates"


def pin_found(found: Path, arguments: Sequence[str]) -> None:
    """Let Snakemake run the campaign's search, which takes ``found`` for the catalogue's answer.

    So its records are those of a search: the next run searches no more, and fetches what has changed.

    Args:
        found: index that :func:`ask` returned.
        arguments: those of ``snakemake``, the campaign file included.

    Raises CanopyflowError if Snakemake ends with an error.
    """
    command = [sys.executable, "-m", "snakemake", "--until", "search", "--forcerun", "search", *arguments]
    environment = {**os.environ, FOUND: str(found)}
    if subprocess.run(command, env=environment, check=False).returncode:
        raise CanopyflowError("what was found is not pinned: see above", "the same command searches again")


def told(difference: Difference) -> Iterator[str]:
    """Lines about one tile-month."""
    counts = [
        (len(difference.added), "added"),
        (len(difference.removed), "removed"),
        (len(difference.changed), "changed"),
    ]
    listed = ", ".join(f"{number} {what}" for number, what in counts if number)
    yield f"{difference.tile} {difference.month}: {listed or 'another grid'}"
    yield from (f"  + {name}" for name in difference.added)
    yield from (f"  - {name}" for name in difference.removed)
    yield from (f"  ~ {name}: {what}" for name, what in difference.changed.items())
    old, new = difference.grids
    if old and new and old != new:
        yield f"  grid {list(old.bounds)} of EPSG:{old.epsg} -> {list(new.bounds)} of EPSG:{new.epsg}"


def scenes_in(index: Path) -> str:
    """How much an index holds, in words."""
    if not index.exists():
        return "nothing yet"
    entries = read_index(index)
    return f"{sum(entry['scenes'] for entry in entries.values())} scenes in {len(entries)} tile-months"
