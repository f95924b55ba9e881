"""A file as it lies in the archive, remote or local, read in parts or whole and held against what was
pinned."""

import hashlib
import io
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from canopyflow.archive.answers import Answer
from canopyflow.archive.http import LARGEST_BODY, Client, FileChanged
from canopyflow.errors import ArchiveError

HEAD = 16 * 1024
"""Bytes that are read first: the directories of a cloud-optimised GeoTIFF of a whole tile lie in them."""

ALGORITHMS = {"1220": "sha256", "1114": "sha1", "d50110": "md5", "d510": "md5"}
"""By what a multihash begins with: code of the function and length (https://multiformats.io/multihash); the
last is how some spell the code of MD5, which takes two bytes."""


class OtherContent(FileChanged):
    """A whole copy has another checksum than its item states: changed, or damaged on the way."""


class Original(Protocol):
    """A file of an archive.

    Attributes:
        asset: what was pinned of it.
        head: its first bytes.
        size: in bytes; None where the archive does not say.
        in_parts: whether parts of it can be had without the rest.
        checksum: what identifies it: ``multihash:``, ``etag:`` or ``sha256:``, else empty.
    """

    asset: Mapping[str, Any]
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
        self._url, self.asset, self._client = url, asset, client
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
            compare(self.asset, file)


class LocalFile:
    """A file on this machine."""

    in_parts = True

    def __init__(self, path: Path, asset: Mapping[str, Any]) -> None:
        self._path, self.asset = path, asset
        with path.open("rb") as file:
            self.head = file.read(HEAD)
            self.size: int | None = os.fstat(file.fileno()).st_size
            if asset.get("file:size") not in (None, self.size):
                raise FileChanged("", "has another size than the pinned one")
            compare(asset, file)
            self.checksum = multihash(asset) or f"sha256:{_digest(file, 'sha256')}"

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


def compare(asset: Mapping[str, Any], file: BinaryIO) -> None:
    """Hold a whole file against the checksum that its item states, if that is one of ``ALGORITHMS``.

    Raises:
        OtherContent: it has another one.
    """
    stated = str(asset.get("file:checksum") or "").lower()
    for prefix, algorithm in ALGORITHMS.items():
        if stated.startswith(prefix) and stated != prefix + _digest(file, algorithm):
            raise OtherContent(str(asset.get("href")), f"has another {algorithm} than its item states")


def _digest(file: BinaryIO, algorithm: str) -> str:
    file.seek(0)
    new = partial(hashlib.new, algorithm, usedforsecurity=False)
    return hashlib.file_digest(file, new).hexdigest()  # type: ignore[arg-type]


def whole(original: Original) -> bytes:
    """The content of a small file.

    Raises:
        OtherContent: it is not what its item states.
        ArchiveError: it is too large for one.
    """
    content = original.read(0, LARGEST_BODY)
    if len(content) == LARGEST_BODY:
        raise ArchiveError(f"it is larger than {LARGEST_BODY} bytes, too large for what it should be")
    compare(original.asset, io.BytesIO(content))
    return content
