"""Getting bytes and pixels out of an archive: attempts, and telling a bad file from a bad connection.

A file that is broken stays broken: its scene is given up and named. An archive
that does not answer is another matter: giving up would leave holes that look
like clouds, so the whole job fails and can be run again.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.errors

from canopyflow.archive.items import Item, resolve_href
from canopyflow.archive.signing import Signer
from canopyflow.errors import ArchiveError, ArchiveUnreachable

T = TypeVar("T")
log = logging.getLogger("canopyflow")

ATTEMPTS = 3
PAUSE = 1.0
"""Seconds before the second attempt; doubled before each further one."""
TIMEOUT = 60.0
TRY_LATER = (408, 425, 429, 500, 502, 503, 504)


def is_remote(href: str) -> bool:
    return href.startswith(("http://", "https://"))


def patiently(action: Callable[[], T], what: str, transient: type[ArchiveError] = ArchiveUnreachable) -> T:
    """Run ``action``, again after a pause while it raises ``transient``."""
    for attempt in range(1, ATTEMPTS):
        try:
            return action()
        except transient as error:
            pause = PAUSE * 2 ** (attempt - 1)
            log.warning("%s: %s; attempt %d in %.0f s", what, error.problem, attempt + 1, pause)
            time.sleep(pause)
    return action()


def fetch(item: Item, name: str, asset_base: Path | None, sign: Signer) -> bytes:
    """Content of a small asset (metadata).

    Raises:
        ArchiveError: it is not there.
        ArchiveUnreachable: no answer.
    """
    href = resolve_href(item["assets"][name]["href"], asset_base)
    if not is_remote(href):
        try:
            return Path(href).read_bytes()
        except OSError as error:
            raise ArchiveError(f"{item['id']}: {name} cannot be read: {error}") from error
    return patiently(lambda: _request(sign(href), "GET", f"{item['id']}: {name}")[0], href)


def fingerprint(item: Item, name: str, asset_base: Path | None, sign: Signer) -> str:
    """What pins the content of an asset: the item's own checksum, an ETag, or SHA-256 of a local file.

    Empty where the archive offers nothing; a file that is missing will say so when it is read.
    """
    asset = item["assets"][name]
    if asset.get("file:checksum"):
        return f"multihash:{asset['file:checksum']}"
    href = resolve_href(asset["href"], asset_base)
    try:
        if is_remote(href):
            headers = patiently(lambda: _request(sign(href), "HEAD", name)[1], href)
            return f"etag:{headers['ETag']}" if headers.get("ETag") else ""
        with Path(href).open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except ArchiveUnreachable:
        raise
    except (ArchiveError, OSError):
        return ""


def _request(url: str, method: str, what: str) -> tuple[bytes, dict[str, str]]:
    shown = url.partition("?")[0]
    try:
        with urlopen(Request(url, method=method), timeout=TIMEOUT) as answer:
            return answer.read(), dict(answer.headers)
    except HTTPError as error:
        if error.code in TRY_LATER:
            raise ArchiveUnreachable(f"{shown} answers {error.code}", "try again later") from error
        raise ArchiveError(f"{what}: {shown} answers {error.code}") from error
    except (URLError, OSError) as error:
        raise ArchiveUnreachable(f"{shown} does not answer: {error}", "try again later") from error


def compute(pixels: da.Array, opened: Item) -> npt.NDArray[np.uint16]:
    """Compute a lazy part of a scene.

    Args:
        pixels: array of a :class:`~canopyflow.archive.reader.Reader`.
        opened: its item with hrefs as they were opened, to find out what is wrong.

    Raises:
        ArchiveError: a file of the item is missing or broken; the message names band and file.
        ArchiveUnreachable: the archive does not answer.
    """

    def attempt() -> npt.NDArray[np.uint16]:
        try:
            with dask.config.set(scheduler="threads"):
                return np.asarray(pixels.compute())
        except Exception as error:  # stackstac raises RuntimeError, odc-stac and rasterio their own
            raise diagnosis(error, opened) from error

    remote = any(is_remote(asset["href"]) for asset in opened["assets"].values())
    # A connection that broke midway looks like a broken file: a remote file is not given up at once.
    return patiently(attempt, opened["id"], ArchiveError if remote else ArchiveUnreachable)


def diagnosis(error: Exception, opened: Item) -> ArchiveError:
    """The error behind a failed read: each file is tried again, for GDAL's wording says too little."""
    text = _chain(error)
    assets = {name: asset["href"] for name, asset in sorted(opened["assets"].items())}
    named = [name for name, href in assets.items() if href.partition("?")[0] in text]
    for name in named or list(assets):
        found = _problem(name, assets[name], opened["id"], known_bad=bool(named))
        if found is not None:
            return found
    return ArchiveError(f"{opened['id']} cannot be read: {text[:200]}")


def _problem(name: str, href: str, item_id: str, known_bad: bool) -> ArchiveError | None:
    """What is wrong with one asset, None if it reads well from end to end."""
    label = f"{name}: {href.partition('?')[0].rpartition('/')[2]} of {item_id}"
    if not is_remote(href) and not Path(href).is_file():
        return ArchiveError(f"{label} is missing")
    if is_remote(href):
        try:
            _request(href, "HEAD", label)
        except ArchiveError as refused:
            return refused
    return ArchiveError(f"{label} is truncated or corrupt") if known_bad or not _reads_well(href) else None


def _reads_well(href: str) -> bool:
    try:
        with rasterio.open(href) as source:
            for _, window in source.block_windows(1):
                source.read(1, window=window)
    except rasterio.errors.RasterioError:
        return False
    return True


def _chain(error: BaseException | None) -> str:
    """Messages of an exception and of all that led to it."""
    parts: list[str] = []
    while error is not None:
        parts.append(" ".join(str(error).split()))
        error = error.__cause__ or error.__context__
    return " ".join(parts)
