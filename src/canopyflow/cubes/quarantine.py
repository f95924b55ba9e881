"""Scenes that were set aside because they could not be read: a small file for each tile-month that has some.

What is set aside stands in the scene store itself (``problem`` of a scene's record). A campaign of 12,000
tile-months cannot open as many stores to plan what to do; so whoever writes a store also keeps
``quarantine/{tile}/{month}.json``, and only while a scene of that store is set aside. Planning reads those
files; in a campaign without problems there are none.
"""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from canopyflow.atomic import write_json
from canopyflow.errors import DataError

log = logging.getLogger("canopyflow")

TileMonth = tuple[str, str]


def note_quarantine(path: Path, tile: str, month: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Write to ``path`` which scenes of a tile-month are set aside, or remove it if none is.

    Args:
        path: ``quarantine/{tile}/{month}.json`` of the campaign.
        tile, month: of the scene store.
        records: what the store's attribute ``scenes`` holds, each with ``id`` and ``problem``.
    """
    aside = [{"id": r["id"], "problem": r["problem"]} for r in records if r["problem"]]
    if aside:
        write_json(path, {"tile": tile, "month": month, "scenes": aside})
    else:
        path.unlink(missing_ok=True)


def set_aside(folder: Path, tile_months: Collection[TileMonth]) -> dict[TileMonth, dict[str, str]]:
    """Problem of each scene that is set aside, by its id, for each tile-month that has some.

    Args:
        folder: ``quarantine/`` of the campaign; it need not be there.
        tile_months: those of the campaign today; files of others, which a former search found, do not count.

    Raises:
        DataError: a file is not one of :func:`note_quarantine`.
    """
    found = {}
    for path in sorted(folder.glob("*/*.json")):
        key = (path.parent.name, path.stem)
        if key in tile_months:
            try:
                scenes = json.loads(path.read_text())["scenes"]
                found[key] = {str(scene["id"]): str(scene["problem"]) for scene in scenes}
            except (ValueError, KeyError, TypeError):
                remedy = f"remove it and the store of {' '.join(key)} and run again"
                raise DataError(f"{path} does not say which scenes are set aside", remedy) from None
    return found


def scenes_of(aside: Mapping[TileMonth, Mapping[str, str]]) -> dict[str, str]:
    """Problem of each scene by its MGRS tile and id ("32TPT S2A_..."): in two sites of a tile it is one."""
    return {
        f"{tile.partition('-')[0]} {name}": problem
        for (tile, _), scenes in aside.items()
        for name, problem in sorted(scenes.items())
    }


def note_retry(folder: Path, tile_months: Collection[TileMonth], out: Path) -> None:
    """Write to ``out`` (JSON) and to the log which scenes are still set aside when they were tried again."""
    scenes = scenes_of(set_aside(folder, tile_months))
    for name, problem in scenes.items():
        log.warning("%s is still set aside: %s", name, problem)
    if not scenes:
        log.info("no scene is set aside any more")
    write_json(out, scenes)
