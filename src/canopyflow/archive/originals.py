"""A file as it lies in the archive, remote or local, read in parts or whole and held against what was
pinned."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from canopyflow.archive.answers import Answer
from canopyflow.archive.http import LARGEST_BODY, Client, FileChanged
from canopyflow.errors import ArchiveError

HEAD = 16 * 1024
"""Bytes that are read first: the directories of a cloud-optimised GeoTIFF of a whole tile lie in them."""


class Original(Protocol):
    """A file of an archive.

    Attributes:
        head: its first bytes.
        size: in bytes; None where the archive does not say.
        in_parts: whether parts of it can be had without the rest.
        checksum: what identifies it: ``multihash:``, ``etag:`` or ``sha256:``, else empty.
    """

    head: bytes
    size: int | None
    in_parts: bool
    checksum: str

    def read(self, start: int, stop: int) -> bytes:
        """Bytes from ``start`` to before ``stop``, fewer only where the file ends."""
        ...

    def put(self, path: Path) -> None:
        """Put the whole file to a path of ours."""
        ...


class RemoteFile:
    """A file behind an address."""

    def __init__(self, url: str, asset: Mapping[str, Any], client: Client) -> None:
        self._url, self._asset, self._client = url, asset, client
        size, etag = asset.get("file:size"), asset.get("canopyflow:etag")
        self._answer = client.read(
            url, 0, HEAD, Answer(b"", size, etag) if size is not None or etag else None
        )
        self.head, self.size, self.in_parts = self._answer.content, self._answer.size, self._answer.ranged
        self.checksum = multihash(asset) or (f"etag:{self._answer.etag}" if self._answer.etag else "")

    def read(self, start: int, stop: int) -> bytes:
        content = self.head[start:stop]
        if len(content) < stop - start and (self.size is None or start + len(content) < self.size):
            content += self._client.read(self._url, start + len(content), stop, self._answer).content
        return content

    def put(self, path: Path) -> None:
        with path.open("w+b") as file:
            self._client.download(self._url, file, self._answer)
        if multihash(self._asset):
            with path.open("rb") as file:
                compare(self._asset, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


class LocalFile:
    """A file on this machine."""

    in_parts = True

    def __init__(self, path: Path, asset: Mapping[str, Any]) -> None:
        self._path = path
        with path.open("rb") as file:
            self.head = file.read(HEAD)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            self.size: int | None = os.fstat(file.fileno()).st_size
        compare(asset, self.size, digest)
        self.checksum = multihash(asset) or f"sha256:{digest}"

    def read(self, start: int, stop: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def put(self, path: Path) -> None:
        path.symlink_to(self._path)


def is_remote(href: str) -> bool:
    return href.startswith(("http://", "https://"))


def open_original(href: str, asset: Mapping[str, Any], client: Client) -> Original:
    """The file of ``asset`` at an address or absolute path.

    Raises:
        FileChanged: it is not the one that was pinned.
        ArchiveError: it cannot be had.
        OSError: it cannot be read on this machine.
    """
    return RemoteFile(href, asset, client) if is_remote(href) else LocalFile(Path(href), asset)


def multihash(asset: Mapping[str, Any]) -> str:
    """The checksum that the item itself gives."""
    return f"multihash:{asset['file:checksum']}" if asset.get("file:checksum") else ""


def compare(asset: Mapping[str, Any], size: int, sha256: str) -> None:
    """Hold a whole file against what was pinned.

    Raises:
        FileChanged: it is another one.
    """
    pinned = str(asset.get("file:checksum", "")).lower()
    # 0x12, 0x20: SHA-256 of 32 bytes, https://multiformats.io/multihash
    other = pinned.startswith("1220") and pinned != f"1220{sha256}"
    if other or (asset.get("file:size") or size) != size:
        raise FileChanged("", "is another file than the pinned one")


def whole(original: Original) -> bytes:
    """The content of a small file.

    Raises:
        ArchiveError: it is too large for one.
    """
    content = original.read(0, LARGEST_BODY)
    if len(content) == LARGEST_BODY:
        raise ArchiveError(f"it is larger than {LARGEST_BODY} bytes, too large for what it should be")
    return content
