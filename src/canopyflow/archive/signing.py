"""Credentials of the archives that want some, by host, made at the moment of reading.

Nothing here is ever pinned, logged or told: keys come from the environment, tokens live in memory, and a
:class:`~canopyflow.archive.http.Ticket` goes to the connection and nowhere else. Redirected requests are
authorised anew for the host that they lead to, so that no host sees another's key.
"""

import hashlib
import hmac
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from canopyflow.archive.http import Client, Patience, Ticket
from canopyflow.errors import ArchiveError, ArchiveUnreachable

TOKEN_SERVICE = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
PLANETARY_COMPUTER_HOST = "sentinel2l2a01.blob.core.windows.net"
CDSE_LOGIN = "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token"
CDSE_CLIENT = "cdse-public"
CDSE_FILES = ("download.dataspace.copernicus.eu", "zipper.dataspace.copernicus.eu")
CDSE_STORE = "eodata.dataspace.copernicus.eu"
"""Serves the bucket ``eodata`` to those who sign with S3 keys of the Copernicus Data Space."""
CDSE_REGION = "default"

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Hosts that are this machine: what is sent to them by plain http goes over no network."""

MARGIN = 600.0
"""Seconds before its end at which a token is renewed, but not before half of its life is over."""
UNKNOWN_LIFE = 60.0
"""Seconds that a token is used when it seems to have ended before it came: our clock or theirs is wrong."""


class Service(Protocol):
    """One archive's way of knowing its readers; ``hosts`` are those that it concerns."""

    hosts: Sequence[str]

    def authorise(self, method: str, url: str) -> Ticket: ...

    def renew(self, refused: Ticket) -> None:
        """The ticket was refused: forget the token it was made of, if that is still the one in use."""
        ...


class Credentials:
    """All services that are known; an address of another host needs no ticket."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._by_host = {host: service for service in services for host in service.hosts}

    def authorise(self, method: str, url: str) -> Ticket:
        """The ticket for ``url``, from the service of its host."""
        service = self._service(url)
        return service.authorise(method, url) if service else Ticket(url, {})

    def renew(self, url: str, refused: Ticket) -> None:
        """Make the next ticket for the host of ``url`` of something newer than ``refused``."""
        service = self._service(url)
        if service:
            service.renew(refused)

    def _service(self, url: str) -> Service | None:
        """Who knows the host; nobody for plain http, where whoever is on the way could read the keys."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        return self._by_host.get(host) if parts.scheme == "https" or host in LOOPBACK else None


def open_client(patience: Patience | None = None, environment: Mapping[str, str] | None = None) -> Client:
    """A client with the credentials that the environment holds (default: the process's own).

    ``PC_SDK_SUBSCRIPTION_KEY`` for Planetary Computer, which works without; ``CDSE_TOKEN``, or
    ``CDSE_USERNAME`` and ``CDSE_PASSWORD``, for files of the Copernicus Data Space; ``AWS_ACCESS_KEY_ID`` and
    ``AWS_SECRET_ACCESS_KEY`` (``AWS_SESSION_TOKEN``) for its object store.
    """
    known = os.environ if environment is None else environment
    asking = Client(patience=patience)
    keys = S3Keys.of(known)
    services: list[Service] = [
        PlanetaryComputer(asking, known.get("PC_SDK_SUBSCRIPTION_KEY")),
        CopernicusDataSpace(
            asking, known.get("CDSE_USERNAME"), known.get("CDSE_PASSWORD"), known.get("CDSE_TOKEN")
        ),
        ObjectStore(keys),
    ]
    return Client(Credentials(services), patience)


class PlanetaryComputer:
    """A token in the query of every file (https://planetarycomputer.microsoft.com/docs/concepts/sas).

    Without a subscription key the token service and the search serve fewer requests per minute.
    """

    def __init__(
        self,
        client: Client,
        subscription_key: str | None = None,
        *,
        service: str = TOKEN_SERVICE,
        file_hosts: Sequence[str] = (PLANETARY_COMPUTER_HOST,),
    ) -> None:
        self._client, self._service, self._file_hosts = client, service, file_hosts
        self._headers = {"Ocp-Apim-Subscription-Key": subscription_key} if subscription_key else {}
        self._tokens = _Tokens(client.patience.clock)
        self.hosts: Sequence[str] = (*file_hosts, str(urlsplit(service).hostname))

    def authorise(self, method: str, url: str) -> Ticket:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if host not in self._file_hosts:
            return Ticket(url, self._headers)
        key = f"{host.split('.')[0]}/{parts.path.strip('/').split('/')[0]}"
        token = self._tokens.get(key, lambda: self._ask(key))
        query = f"{parts.query}&{token}" if parts.query else token
        return Ticket(urlunsplit(parts._replace(query=query)), {}, token)

    def renew(self, refused: Ticket) -> None:
        self._tokens.forget(refused.token)

    def _ask(self, key: str) -> tuple[str, float]:
        def check(content: bytes) -> tuple[str, float]:
            answer = json.loads(content)
            expiry = datetime.fromisoformat(answer["msft:expiry"])
            return str(answer["token"]), (expiry - datetime.now(UTC)).total_seconds()

        with _indispensable("Planetary Computer"):
            return self._client.request("GET", f"{self._service}/{key}", check, headers=self._headers)


