"""What is known of each file when it is pinned, so that another one at its address shows when it is read.

The server is asked for the ETag of each file, kept as ``canopyflow:etag`` (as the server spells it), and the
size. Of a local file the size is kept. A catalogue that states ``file:checksum`` and ``file:size`` is
believed about the size; its checksum tells a changed file only where all of it is copied, so the ETag is kept
as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from canopyflow.archive.http import Client
from canopyflow.archive.items import Item, resolve_href
from canopyflow.errors import ArchiveError, ArchiveUnreachable
from canopyflow.progress import track

SIZE, CHECKSUM, ETAG = "file:size", "file:checksum", "canopyflow:etag"
NOT_ASKED = "not asked"
"""Instead of an ETag, which stands in quotes: of an answer to be looked at, and not to be pinned."""
THREADS = 16
NAMED = 5
"""Files without a lock that a message names; it counts all."""


def lock_assets(items: Iterable[Item], base: Path | None, client: Client) -> list[str]:
    """Add size and identity to every asset of pinned ``items``; returns what there is to say about it.

    ``base`` is the folder of a local archive. A file that cannot be had stays without a lock: whoever reads
    its scene says so again, and sets the scene aside.

    Raises:
        ArchiveUnreachable: the archive does not answer at all.
    """
    assets = [(item, name) for item in items for name in sorted(item["assets"])]
    if not assets:
        return []
    problems = []
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(_lock, item["assets"][name], base, client) for item, name in assets]
        try:
            for (item, name), future in zip(assets, track(futures, "search: locking files"), strict=True):
                if problem := future.result():
                    problems.append(f"{name} of {item['id']} ({problem})")
        except ArchiveUnreachable:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return _told(problems)


def _lock(asset: dict[str, Any], base: Path | None, client: Client) -> str:
    """Complete one asset; returns why that was not possible, or an empty text."""
    address = resolve_href(asset["href"], base)
    stated = asset.get(CHECKSUM) and asset.get(SIZE)
    try:
        if not address.startswith(("http://", "https://")):
            if not stated:
                asset[SIZE] = Path(address).stat().st_size
            return ""
        answer = client.head(address)
    except ArchiveUnreachable:
        raise
    except ArchiveError as error:
        return str(getattr(error, "reason", error.problem))
    except OSError as error:
        return str(error.strerror)
    if answer.size is not None and not stated:
        asset[SIZE] = answer.size
    if answer.etag:
        asset[ETAG] = answer.etag
    return "" if asset.get(SIZE) is not None or answer.etag else "the server tells neither size nor ETag"


def _told(problems: Sequence[str]) -> list[str]:
    if not problems:
        return []
    more = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    return [f"{len(problems)} files could not be locked: {'; '.join(sorted(problems)[:NAMED])}{more}"]


def suppose_locks(items: Iterable[Item], before: Mapping[str, Item]) -> None:
    """Lock assets as :func:`lock_assets` would if no file had changed since ``before``; nobody is asked.

    Args:
        items: of one tile, as the catalogue states them.
        before: what is pinned of that tile, by id. An asset that was not locked there, or lay elsewhere,
            comes out unlike any that is.
    """
    for item in items:
        pinned = before[item["id"]]["assets"] if item["id"] in before else {}
        for name, asset in item["assets"].items():
            old = pinned.get(name, {})
            same = old.get("href") == asset["href"]
            known = {key: old[key] for key in (SIZE, ETAG) if same and key in old}
            asset.update(known or {ETAG: NOT_ASKED})
