"""Reading the headers of an HTTP answer with suspicion: which bytes of which file, and when to ask again.

Pure functions; nothing here opens a connection.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from canopyflow.archive.addresses import without_secrets

Headers = Mapping[str, str]
shown = without_secrets
"""The address as it may be printed."""


class Doubtful(Exception):
    """An answer that contradicts itself or the question; the text says how. Worth asking again."""


@dataclass(frozen=True)
class Answer:
    """What a server gave of one file.

    Attributes:
        content: the bytes asked for.
        size: bytes of the whole file, None where the server does not say.
        etag: the file's ETag as the server spells it, None where it has none.
        ranged: whether the server sends parts of files; where it does not, every question costs the
            file from its start.
    """

    content: bytes
    size: int | None = None
    etag: str | None = None
    ranged: bool = True


@dataclass(frozen=True)
class Span:
    """Bytes ``first`` to ``stop`` (not included) of a file of ``size`` bytes (None: unknown)."""

    first: int
    stop: int
    size: int | None


def wait_asked(headers: Headers, now: datetime | None = None) -> float | None:
    """Seconds that ``Retry-After`` asks for; None without that header or where it makes no sense.

    A date is counted from the answer's own ``Date``: the server's clock and ours may differ.
    """
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    wanted = _moment(text)
    if wanted is None:
        return None
    sent = _moment(headers.get("Date", "")) or now or datetime.now(UTC)
    return max(0.0, (wanted - sent).total_seconds())


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def length_of(headers: Headers) -> int | None:
    """``Content-Length``; None without that header.

    Raises:
        Doubtful: it is no number.
    """
    text = headers.get("Content-Length")
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,15}", text.strip()):
        raise Doubtful("an answer whose Content-Length is no number")
    return int(text)


def span_of(headers: Headers) -> Span:
    """The bytes that a 206 holds.

    Raises:
        Doubtful: ``Content-Range`` is missing, makes no sense, or is not as long as ``Content-Length``.
    """
    text = headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)", text.strip())
    if not found:
        raise Doubtful("an answer without the range that it holds")
    span = Span(int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3]))
    if span.first >= span.stop or (span.size is not None and span.stop > span.size):
        raise Doubtful("an answer with an impossible range")
    length = length_of(headers)
    if length is not None and length != span.stop - span.first:
        raise Doubtful("an answer that is not as long as its range")
    return span


def size_beyond_end(headers: Headers) -> int | None:
    """Size of the file from a 416, None where it does not say."""
    found = re.fullmatch(r"bytes \*/(\d{1,15})", headers.get("Content-Range", "").strip())
    return int(found[1]) if found else None


def same_etag(first: str | None, second: str | None) -> bool:
    """Whether two ETags name one content; weak and strong forms are alike, a missing one fits every other."""
    if not first or not second:
        return True
    return first.removeprefix("W/") == second.removeprefix("W/")


def decoded(content: bytes, encoding: str, limit: int) -> bytes:
    """A whole body without its ``Content-Encoding``, at most ``limit`` bytes.

    Raises:
        Doubtful: an encoding that nobody asked for, a body that breaks it, or one that is too large.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return content
    if name not in ("gzip", "x-gzip"):
        raise Doubtful(f"an answer encoded as {name[:20]!r}")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(content, limit + 1)
    except zlib.error as error:
        raise Doubtful("an answer whose compression is broken") from error
    if len(plain) > limit:
        raise Doubtful(f"an answer of more than {limit} bytes")
    if not unpacker.eof:
        raise Doubtful("an answer whose compression ends early")
    return plain
