"""Addresses as they may be kept: without whatever opens a door.

Keys travel in addresses under any name: ``api_key``, ``sig``, ``X-Goog-Signature``, a user and a password.
So nothing is looked for: the query, the fragment, the path parameters and the user of an address are cut,
and what is left names the file. None of the archives that :mod:`canopyflow.archive.presets` lists needs more
than that: signatures and tokens are added at the moment of reading.
"""

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

REMOTE = ("http", "https")

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_IN_TEXT = re.compile(rf"{_SCHEME}(?:(?!{_SCHEME})[^\s?#])+(?:[?#]\S*)?")
"""Up to the next white space, whatever stands between, because a key may hold it; but for another address
in what is not a query."""
HIDDEN = "an address that cannot be read"


def is_address(place: str) -> bool:
    """Whether a catalogue or a file is named by an address of the network, and not by a path."""
    scheme, mark, _ = place.partition("://")
    return bool(mark) and scheme in REMOTE


def without_secrets(address: str) -> str:
    """The address without user, password, query, fragment and path parameters; a path stays as it is.

    An address whose parts cannot be told apart is not shown at all.
    """
    if "://" not in address and not address.startswith("//"):
        return address
    try:
        parts = urlsplit(address.strip())
        port = f":{parts.port}" if parts.port is not None else ""
        host = parts.hostname or ""
    except ValueError:
        return HIDDEN
    host = f"[{host}]" if ":" in host else host
    path = "/".join(part.partition(";")[0] for part in parts.path.split("/"))
    return urlunsplit((parts.scheme, f"{host}{port}", path, "", ""))


def query_names(address: str) -> set[str]:
    """Names of what stands in the query of an address: they may be said, their values may not."""
    try:
        return {name for name, _ in parse_qsl(urlsplit(address).query, keep_blank_values=True)}
    except ValueError:
        return set()


def cleaned(content: Any) -> Any:
    """JSON content, or a text, with every address in it as :func:`without_secrets` leaves it."""
    if isinstance(content, str):
        return _IN_TEXT.sub(lambda found: without_secrets(found[0]), content)
    if isinstance(content, dict):
        return {cleaned(key): cleaned(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [cleaned(value) for value in content]
    return content
