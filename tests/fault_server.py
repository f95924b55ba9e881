"""An archive on the loopback that misbehaves as it is told: files with ranges and ETags, tokens, STAC search.

    with FaultServer(folder) as server:
        server.faults = Faults(kinds=("503", "reset"), share=0.2, seed=1)
        server.permanent["/scene/B04.tif"] = "stall"
        ... server.url ...
        server.requests          # what was asked, and what came of it

Whether a question goes wrong, and how, follows from the seed, the question itself and how often it was
asked, and from nothing else: the threads of a client may put their questions in any order.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KINDS = ("429", "500", "503", "reset", "dropped", "truncated", "wrong_length", "drip", "403")
"""Faults for a share of requests. ``reset``: the connection, before any answer; ``dropped``: after the
headers; ``truncated``: in the middle of the body, closed in good order; ``wrong_length``: a Content-Length
or Content-Range that is not true; ``drip``: the body in small pieces."""

PERMANENT = (*KINDS, "404", "stall", "corrupt", "page")
"""Faults for all requests of a path: those, and ``stall``: no answer, the connection stays open;
``corrupt``: all bytes inverted, of a larger file those behind the first ``HEAD``; ``page``: status 200 and
somebody's web page instead of the file."""

HEAD = 4096


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong.

    Attributes:
        kinds: of ``KINDS``; one of them is drawn for a request that goes wrong.
        share: of all requests.
        seed: another seed, other requests.
        retry_after: value of that header with 429 and 503; ``"date:8"`` is an HTTP date 8 s ahead.
        drip: bytes and seconds of a piece of a dripping body.
        paths: patterns of paths that may go wrong.
    """

    kinds: tuple[str, ...] = ()
    share: float = 0.0
    seed: int = 0
    retry_after: str | None = "0"
    drip: tuple[int, float] = (100, 0.05)
    paths: tuple[str, ...] = ("*",)

    def draw(self, *question: str | int) -> tuple[str, int]:
        """The fault (empty: none) of a question, and a number that decides its details."""
        digest = hashlib.sha256(repr((self.seed, *question)).encode()).digest()
        chance, choice, detail = (int.from_bytes(digest[i : i + 8], "big") for i in (0, 8, 16))
        path = question[1]
        hit = self.kinds and chance / 2**64 < self.share and any(fnmatch(str(path), p) for p in self.paths)
        return (self.kinds[choice % len(self.kinds)] if hit else ""), detail


@dataclass(frozen=True)
class Asked:
    """One request: ``range`` as (first, stop) with stop None for the end, or None; ``at`` in seconds."""

    method: str
    path: str
    range: tuple[int, int | None] | None
    fault: str
    at: float


@dataclass
class Reply:
    """An answer as it should be, before any fault."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class FaultServer:
    """Serves ``folder``.

    - ``/path``: its files; a static catalogue is one of them.
    - ``/api``: a STAC API over all items in the folder, searched by POST, in pages of ``page`` items.
    - ``/token/...``: a token for the query, as Planetary Computer's service gives it;
      ``/auth``: a bearer token, as Copernicus Data Space's does.

    Attributes:
        faults, permanent: what goes wrong; ``permanent`` maps patterns of paths to one of ``PERMANENT``.
        scripted: replies by path that are given first, one per request, before all else.
        token_life: seconds; None: files need no token. ``token_kind``: ``query`` or ``bearer``.
        ranges, etags: whether the server knows them.
        requests: what was asked so far.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.faults = Faults()
        self.permanent: dict[str, str] = {}
        self.scripted: dict[str, list[Reply]] = {}
        self.token_life: float | None = None
        self.token_kind = "query"
        self.ranges = self.etags = True
        self.page = 10
        self.requests: list[Asked] = []
        for name, value in options.items():
            assert hasattr(self, name), name
            setattr(self, name, value)
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._times: Counter[tuple[Any, ...]] = Counter()
        self._tokens: dict[str, float] = {}
        self._digests: dict[tuple[str, int, int], str] = {}
        self._listener = _Listener(self)
        self.url = f"http://127.0.0.1:{self._listener.server_port}"

    def __enter__(self) -> FaultServer:
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._listener.shutdown()
        self._listener.server_close()
        self._listener.hang_up()

    def forget(self) -> None:
        """Clear the list of requests, and how often each was asked."""
        with self._lock:
            self.requests, self._times = [], Counter()

    def asked(self, pattern: str = "*") -> list[Asked]:
        """Requests so far whose path matches."""
        with self._lock:
            return [r for r in self.requests if fnmatch(r.path, pattern)]

    def fault_of(self, method: str, path: str, wanted: tuple[int, int | None] | None) -> tuple[str, int]:
        """What goes wrong with this request, now that it is asked; notes the request."""
        with self._lock:
            question = (method, path, str(wanted))
            self._times[question] += 1
            fault, detail = self.faults.draw(*question, self._times[question])
            lasting = next((kind for p, kind in self.permanent.items() if fnmatch(path, p)), "")
            self.requests.append(Asked(method, path, wanted, lasting or fault, time.monotonic()))
            return lasting or fault, detail

    def script(self, path: str) -> Reply | None:
        with self._lock:
            replies = self.scripted.get(path)
            return replies.pop(0) if replies else None

    def new_token(self) -> tuple[str, float]:
        """A token, and the time at which it expires."""
        expiry = time.time() + (3600.0 if self.token_life is None else self.token_life)
        with self._lock:
            token = f"secret{len(self._tokens):06d}"
            self._tokens[token] = expiry
        return token, expiry

    def admits(self, query: str, authorization: str) -> bool:
        if self.token_life is None:
            return True
        given = parse_qs(query).get("sig", [""])[0]
        if self.token_kind == "bearer":
            given = authorization.removeprefix("Bearer ")
        return time.time() < self._tokens.get(given, 0.0)

    def etag(self, path: Path) -> str:
        """Of the content, so that a copy of the archive has the same."""
        state = path.stat()
        key = (str(path), state.st_size, state.st_mtime_ns)
        if key not in self._digests:
            self._digests[key] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        return f'"{self._digests[key]}"'

    def items(self) -> list[dict[str, Any]]:
        """All items in the folder, ordered by id, with absolute hrefs."""
        found = []
        for path in self.folder.rglob("*.json"):
            item = json.loads(path.read_text())
            if item.get("type") != "Feature" or "assets" not in item:
                continue
            here = f"{self.url}/{path.parent.relative_to(self.folder).as_posix()}/"
            for asset in item["assets"].values():
                if "://" not in asset["href"]:
                    asset["href"] = here + asset["href"].removeprefix("./")
            item["links"] = [{"rel": "self", "href": f"{here}{path.name}"}]
            found.append(item)
        return sorted(found, key=lambda item: str(item["id"]))


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: FaultServer) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no event here."""

    def hang_up(self) -> None:
        """Close connections that are kept open: a server that is gone must not answer on them."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, *args: Any) -> None:
        return

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_GET

    def _answer(self) -> None:
        owner, parts = self.server.owner, urlsplit(self.path)
        self.path, self.query = unquote(parts.path), parts.query
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wanted = _range(self.headers.get("Range", ""))
        fault, detail = owner.fault_of(self.command, self.path, wanted)
        reply = owner.script(self.path)
        if reply is None:
            if fault == "stall":
                owner.stopping.wait()
                self._reset()
                return
            if fault == "reset":
                self._reset()
                return
            reply = self._refusal(fault) or self._reply(wanted)
        if fault == "corrupt":
            intact = max(0, HEAD - (wanted[0] if wanted and reply.status == 206 else 0))
            intact = 0 if len(reply.body) < HEAD else intact
            reply.body = reply.body[:intact] + bytes(255 - byte for byte in reply.body[intact:])
        if fault == "page" and reply.status in (200, 206):
            reply = Reply(200, {"Content-Type": "text/html"}, b"<html>We will be back soon.</html>")
        self._write(reply, fault if reply.status < 300 else "", detail)

    def _refusal(self, fault: str) -> Reply | None:
        if not fault.isdigit():
            return None
        headers = {}
        after = self.server.owner.faults.retry_after
        if fault in ("429", "503") and after is not None:
            if after.startswith("date:"):
                moment = datetime.now(UTC) + timedelta(seconds=float(after.removeprefix("date:")) + 1)
                after = format_datetime(moment, usegmt=True)
            headers["Retry-After"] = after
        return Reply(int(fault), headers, b"<Error>not now</Error>")

    def _reply(self, wanted: tuple[int, int | None] | None) -> Reply:
        owner = self.server.owner
        if self.path.startswith("/token"):
            token, expiry = owner.new_token()
            return _json({"token": f"sig={token}", "msft:expiry": _iso(expiry)})
        if self.path == "/auth":
            token, expiry = owner.new_token()
            return _json({"access_token": token, "expires_in": expiry - time.time()})
        if self.path == "/api" or self.path.startswith("/api/"):
            return self._search() if self.path == "/api/search" else _json(_landing_page(owner.url))
        if not owner.admits(self.query, self.headers.get("Authorization", "")):
            return Reply(403, {}, b"<Error>the signature is not valid</Error>")
        return self._file(wanted)

    def _file(self, wanted: tuple[int, int | None] | None) -> Reply:
        owner = self.server.owner
        path = (owner.folder / self.path.lstrip("/")).resolve()
        if not path.is_relative_to(owner.folder.resolve()) or not path.is_file():
            return Reply(404, {}, b"<Error>no such key</Error>")
        size = path.stat().st_size
        headers = {"ETag": owner.etag(path)} if owner.etags else {}
        with path.open("rb") as file:
            if wanted is None or not owner.ranges:
                return Reply(200, headers, file.read())
            first, stop = wanted[0], min(size, size if wanted[1] is None else wanted[1])
            if first >= size:
                return Reply(416, {"Content-Range": f"bytes */{size}"})
            file.seek(first)
            headers["Content-Range"] = f"bytes {first}-{stop - 1}/{size}"
            return Reply(206, headers, file.read(stop - first))

    def _search(self) -> Reply:
        owner = self.server.owner
        query = json.loads(self.body)
        items = [item for item in owner.items() if _matches(item, query)]
        start, size = int(query.get("token", 0)), min(owner.page, int(query.get("limit", owner.page)))
        page: dict[str, Any] = {"type": "FeatureCollection", "features": items[start : start + size]}
        page["links"] = []
        if start + size < len(items):
            further = {"rel": "next", "href": f"{owner.url}/api/search", "method": "POST"}
            page["links"].append({**further, "body": {"token": str(start + size)}, "merge": True})
        return _json(page)

    def _write(self, reply: Reply, fault: str, detail: int) -> None:
        length = len(reply.body)
        headers = {"Content-Length": str(length), **reply.headers}
        if fault == "wrong_length":
            _lie(headers, length, detail)
        if not headers["Content-Length"]:  # a script wants the answer to end with the connection
            del headers["Content-Length"]
            self.close_connection = True
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "dropped":
            self._reset()
        elif fault == "truncated":
            self.wfile.write(reply.body[: length // 2])
            self.close_connection = True
        elif fault == "drip":
            self._drip(reply.body)
        else:
            self.wfile.write(reply.body)
            self.close_connection |= int(headers.get("Content-Length", 0)) > length

    def _drip(self, body: bytes) -> None:
        size, seconds = self.server.owner.faults.drip
        for start in range(0, len(body), size):
            self.wfile.write(body[start : start + size])
            if self.server.owner.stopping.wait(seconds):
                return

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The files that http.server made of the socket hold it open.
        self.rfile.close()
        self.connection.close()
        self.close_connection = True


def _range(text: str) -> tuple[int, int | None] | None:
    first, _, last = text.removeprefix("bytes=").partition("-")
    return (int(first), int(last) + 1 if last else None) if text else None


def _lie(headers: dict[str, str], length: int, detail: int) -> None:
    """Make one of the lengths untrue, another way each time."""
    amount, kind = 1 + detail // 4 % 1000, detail % 4
    found = headers.get("Content-Range")
    if found is None or kind < 2:
        headers["Content-Length"] = str(length + amount if kind % 2 else max(0, length - amount))
        return
    part, _, size = found.removeprefix("bytes ").partition("/")
    first, _, last = part.partition("-")
    if kind == 2:
        headers["Content-Range"] = f"bytes {int(first) + amount}-{int(last) + amount}/{size}"
    else:
        headers["Content-Range"] = f"bytes {part}/{int(size) + amount}"


def _json(content: Any) -> Reply:
    return Reply(200, {"Content-Type": "application/json"}, json.dumps(content).encode())


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def _landing_page(url: str) -> dict[str, Any]:
    return {
        "type": "Catalog",
        "id": "loopback",
        "stac_version": "1.0.0",
        "description": "Items of a folder",
        "conformsTo": [
            "https://api.stacspec.org/v1.0.0/core",
            "https://api.stacspec.org/v1.0.0/item-search",
        ],
        "links": [
            {"rel": "self", "href": f"{url}/api"},
            {"rel": "root", "href": f"{url}/api"},
            {"rel": "search", "href": f"{url}/api/search", "method": "POST", "type": "application/geo+json"},
        ],
    }


def _matches(item: dict[str, Any], query: dict[str, Any]) -> bool:
    collections, ids = query.get("collections"), query.get("ids")
    if (collections and item.get("collection") not in collections) or (ids and item["id"] not in ids):
        return False
    if query.get("bbox") and item.get("bbox"):
        w, s, e, n = query["bbox"]
        west, south, east, north = item["bbox"]
        if west > e or east < w or south > n or north < s:
            return False
    if query.get("datetime"):
        start, _, end = query["datetime"].partition("/")
        moment = item["properties"].get("datetime") or item["properties"].get("start_datetime") or ""
        return bool(start[:19] <= moment[:19] <= end[:19])
    return True