class CopernicusDataSpace:
    """A bearer token with every file, got for name and password or given as it is
    (https://documentation.dataspace.copernicus.eu/APIs/Token.html).
    """

    def __init__(
        self,
        client: Client,
        username: str | None = None,
        password: str | None = None,
        token: str | None = None,
        *,
        login: str = CDSE_LOGIN,
        hosts: Sequence[str] = CDSE_FILES,
    ) -> None:
        self._client, self._login, self.hosts = client, login, hosts
        self._account = {"username": username, "password": password} if username and password else None
        self._given = token
        self._tokens = _Tokens(client.patience.clock)

    def authorise(self, method: str, url: str) -> Ticket:
        token = self._tokens.get("", self._ask) if self._account else self._given
        if not token:
            return Ticket(url, {}, advice="set CDSE_USERNAME and CDSE_PASSWORD, or CDSE_TOKEN")
        advice = (
            "" if self._account else "CDSE_TOKEN may have expired; CDSE_USERNAME and CDSE_PASSWORD renew it"
        )
        return Ticket(url, {"Authorization": f"Bearer {token}"}, token, advice)

    def renew(self, refused: Ticket) -> None:
        self._tokens.forget(refused.token)

    def _ask(self) -> tuple[str, float]:
        def check(content: bytes) -> tuple[str, float]:
            answer = json.loads(content)
            return str(answer["access_token"]), float(answer["expires_in"])

        form = {"client_id": CDSE_CLIENT, "grant_type": "password", **(self._account or {})}
        with _indispensable("the Copernicus Data Space"):
            return self._client.request(
                "POST",
                self._login,
                check,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode(form).encode(),
                final=(400, 401),  # a wrong password stays wrong, and asking again may lock the account
            )


@dataclass(frozen=True, repr=False)
class S3Keys:
    """Access key, secret key and, for temporary ones, the session's token."""

    access: str
    secret: str
    session: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "S3Keys | None":
        access, secret = (environment.get(f"AWS_{n}") for n in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
        return cls(access, secret, environment.get("AWS_SESSION_TOKEN")) if access and secret else None


class ObjectStore:
    """A signature with every file of an S3 store, made of keys that need no renewal."""

    def __init__(
        self, keys: S3Keys | None, hosts: Sequence[str] = (CDSE_STORE,), region: str = CDSE_REGION
    ) -> None:
        self._keys, self.hosts, self._region = keys, hosts, region

    def authorise(self, method: str, url: str) -> Ticket:
        if self._keys is None:
            return Ticket(
                url, {}, advice="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to the store's S3 keys"
            )
        return Ticket(url, signature(method, url, {}, self._keys, self._region, datetime.now(UTC)))

    def renew(self, refused: Ticket) -> None:
        """Nothing to do: every signature is new."""


NO_BODY = hashlib.sha256(b"").hexdigest()


def signature(
    method: str, url: str, headers: Mapping[str, str], keys: S3Keys, region: str, now: datetime
) -> dict[str, str]:
    """The headers that sign a request without body: AWS signature version 4, service S3.

    ``headers`` are further ones to sign. After
    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
    """
    parts = urlsplit(url)
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    added = {"x-amz-content-sha256": NO_BODY, "x-amz-date": moment}
    if keys.session:
        added["x-amz-security-token"] = keys.session
    signed = {"host": parts.netloc.rpartition("@")[2], **added}
    signed |= {name.lower(): " ".join(text.split()) for name, text in headers.items()}
    pairs = sorted(
        (quote(k, safe="-_.~"), quote(v, safe="-_.~"))
        for k, v in parse_qsl(parts.query, keep_blank_values=True)
    )
    names = ";".join(sorted(signed))
    request = [
        method,
        quote(unquote(parts.path) or "/", safe="/-_.~"),
        "&".join(f"{k}={v}" for k, v in pairs),
    ]
    request += [*(f"{name}:{signed[name]}" for name in sorted(signed)), "", names, NO_BODY]
    scope = f"{day}/{region}/s3/aws4_request"
    digest = hashlib.sha256("\n".join(request).encode()).hexdigest()
    key = f"AWS4{keys.secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    proof = hmac.digest(key, f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}".encode(), "sha256").hex()
    credential = f"Credential={keys.access}/{scope},SignedHeaders={names},Signature={proof}"
    return {**added, "Authorization": f"AWS4-HMAC-SHA256 {credential}"}


@contextmanager
def _indispensable(archive: str) -> Iterator[None]:
    """Without a token no file can be read: there is no point in going on to the next one."""
    try:
        yield
    except ArchiveError as error:
        raise ArchiveUnreachable(
            f"no token of {archive}: {error.problem}",
            error.remedy or "check the credentials, or try again later",
        ) from error


@dataclass(frozen=True)
class _Token:
    text: str
    renew_at: float


class _Tokens:
    """Tokens by key, each asked for once however many threads want it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, _Token] = {}
        self._lock = threading.Lock()

    def get(self, key: str, ask: Callable[[], tuple[str, float]]) -> str:
        """The token called ``key``; ``ask`` gives a new one and the seconds that it is good for."""
        with self._lock:
            token = self._kept.get(key)
            if token is None or self._clock() >= token.renew_at:
                text, life = ask()
                useful = max(life / 2, life - MARGIN) if life > 0 else UNKNOWN_LIFE
                token = self._kept[key] = _Token(text, self._clock() + useful)
            return token.text

    def forget(self, text: str) -> None:
        with self._lock:
            self._kept = {key: token for key, token in self._kept.items() if token.text != text}
