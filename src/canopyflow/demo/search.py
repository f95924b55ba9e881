"""Searching the demo's archive: like any other, once something serves it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from canopyflow.archive.search import pin
from canopyflow.demo.server import serve


def pin_demo(catalog: Path, query: Mapping[str, Any], out: Path) -> None:
    """As :func:`canopyflow.archive.search.pin`, by way of a STAC API over the demo's ``items.json``."""
    with serve(catalog.parent) as address:
        pin(address, query, out, asset_base=catalog.parent)
