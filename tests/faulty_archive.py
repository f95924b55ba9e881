"""A small archive with all that a scene has, and fetching it from a server that misbehaves."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from datetime import date
from pathlib import Path
from typing import Any

from fault_server import FaultServer
from support_archive import BANDS, UTM, save_item, write_item

from canopyflow.archive.http import Client, Patience
from canopyflow.archive.search import Query, search
from canopyflow.archive.signing import Credentials, PlanetaryComputer
from canopyflow.cubes.scenes import fetch_scenes
from canopyflow.demo.acquisitions import planned
from canopyflow.demo.granule import granule_metadata
from canopyflow.demo.tiles import Tile

TILE, MONTH = "32TPT", "2022-05"
AREA = (10.84, 46.93, 10.86, 46.95)

HURRIED = Patience(attempts=12, pause=0.01, silence=2.0, slowest=50_000, window=0.2)
"""Enough for a server that drips 20 000 bytes per second and a machine that is busy."""

PRODUCT_METADATA = """<?xml version="1.0"?><product><Product_Image_Characteristics>
<BOA_ADD_OFFSET_VALUES_LIST><BOA_ADD_OFFSET band_id="0">-1000</BOA_ADD_OFFSET></BOA_ADD_OFFSET_VALUES_LIST>
<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
</Product_Image_Characteristics></product>"""


def write_archive(folder: Path, scenes: int, size: int = 1280) -> list[str]:
    """Items of ``size`` metres in May 2022, with granule and product metadata; returns their ids."""
    west, north = UTM[32]
    tile = Tile(TILE, 32632, west, north, size // 10)
    ids = []
    for number in range(scenes):
        item = write_item(folder, f"2022-05-{number + 1:02d}", size=size, seed=number)
        place = folder / "sentinel-2-l2a" / item["id"]
        (place / "MTD_TL.xml").write_bytes(granule_metadata(planned()[0], tile, item["id"], "04.00", 5.0))
        (place / "MTD_MSIL2A.xml").write_text(PRODUCT_METADATA)
        for name, file in (("granule-metadata", "MTD_TL.xml"), ("product-metadata", "MTD_MSIL2A.xml")):
            item["assets"][name] = {"href": f"./{file}", "type": "application/xml", "roles": ["metadata"]}
        save_item(folder, item)
        ids.append(item["id"])
    return ids


def client_of(server: FaultServer, patience: Patience = HURRIED) -> Client:
    """A client of the server; where files need tokens, one that takes it for Planetary Computer."""
    if server.token_life is None:
        return Client(patience=patience)
    service = PlanetaryComputer(
        Client(patience=patience), service=f"{server.url}/token", file_hosts=("127.0.0.1",)
    )
    return Client(Credentials([service]), patience)


def pin(server: FaultServer, lock: str = "items") -> dict[str, Any]:
    """The pinned search for all items of the server; ``lock`` as in the configuration (``archive.lock``)."""
    query = Query(
        collection="sentinel-2-l2a",
        areas={"": AREA},
        start=date(2022, 5, 1),
        end=date(2022, 5, 31),
        bands=BANDS,
        resolution=10.0,
        max_cloud_cover=60.0,
        lock=lock,
    )
    return search(f"{server.url}/api", query)


def fetch(pinned: dict[str, Any], out: Path, client: Client) -> list[dict[str, Any]]:
    """Fetch all that is pinned into the store ``out``; returns the records of its scenes."""
    return fetch_scenes(
        pinned,
        TILE,
        MONTH,
        out,
        bands=BANDS,
        reader="stackstac",
        asset_base=None,
        view_zenith_if_unknown=5.0,
        client=client,
    )


def content_of(store: Path) -> dict[str, str]:
    """SHA-256 of every file of a store, by its path."""
    return {
        path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


if __name__ == "__main__":
    # A job of its own, to be killed: file of the pinned search, store.
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    fetch(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), Client(patience=HURRIED))
