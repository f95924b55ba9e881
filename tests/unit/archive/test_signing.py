"""Credentials: signatures as AWS published them, tokens renewed in time, keys that stay at home."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from fault_server import Faults, FaultServer, Reply

from canopyflow.archive.http import Client, Patience, Refused, Ticket
from canopyflow.archive.signing import (
    CDSE_FILES,
    CDSE_STORE,
    CopernicusDataSpace,
    Credentials,
    ObjectStore,
    PlanetaryComputer,
    S3Keys,
    open_client,
    signature,
)
from canopyflow.errors import ArchiveUnreachable

CALM = Patience(pause=0.002)
CONTENT = np.random.default_rng(5).bytes(40_000)
EXAMPLE = S3Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
"""The keys of AWS's own examples."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    (tmp_path / "a.tif").write_bytes(CONTENT)
    with FaultServer(tmp_path) as server:
        yield server


def planetary(server: FaultServer, key: str | None = None) -> Client:
    """A client that thinks the loopback to be Planetary Computer."""
    service = PlanetaryComputer(
        Client(patience=CALM), key, service=f"{server.url}/token", file_hosts=("127.0.0.1",)
    )
    return Client(Credentials([service]), CALM)


@pytest.mark.parametrize(
    ("path", "headers", "proof"),
    [
        (
            "/test.txt",
            {"Range": "bytes=0-9"},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        ("/?lifecycle", {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/?max-keys=2&prefix=J", {}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_signatures_are_those_of_aws(path: str, headers: dict[str, str], proof: str) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, its examples."""
    made = signature(
        "GET",
        f"https://examplebucket.s3.amazonaws.com{path}",
        headers,
        EXAMPLE,
        "us-east-1",
        datetime(2013, 5, 24, tzinfo=UTC),
    )
    assert made["Authorization"].endswith(f"Signature={proof}")


def test_a_session_token_is_signed_and_sent() -> None:
    made = signature(
        "GET", "https://h/a b", {}, replace(EXAMPLE, session="temporary"), "default", datetime.now(UTC)
    )
    assert made["x-amz-security-token"] == "temporary"
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token" in made["Authorization"]


def test_one_token_serves_all_threads_until_half_of_its_life(server: FaultServer) -> None:
    server.token_life = 3600.0
    client = planetary(server, "mykey")
    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(
            lambda i: client.read(f"{server.url}/a.tif", i, i + 1000).content, range(0, 40_000, 1000)
        )
        assert b"".join(parts) == CONTENT
    assert len(server.asked("/token/*")) == 1
    assert server.asked("/token/*")[0].path == "/token/127/a.tif"


@pytest.mark.parametrize(("life", "renewed_at"), [(3600.0, 3000.0), (300.0, 150.0)])
def test_a_token_is_renewed_before_its_end(server: FaultServer, life: float, renewed_at: float) -> None:
    """Ten minutes before, or when half of a shorter life is over."""
    now = [100.0]
    asking = Client(patience=replace(CALM, clock=lambda: now[0]))
    service = PlanetaryComputer(asking, service=f"{server.url}/token", file_hosts=("127.0.0.1",))
    server.token_life = life
    first = service.authorise("GET", f"{server.url}/a.tif").url
    now[0] += renewed_at - 10
    assert service.authorise("GET", f"{server.url}/a.tif").url == first
    now[0] += 11
    assert service.authorise("GET", f"{server.url}/a.tif").url != first


def test_a_token_that_is_refused_is_replaced_once(server: FaultServer) -> None:
    server.token_life = 3600.0
    client = planetary(server)
    client.read(f"{server.url}/a.tif", 0, 10)
    server._tokens.clear()
    client.read(f"{server.url}/a.tif", 0, 10)
    client.read(f"{server.url}/a.tif", 0, 10)
    assert len(server.asked("/token/*")) == 2
    assert len(server.asked("/a.tif")) == 4


def test_a_refusal_of_an_older_token_does_not_forget_a_newer_one(server: FaultServer) -> None:
    server.token_life = 3600.0
    service = PlanetaryComputer(
        Client(patience=CALM), service=f"{server.url}/token", file_hosts=("127.0.0.1",)
    )
    old = service.authorise("GET", f"{server.url}/a.tif")
    service.renew(old)
    new = service.authorise("GET", f"{server.url}/a.tif")
    service.renew(old)
    assert service.authorise("GET", f"{server.url}/a.tif").url == new.url != old.url


@pytest.mark.parametrize("kind", ["query", "bearer"])
def test_tokens_that_live_shorter_than_the_file_takes(server: FaultServer, kind: str) -> None:
    server.token_life, server.token_kind = 0.15, kind
    server.faults = Faults(("drip",), share=1.0, drip=(1000, 0.01), paths=("/a.tif",))
    client = planetary(server)
    if kind == "bearer":
        asking = Client(patience=CALM)
        cdse = CopernicusDataSpace(asking, "me", "secret", login=f"{server.url}/auth", hosts=("127.0.0.1",))
        client = Client(Credentials([cdse]), replace(CALM, attempts=12))
    for start in (0, 20_000):
        assert (
            client.read(f"{server.url}/a.tif", start, start + 20_000).content
            == CONTENT[start : start + 20_000]
        )
    assert len(server.asked("/token/*" if kind == "query" else "/auth")) > 1


def test_the_token_service_is_asked_as_patiently_as_all(server: FaultServer) -> None:
    server.token_life = 3600.0
    server.scripted = {
        "/token/127/a.tif": [
            Reply(429, {"Retry-After": "0"}),
            Reply(403),
            Reply(200, {}, b"<html>"),
            Reply(503),
        ]
    }
    assert planetary(server).read(f"{server.url}/a.tif", 0, 10).content == CONTENT[:10]
    server.permanent["/token/*"] = "500"
    with pytest.raises(
        ArchiveUnreachable, match=r"no token of Planetary Computer: .*/token/127/a\.tif answers 500"
    ):
        planetary(server).read(f"{server.url}/a.tif", 0, 10)


def test_clocks_that_differ_cost_no_token_per_request(server: FaultServer) -> None:
    server.token_life = -3600.0
    server.admits = lambda query, authorization: "sig=" in query  # type: ignore[method-assign]
    client = planetary(server)
    for start in range(5):
        client.read(f"{server.url}/a.tif", start, start + 1)
    assert len(server.asked("/token/*")) == 1


def test_a_wrong_password_is_tried_once(server: FaultServer) -> None:
    server.scripted = {"/auth": [Reply(401)]}
    cdse = CopernicusDataSpace(
        Client(patience=CALM), "me", "wrong", login=f"{server.url}/auth", hosts=("127.0.0.1",)
    )
    with pytest.raises(ArchiveUnreachable, match=r"no token of the Cop.*/auth answers 401 . check the cred"):
        Client(Credentials([cdse]), CALM).read(f"{server.url}/a.tif", 0, 10)
    assert len(server.requests) == 1


def test_who_has_no_key_is_told_which(server: FaultServer) -> None:
    server.permanent["*"] = "403"
    nobody = CopernicusDataSpace(Client(patience=CALM), hosts=("127.0.0.1",))
    with pytest.raises(Refused, match=r"answers 403 .* set CDSE_USERNAME and CDSE_PASSWORD"):
        Client(Credentials([nobody]), CALM).read(f"{server.url}/a.tif", 0, 10)
    with pytest.raises(Refused, match=r"set AWS_ACCESS_KEY_ID"):
        Client(Credentials([ObjectStore(None, ("127.0.0.1",))]), CALM).read(f"{server.url}/a.tif", 0, 10)


def test_every_host_gets_its_own_key_and_no_other() -> None:
    environment = {
        "PC_SDK_SUBSCRIPTION_KEY": "subscription",
        "CDSE_TOKEN": "bearer",
        "AWS_ACCESS_KEY_ID": "access",
        "AWS_SECRET_ACCESS_KEY": "s3secret",
    }
    credentials = open_client(environment=environment)._credentials
    assert credentials is not None

    def sent(host: str) -> str:
        ticket = credentials.authorise("GET", f"https://{host}/a/b.tif")
        assert "secret" not in repr(ticket) and "bearer" not in repr(ticket)
        return f"{ticket.url} {dict(ticket.headers)}"

    assert "Bearer bearer" in sent(CDSE_FILES[0])
    assert "Credential=access/" in sent(CDSE_STORE)
    assert "s3secret" not in sent(CDSE_STORE)
    assert "subscription" in sent("planetarycomputer.microsoft.com")
    for other in ("example.org", f"{CDSE_STORE}.example.org", "sentinel-cogs.s3.us-west-2.amazonaws.com"):
        assert sent(other) == f"https://{other}/a/b.tif {{}}"
    for key in ("subscription", "bearer", "access"):
        assert (
            sum(key in sent(host) for host in (CDSE_FILES[0], CDSE_STORE, "planetarycomputer.microsoft.com"))
            == 1
        )


def test_threads_that_wait_for_a_token_share_it() -> None:
    asked, free = [], threading.Event()

    class Slow(Client):
        def request(self, *args: object, **kwargs: object) -> tuple[str, float]:  # type: ignore[override]
            asked.append(args)
            free.wait(5)
            return "sig=x", 3600.0

    service = PlanetaryComputer(Slow(), file_hosts=("h",))
    with ThreadPoolExecutor(4) as pool:
        tickets = [pool.submit(service.authorise, "GET", "https://h/c/a.tif") for _ in range(4)]
        free.set()
        assert {t.result().url for t in tickets} == {"https://h/c/a.tif?sig=x"}
    assert len(asked) == 1
    assert isinstance(tickets[0].result(), Ticket)


@pytest.mark.parametrize("host", [*CDSE_FILES, CDSE_STORE])
def test_no_key_goes_over_plain_http_whatever_a_catalogue_says(host: str) -> None:
    known = Credentials([CopernicusDataSpace(Client(), token="bearer"), ObjectStore(EXAMPLE)])
    assert known.authorise("GET", f"https://{host}/B04.jp2").headers
    assert not known.authorise("GET", f"http://{host}/B04.jp2").headers


def test_who_has_no_keys_is_told_at_once(server: FaultServer) -> None:
    server.permanent["/a.tif"] = "403"
    client = Client(Credentials([CopernicusDataSpace(Client(), hosts=("127.0.0.1",))]), CALM)
    with pytest.raises(Refused, match="CDSE_USERNAME"):
        client.read(f"{server.url}/a.tif", 0, 10)
    assert len(server.requests) == 1
