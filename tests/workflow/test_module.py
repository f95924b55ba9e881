"""The rules as a module of somebody else's workflow, in another folder."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkouts import MINI, Checkout

pytestmark = pytest.mark.slow

SNAKEFILE = """
configfile: "campaign.yaml"


module canopyflow:
    snakefile:
        "{snakefile}"
    config:
        config


use rule * from canopyflow{names}


onstart:
    canopyflow.begin_run()


onsuccess:
    canopyflow.end_run()


onerror:
    canopyflow.end_failed_run()
"""
STORE = "results/mini/scenes/31TGM/2021-05.zarr/zarr.json"


OPTIONS = "--rerun-triggers mtime params input --resources stac=2 --cores 2"
"""What profiles/local says in the checkout (profiles/README.md)."""


@dataclass(frozen=True)
class Elsewhere(Checkout):
    """A folder with a Snakefile and a campaign, and nothing of the checkout but its library on the path."""

    library: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", *OPTIONS.split(), *arguments]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": str(self.library)}


def elsewhere(
    folder: Path, checkout: Checkout, snakefile: str = "workflow/Snakefile", names: str = ""
) -> Elsewhere:
    folder.mkdir()
    (folder / "campaign.yaml").write_text(MINI)
    (folder / "Snakefile").write_text(SNAKEFILE.format(snakefile=checkout.folder / snakefile, names=names))
    return Elsewhere(folder, checkout.folder / "src")


@pytest.mark.parametrize(
    ("snakefile", "names", "prefix"),
    [("workflow/Snakefile", "", ""), ("Snakefile", "", ""), ("workflow/Snakefile", " as maps_*", "maps_")],
)
def test_the_whole_campaign_is_planned(
    checkout: Checkout, tmp_path: Path, snakefile: str, names: str, prefix: str
) -> None:
    output = elsewhere(tmp_path / "mine", checkout, snakefile, names).snakemake("-n")
    stats = output.rpartition("Job stats:")[2]
    for rule in ("demo_archive", "search", "simulate", "cut_patches", "train", "compare", "draw_maps"):
        assert f"\n{prefix}{rule} " in stats


def test_the_first_rules_of_the_demo_run_as_in_the_checkout(
    checkout: Checkout, finished: Checkout, tmp_path: Path
) -> None:
    mine = elsewhere(tmp_path / "mine", checkout)
    # Its archive, which takes a minute; the demo writes one.
    shutil.copytree(finished.folder / "demo-archive", mine.folder / "demo-archive")
    mine.snakemake("search")
    mine.snakemake(STORE, "results/mini/simulations/test.zarr/zarr.json")
    made = mine.checksums()
    assert {path.split("/")[1] for path in made} == {"search", "scenes", "simulations"}
    of_checkout = finished.checksums()
    assert made == {path: of_checkout[path] for path in made}
    assert "Nothing to be done" in mine.snakemake("-n", STORE)
    (_, run) = sorted((mine.folder / "results/mini/runs").glob("*/run.json"))
    assert json.loads(run.read_text())["outcome"] == "done"
    assert (run.parent / "Snakefile").read_text() == (checkout.folder / "workflow/Snakefile").read_text()


def test_the_layout_that_the_catalogue_of_workflows_asks_for(checkout: Checkout) -> None:
    for name in (".snakemake-workflow-catalog.yml", "config/README.md", "profiles/README.md"):
        assert (checkout.folder / name).is_file(), name
    assert "Job stats" in checkout.snakemake("--snakefile", "workflow/Snakefile", "-n")
