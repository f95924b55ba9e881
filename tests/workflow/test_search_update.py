"""`canopyflow search`: what differs is shown, pinned as it was shown, and nothing else is fetched again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checkouts import Checkout
from support_archive import write_item

CAMPAIGN = """
campaign: mini
area: {bbox: [10.84, 46.935, 10.85, 46.945]}
period: {start: 2022-05-01, end: 2022-07-30}
archive: {catalog: archive/catalog.json}
grid: {resolution: 20, bands: [B02, B03, B04, B05, B8A, B11]}
families: [truncated_normal]
training: {summaries: {epochs: 1, width: 32}, phases: [{objective: npe, epochs: 1}]}
"""


STORES = [f"results/mini/scenes/32TPT/2022-0{month}.zarr/zarr.json" for month in (5, 6)]


def search(copy: Checkout, *options: str) -> str:
    call = "from canopyflow.cli import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", call, "search", "mini.yaml", *options],
        cwd=copy.folder,
        env=copy.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_what_is_shown_is_what_is_pinned_and_only_that_is_fetched(checkout: Checkout, tmp_path: Path) -> None:
    copy = checkout.copy(tmp_path / "canopyflow")
    (copy.folder / "mini.yaml").write_text(CAMPAIGN)
    archive = copy.folder / "archive"
    kept, gone = write_item(archive, "2022-05-01"), write_item(archive, "2022-06-01")
    copy.snakemake("--until", "search")
    copy.snakemake(*STORES)
    pinned = copy.folder / "results/mini/search"
    before = {path: path.read_bytes() for path in pinned.rglob("*.json")}

    new = write_item(archive, "2022-06-05")
    (archive / "sentinel-2-l2a" / gone["id"] / f"{gone['id']}.json").write_text(
        json.dumps({**gone, "collection": "another"})
    )
    shown = search(copy)
    assert f"32TPT 2022-06: 1 added, 1 removed\n  + {new['id']}\n  - {gone['id']}\n" in shown
    assert (
        "pinned: 2 scenes in 2 tile-months; found: 2 scenes in 2 tile-months; 1 tile-months differ" in shown
    )
    assert kept["id"] not in shown
    assert {path: path.read_bytes() for path in pinned.rglob("*.json")} == before

    updated = search(copy, "--update")
    assert "pinning what was found before" in updated
    assert json.loads((pinned / "32TPT/2022-06.json").read_text())["features"][0]["id"] == new["id"]
    assert "found: 2 scenes in 2 tile-months; 0 tile-months differ" in search(copy)
    planned = copy.snakemake(*STORES, "--dry-run")
    assert "Fetching scenes of 32TPT 2022-06" in planned
    assert "Fetching scenes of 32TPT 2022-05" not in planned
    assert "Searching the catalogue" not in planned
