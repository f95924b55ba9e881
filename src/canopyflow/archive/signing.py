"""Signing of hrefs at the moment of reading; a signed href expires within the hour."""

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from canopyflow.errors import ArchiveUnreachable

Signer = Callable[[str], str]
"""Takes an unsigned href, returns one that can be opened now."""

TOKEN_SERVICE = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
PLANETARY_COMPUTER_HOST = "sentinel2l2a01.blob.core.windows.net"
MARGIN = 600.0
"""Seconds before its expiry at which a token counts as old: a scene must be readable with it to the end."""


class PlanetaryComputerSigner:
    """Appends a token to hrefs of Planetary Computer's Sentinel-2 store; leaves all others alone.

    Tokens come from the public token service and are kept until shortly before
    they expire (https://planetarycomputer.microsoft.com/docs/concepts/sas).
    """

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def __call__(self, href: str) -> str:
        parts = urlsplit(href)
        if parts.hostname != PLANETARY_COMPUTER_HOST or parts.query:
            return href
        container = parts.path.strip("/").split("/")[0]
        return f"{href}?{self._token(parts.hostname.split('.')[0], container)}"

    def _token(self, account: str, container: str) -> str:
        key = f"{account}/{container}"
        with self._lock:
            token, expiry = self._tokens.get(key, ("", 0.0))
            if time.time() > expiry - MARGIN:
                try:
                    with urlopen(f"{TOKEN_SERVICE}/{key}", timeout=30) as answer:
                        content = json.load(answer)
                except (HTTPError, URLError, TimeoutError) as error:
                    raise ArchiveUnreachable(
                        f"the token service of Planetary Computer did not answer: {error}", "try again later"
                    ) from error
                token, expiry = content["token"], datetime.fromisoformat(content["msft:expiry"]).timestamp()
                self._tokens[key] = token, expiry
            return token
