"""The client: what it does about each kind of fault, what it asks, how long it waits, what it gives up."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import logging
import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from fault_server import KINDS, Faults, FaultServer, Reply

from canopyflow.archive.answers import Doubtful, decoded, shown, span_of, wait_asked
from canopyflow.archive.http import Answer, Client, FileChanged, Patience, Refused, Ticket
from canopyflow.errors import ArchiveError, ArchiveUnreachable

CALM = Patience(pause=0.002)
"""A busy machine is no fault."""
HURRIED = replace(CALM, silence=0.1, slowest=20_000, window=0.05)
"""Even silence and dripping are over in no time."""

CONTENT = np.random.default_rng(5).bytes(40_000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    (tmp_path / "a.tif").write_bytes(CONTENT)
    (tmp_path / "b.tif").write_bytes(CONTENT[::-1])
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "item.json").write_text(json.dumps({"id": "x", "list": list(range(500))}))
    with FaultServer(tmp_path) as server:
        yield server


def everything(client: Client, server: FaultServer) -> list[object]:
    """All ways of asking, with answers that are known."""
    sink = io.BytesIO()
    return [
        client.read(f"{server.url}/a.tif", 1000, 30_000).content == CONTENT[1000:30_000],
        client.read(f"{server.url}/a.tif", 39_990, 50_000).content == CONTENT[39_990:],
        client.read(f"{server.url}/a.tif", 40_000, 50_000).content == b"",
        client.download(f"{server.url}/a.tif", sink).content == b"" and sink.getvalue() == CONTENT,
        client.get(f"{server.url}/item.json", json.loads)["list"][-1] == 499,
        client.request("POST", f"{server.url}/api/search", json.loads, body={"limit": 1})["features"] == [],
    ]


def test_every_way_of_asking(server: FaultServer) -> None:
    client = Client(patience=CALM)
    assert all(everything(client, server))
    head = client.head(f"{server.url}/a.tif")
    assert (head.size, head.content, head.ranged) == (40_000, b"", True)
    assert head.etag == client.read(f"{server.url}/a.tif", 0, 5).etag
    assert client.head(f"{server.url}/empty.tif").size == 0
    assert client.requests["again"] == 0
    assert client.requests["asked"] == len(server.requests)


def test_connections_are_kept_open(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda *a: (opened.append(a), connect(*a))[1])
    client = Client(patience=CALM)
    for start in range(0, 10_000, 1000):
        client.read(f"{server.url}/a.tif", start, start + 1000)
        client.head(f"{server.url}/a.tif")
        client.get(f"{server.url}/item.json", json.loads)
    assert len(opened) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_fault_changes_a_byte(server: FaultServer, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Half of the requests fail, and half of those that repeat them."""
    client = Client(patience=replace(HURRIED, attempts=30))
    for seed in range(3):
        server.faults = Faults((kind,), share=0.5, seed=seed, drip=(100, 0.01))
        assert all(everything(client, server))
        assert client.head(f"{server.url}/a.tif").etag
        server.forget()
    assert client.requests["again"] > 3
    retries = [r for r in caplog.records if "attempt" in r.message]
    assert len(retries) == client.requests["again"]
    assert all(server.url in r.message and r.levelno == logging.WARNING for r in retries)


def test_all_faults_at_once_and_many_threads(server: FaultServer) -> None:
    server.faults = Faults(KINDS, share=0.3, seed=7, drip=(100, 0.01))
    client = Client(patience=replace(HURRIED, attempts=30))

    def part(start: int) -> bytes:
        return client.read(f"{server.url}/a.tif", start, start + 500).content

    with ThreadPoolExecutor(8) as pool:
        assert b"".join(pool.map(part, range(0, 40_000, 500))) == CONTENT


def test_a_server_without_ranges_or_etags_gives_the_same(server: FaultServer) -> None:
    server.ranges = server.etags = False
    client = Client(patience=CALM)
    assert all(everything(client, server))
    head = client.head(f"{server.url}/a.tif")
    assert (head.size, head.etag, head.ranged) == (40_000, None, False)
    assert {r.method for r in server.asked("/a.tif")} == {"GET", "HEAD"}
    server.scripted = {"/a.tif": [Reply(200, {}, CONTENT), Reply(200, {"Content-Length": "41000"})]}
    assert client.head(f"{server.url}/a.tif").size == 40_000
    assert client.requests["again"] == 1


