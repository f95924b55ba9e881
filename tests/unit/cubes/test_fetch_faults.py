"""Fetching scenes from an archive that misbehaves; the long form is benchmarks/archive_faults.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fault_server import KINDS, Faults, FaultServer
from faulty_archive import HURRIED, client_of, content_of, fetch, pin, write_archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder, scenes=2)
    return folder


@pytest.fixture
def server(archive: Path) -> Iterator[FaultServer]:
    with FaultServer(archive) as server:
        yield server


def test_faults_change_neither_what_is_found_nor_what_is_stored(
    server: FaultServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pinned = pin(server)
    fetch(pinned, tmp_path / "calm.zarr", client_of(server))
    expected = content_of(tmp_path / "calm.zarr")
    for seed in range(2):
        server.forget()
        server.faults = Faults(KINDS, share=0.3, seed=seed, drip=(4000, 0.1))
        server.token_life = 0.4
        client = client_of(server, replace(HURRIED, attempts=20))
        caplog.clear()
        assert pin(server) == pinned
        fetch(pinned, tmp_path / f"{seed}.zarr", client)
        assert content_of(tmp_path / f"{seed}.zarr") == expected
        retries = [
            r for r in caplog.records if r.levelno == logging.WARNING and "; attempt " in r.getMessage()
        ]
        assert len(retries) >= client.requests["again"] > 0


@pytest.mark.parametrize("kind", ["403", "stall", "corrupt"])
@pytest.mark.parametrize(("file", "name"), [("B05.tif", "B05: B05.tif"), ("MTD_TL.xml", "granule-metadata")])
def test_a_file_that_cannot_be_had_sets_its_scene_aside(
    server: FaultServer, tmp_path: Path, kind: str, file: str, name: str
) -> None:
    """Neither its pixels nor its angles are assumed, and no other scene suffers."""
    pinned = pin(server)
    unlucky = pinned["features"][0]["id"]
    server.permanent[f"*/{unlucky}/{file}"] = kind
    hurried = replace(HURRIED, attempts=4, silence=0.2)
    first, second = fetch(pinned, tmp_path / "x.zarr", client_of(server, hurried))
    assert name in first["problem"]
    assert unlucky in first["problem"]
    assert second["problem"] is None