def test_a_broken_body_is_continued_and_not_started_again(server: FaultServer) -> None:
    server.permanent["/a.tif"] = "truncated"
    with pytest.raises(ArchiveError, match=r"breaks off \(IncompleteRead\)"):
        Client(patience=CALM).read(f"{server.url}/a.tif", 0, 1024)
    firsts = [r.range[0] for r in server.requests if r.range]
    assert firsts == [0, 512, 768, 896, 960, 992, 1008, 1016]


def test_a_large_file_may_break_more_often(server: FaultServer, tmp_path: Path) -> None:
    """What brings the file on is no failure, or a slow line could not carry a large file."""
    content = np.random.default_rng(1).bytes(12 << 20)
    (tmp_path / "large.jp2").write_bytes(content)
    part = Reply(206, {"Content-Length": str(12 << 20)})
    server.scripted = {
        "/large.jp2": [
            replace(
                part,
                headers={
                    "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}",
                    "Content-Length": str(len(content) - start),
                },
                body=content[start : start + (1 << 20)],
            )
            for start in range(0, len(content), 1 << 20)
        ]
    }
    sink = io.BytesIO()
    Client(patience=CALM).download(f"{server.url}/large.jp2", sink)
    assert sink.getvalue() == content
    assert len(server.requests) == 12


@pytest.mark.parametrize("path", ["a.tif", "item.json", "api/search", "head"])
@pytest.mark.parametrize("asked", ["8", "date:8"])
def test_retry_after_is_obeyed_on_every_path(server: FaultServer, path: str, asked: str) -> None:
    pauses: list[float] = []
    client = Client(patience=replace(CALM, sleep=pauses.append))
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=9), usegmt=True)
    reply = Reply(429, {"Retry-After": asked if asked == "8" else moment})
    server.scripted = {f"/{path if path != 'head' else 'a.tif'}": [reply, replace(reply, status=503)]}
    url = f"{server.url}/{path}"
    if path == "a.tif":
        client.read(url, 0, 10)
    elif path == "head":
        client.head(f"{server.url}/a.tif")
    else:
        client.request("POST" if path == "api/search" else "GET", url, json.loads, body={})
    assert len(pauses) == 2
    assert all(7.9 < pause < 9.1 if asked != "8" else 8 <= pause < 8.1 for pause in pauses)


def test_a_host_that_asks_for_a_pause_is_left_alone_by_all(server: FaultServer) -> None:
    pauses: list[float] = []
    client = Client(patience=replace(CALM, sleep=pauses.append))
    server.scripted = {"/a.tif": [Reply(429, {"Retry-After": "8"})]}
    client.read(f"{server.url}/a.tif", 0, 10)
    pauses.clear()
    client.read(f"{server.url}/b.tif", 0, 10)
    assert len(pauses) == 1
    assert 7 < pauses[0] <= 8


def test_a_pause_that_is_too_long_fails_with_one_line(server: FaultServer) -> None:
    server.scripted = {"/a.tif": [Reply(429, {"Retry-After": "3600"})]}
    with pytest.raises(
        ArchiveUnreachable, match=r"a\.tif answers 429 and asks for a pause of 3600 s, longer"
    ):
        Client(patience=CALM).read(f"{server.url}/a.tif", 0, 10)


def test_pauses_grow_are_random_and_have_a_limit(server: FaultServer) -> None:
    server.permanent["/a.tif"] = "500"
    random.seed(1)
    pauses: list[float] = []
    patience = Patience(attempts=12, pause=1.0, longest=20.0, sleep=pauses.append)
    for _ in range(12):
        with pytest.raises(ArchiveError):
            Client(patience=patience).read(f"{server.url}/a.tif", 0, 10)
    table = np.array(pauses).reshape(12, 11)
    limits = np.minimum(20.0, 2.0 ** np.arange(11))
    assert (table <= limits).all()
    assert (table.max(axis=0) > 0.6 * limits).all()
    assert (table.min(axis=0) < 0.4 * limits).all()


@pytest.mark.parametrize("kind", ["403", "500", "stall", "drip", "dropped"])
def test_a_file_that_cannot_be_had_is_no_dead_archive(server: FaultServer, kind: str) -> None:
    """Nothing else was asked before: the client must find out whether anybody is there."""
    server.permanent["/a.tif"] = kind
    server.faults = Faults(retry_after=None, drip=(10, 0.05))
    with pytest.raises(
        ArchiveError, match=r"^http://127\.0\.0\.1:\d+/a\.tif .* \(asked \d times\)"
    ) as caught:
        Client(patience=HURRIED).read(f"{server.url}/a.tif?sig=abc", 0, 20_000)
    assert not isinstance(caught.value, ArchiveUnreachable)
    assert isinstance(caught.value, Refused) == (kind == "403")


@pytest.mark.parametrize("kind", ["503", "stall", "reset"])
def test_a_dead_archive_is_told_from_a_bad_file(server: FaultServer, kind: str) -> None:
    client = Client(patience=HURRIED)
    client.read(f"{server.url}/b.tif", 0, 10)
    server.permanent["*"] = kind
    with pytest.raises(ArchiveUnreachable, match="the archive does not answer"):
        client.read(f"{server.url}/a.tif", 0, 10)


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.tif?sig=abc"
    with pytest.raises(ArchiveUnreachable, match=r"does not answer \(Connection refused\)") as caught:
        Client(patience=CALM).read(url, 0, 10)
    assert "abc" not in str(caught.value)


def test_what_is_missing_is_asked_for_three_times(server: FaultServer) -> None:
    with pytest.raises(Refused, match=r"c\.tif answers 404 \(asked 3 times\)") as caught:
        Client(patience=CALM).read(f"{server.url}/c.tif", 0, 10)
    assert caught.value.status == 404
    assert len(server.requests) == 3


def test_a_bad_question_is_put_once(server: FaultServer) -> None:
    server.scripted = {"/a.tif": [Reply(400)]}
    with pytest.raises(Refused, match=r"a\.tif answers 400$"):
        Client(patience=CALM).get(f"{server.url}/a.tif", bytes)
    assert len(server.requests) == 1


def test_a_body_that_cannot_be_parsed_is_asked_for_again(server: FaultServer) -> None:
    server.scripted = {"/item.json": [Reply(200, {}, b"<html>soon back</html>"), Reply(200, {}, b'{"id"')]}
    client = Client(patience=CALM)
    assert client.get(f"{server.url}/item.json", json.loads)["id"] == "x"
    server.permanent["/item.json"] = "corrupt"
    with pytest.raises(ArchiveError, match=r"item\.json gives a broken body") as caught:
        client.get(f"{server.url}/item.json", json.loads)
    assert not isinstance(caught.value, ArchiveUnreachable)
    assert len(server.requests) == 3 + 4, "what stays the same is soon believed"


def test_a_part_that_is_another_one_or_ends_too_early(server: FaultServer) -> None:
    client, url = Client(patience=CALM), f"{server.url}/a.tif"
    server.scripted = {"/a.tif": [Reply(206, {"Content-Range": "bytes 50-59/40000"}, CONTENT[50:60])]}
    assert client.read(url, 90, 100).content == CONTENT[90:100]
    endless = {"Content-Range": "bytes 0-39999/*", "Content-Length": ""}
    server.scripted = {"/a.tif": [Reply(206, endless, CONTENT[:900])]}
    sink = io.BytesIO()
    client.download(url, sink)
    assert sink.getvalue() == CONTENT
    assert client.requests["again"] == 2


def test_a_single_answer_that_disagrees_is_not_believed(server: FaultServer) -> None:
    server.etags = False
    client, url = Client(patience=CALM), f"{server.url}/a.tif"
    first = client.read(url, 0, 10)
    server.scripted = {"/a.tif": [Reply(206, {"Content-Range": "bytes 10-19/41000"}, CONTENT[10:20])]}
    assert client.read(url, 10, 20, like=first).content == CONTENT[10:20]


def test_a_file_that_changes_between_requests(server: FaultServer, tmp_path: Path) -> None:
    client, url = Client(patience=CALM), f"{server.url}/a.tif"
    first = client.read(url, 0, 100)
    (tmp_path / "a.tif").write_bytes(CONTENT[::-1])
    with pytest.raises(FileChanged, match="another size or ETag"):
        client.read(url, 100, 200, like=first)
    with pytest.raises(FileChanged):
        client.read(url, 100, 200, like=Answer(b"", size=39_999))
    assert client.read(url, 100, 200, like=Answer(b"", size=40_000)).content == CONTENT[::-1][100:200]


def test_a_size_that_was_stated_wrongly_at_first_is_put_right(server: FaultServer) -> None:
    """The ETag says that it is one file all the time."""
    client, url = Client(patience=CALM), f"{server.url}/a.tif"
    etag = client.head(url).etag
    lie = Reply(206, {"Content-Range": "bytes 0-9/41000", "ETag": str(etag)}, CONTENT[:10])
    server.scripted = {"/a.tif": [lie]}
    first = client.read(url, 0, 10)
    assert first.size == 41_000
    then = client.read(url, 10, 90_000, like=first)
    assert (then.content, then.size) == (CONTENT[10:], 40_000)
    other = Answer(b"", 40_000, '"other"')
    with pytest.raises(FileChanged):
        client.read(url, 10, 20, like=other)


def beginning(etag: str, first: int) -> Reply:
    """The first 99 bytes of an answer that promises the rest of a file of 50 000."""
    length = {"Content-Range": f"bytes {first}-49999/50000", "Content-Length": str(50_000 - first)}
    return Reply(206, {**length, "ETag": etag}, bytes(99))


def test_a_file_that_changes_in_the_middle_is_read_anew_once(server: FaultServer) -> None:
    """Some of it arrives, then it is another file: no mixture of both may come out."""
    client, url = Client(patience=CALM), f"{server.url}/a.tif"
    server.scripted = {"/a.tif": [beginning('"old"', 0)]}
    assert client.read(url, 0, 50_000).content == CONTENT
    changes = [('"old"', 0), ('"new"', 99), ('"new"', 99), ('"new"', 0), ('"newest"', 99), ('"newest"', 99)]
    server.scripted = {"/a.tif": [beginning(*change) for change in changes]}
    with pytest.raises(FileChanged):
        client.read(url, 0, 50_000)


def test_an_encoding_that_nobody_asked_for(server: FaultServer) -> None:
    packed = gzip.compress(b'{"id": "y"}')
    server.scripted = {
        "/item.json": [Reply(200, {"Content-Encoding": "gzip"}, packed)],
        "/a.tif": [Reply(206, {"Content-Encoding": "gzip", "Content-Range": "bytes 0-9/40000"}, packed[:10])],
    }
    client = Client(patience=CALM)
    assert client.get(f"{server.url}/item.json", json.loads) == {"id": "y"}
    assert client.read(f"{server.url}/a.tif", 0, 10).content == CONTENT[:10]
    assert client.requests["again"] == 1
    with pytest.raises(Doubtful, match="more than 100 bytes"):
        decoded(gzip.compress(bytes(10**6)), "gzip", 100)
    with pytest.raises(Doubtful, match="ends early"):
        decoded(packed[:-9], "gzip", 100)


def test_a_body_that_is_too_large_is_not_read(server: FaultServer) -> None:
    with pytest.raises(ArchiveError, match="larger than 1000 bytes"):
        Client(patience=CALM).get(f"{server.url}/a.tif", bytes, limit=1000)


class Keys:
    """Credentials for one host; every host that gets them is noted."""

    def __init__(self, host: str) -> None:
        self.host, self.renewed = host, 0

    def authorise(self, method: str, url: str) -> Ticket:
        ours = url.startswith(self.host)
        return Ticket(url, {"Authorization": f"Bearer {self.renewed}"} if ours else {})

    def renew(self, url: str, refused: Ticket) -> None:
        self.renewed += 1


def test_403_and_401_renew_the_credentials(server: FaultServer) -> None:
    server.scripted = {"/a.tif": [Reply(403), Reply(401)]}
    keys = Keys(server.url)
    Client(keys, CALM).read(f"{server.url}/a.tif", 0, 10)
    assert keys.renewed == 2


def test_redirects_are_followed_within_http_and_keys_stay_at_home(
    server: FaultServer, tmp_path: Path
) -> None:
    with FaultServer(tmp_path) as elsewhere:
        server.scripted = {"/a": [Reply(302, {"Location": f"{elsewhere.url}/a.tif"})]}
        seen: list[str | None] = []
        admits = elsewhere.admits
        elsewhere.admits = lambda q, a: (seen.append(a), admits(q, a))[1]  # type: ignore[method-assign]
        client = Client(Keys(server.url), CALM)
        headers = {"Authorization": "mine", "Ocp-Apim-Subscription-Key": "mine"}
        sent: list[Any] = []
        send = client._send
        client._send = lambda *a: (sent.append(a[2]), send(*a))[1]  # type: ignore[method-assign]
        assert client.request("GET", f"{server.url}/a", bytes, headers=headers) == CONTENT
        assert seen == [""] and sent[-1].keys() == {"Accept-Encoding"}
    for target in ("file:///etc/passwd", "ftp://host/a"):
        server.scripted = {"/a": [Reply(302, {"Location": target})]}
        with pytest.raises(ArchiveError, match="redirects to something that is no http"):
            client.read(f"{server.url}/a", 0, 10)
    server.scripted = {"/a": [Reply(302, {"Location": "/a"})] * 100}
    with pytest.raises(ArchiveError, match="redirects more than 5 times"):
        client.read(f"{server.url}/a", 0, 10)


def test_proxies_are_those_of_the_environment(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers as a proxy would: it is asked for the whole address."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    assert Client(patience=CALM).read("http://archive.invalid/a.tif", 0, 10).content == CONTENT[:10]
    monkeypatch.setenv("no_proxy", "archive.invalid")
    with pytest.raises(ArchiveUnreachable):
        Client(patience=CALM).read("http://archive.invalid/a.tif", 0, 10)


def test_no_password_is_taken_from_a_file(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests would send what ~/.netrc holds for a host, in place of our own headers."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen: list[str] = []
    monkeypatch.setattr(server, "admits", lambda query, authorization: seen.append(authorization) or True)
    Client(Keys(server.url), CALM).read(f"{server.url}/a.tif", 0, 10)
    Client(patience=CALM).read(f"{server.url}/a.tif", 0, 10)
    assert seen == ["Bearer 0", ""]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://h/a", "s3://b/a", "/etc/passwd", "http:///a", ""]
)
def test_only_http_is_spoken(url: str) -> None:
    with pytest.raises(ArchiveError, match="no http address"):
        Client().read(url, 0, 10)


def test_secrets_are_neither_logged_nor_told(server: FaultServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="canopyflow")
    host = server.url.removeprefix("http://")
    for kind in ("403", "reset", "truncated"):
        server.permanent = {"*": kind}
        with pytest.raises(ArchiveError) as caught:
            Client(patience=HURRIED).read(f"http://user:secret@{host}/a.tif?sig=secret#secret", 0, 20_000)
        assert "secret" not in str(caught.value) + caplog.text
    assert shown("https://u:p@Host:8/p?q#f") == "https://host:8/p"


def test_slow_headers_are_not_waited_for() -> None:
    """A server that sends its headers byte by byte is never silent, and never gets anywhere."""
    sent: list[int] = []

    def crawl(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            sent.append(0)
            with contextlib.suppress(OSError), connection:
                for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100:
                    connection.sendall(bytes([byte]))
                    sent[-1] += 1
                    time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=crawl, args=(listener,), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a"
        with pytest.raises(ArchiveUnreachable, match="is silent"):
            Client(patience=replace(HURRIED, attempts=2)).read(url, 0, 10)
        listener.shutdown(socket.SHUT_RDWR)
    assert max(sent) < 100


@pytest.mark.parametrize(
    ("headers", "complaint"),
    [
        ({}, "without the range"),
        ({"Content-Range": "bytes 0-9"}, "without the range"),
        ({"Content-Range": "bytes 9-0/10"}, "impossible"),
        ({"Content-Range": "bytes 0-10/10"}, "impossible"),
        ({"Content-Range": "bytes 0-9/10", "Content-Length": "9"}, "not as long as its range"),
        ({"Content-Range": "bytes 0-9/10", "Content-Length": "ten"}, "no number"),
    ],
)
def test_ranges_that_contradict_themselves(headers: dict[str, str], complaint: str) -> None:
    with pytest.raises(Doubtful, match=complaint):
        span_of(headers)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "8"}, 8.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "Thu, 26 Nov 2026 12:00:08 GMT", "Date": "Thu, 26 Nov 2026 12:00:00 GMT"}, 8.0),
        ({"Retry-After": "Thu, 26 Nov 2026 11:00:00 GMT", "Date": "Thu, 26 Nov 2026 12:00:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_asked(headers) == seconds
