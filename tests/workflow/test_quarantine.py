"""A scene that cannot be read: all else is made, the exit status says so, the same command tries it again."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkouts import Checkout
from support_archive import write_item

pytestmark = pytest.mark.slow

CAMPAIGN = """
campaign: mini
area: {bbox: [10.84, 46.925, 10.86, 46.94]}
period: {start: 2022-05-01, end: 2022-06-30}
archive: {catalog: archive/catalog.json, max_unreadable: 0}
grid: {resolution: 20, bands: [B02, B03, B04, B05, B8A, B11]}
patches: {size: 4, block_metres: 160}
"""
NOTHING = "Nothing to be done"
NO_PROFILE = (
    *("--workflow-profile", "none", "--resources", "stac=2"),
    *("--rerun-triggers", "mtime", "params", "input"),
)
"""As in our profile, but for --keep-going: the check comes last all the same."""
DAYS = ("2022-05-01", "2022-05-11", "2022-06-05")


@dataclass(frozen=True)
class Campaign:
    """A campaign over three scenes in two months; the band ``torn`` of the second can be cut short."""

    checkout: Checkout
    torn: Path
    whole: bytes

    def run(self, *arguments: str, fails: bool = False, goals: Sequence[str] = ("scenes",)) -> str:
        return self.checkout.snakemake(*goals, *arguments, fails=fails)

    def tear(self) -> None:
        self.torn.write_bytes(self.whole[:1500])

    def mend(self) -> None:
        self.torn.write_bytes(self.whole)

    def accept(self, number: int) -> None:
        file = self.checkout.folder / "mini.yaml"
        file.write_text(re.sub(r"max_unreadable: \d+", f"max_unreadable: {number}", file.read_text()))


@pytest.fixture
def campaign(checkout: Checkout, tmp_path: Path) -> Campaign:
    copy = checkout.copy(tmp_path / "canopyflow")
    items = [write_item(copy.folder / "archive", day, seed=seed) for seed, day in enumerate(DAYS)]
    (copy.folder / "mini.yaml").write_text(CAMPAIGN)
    torn = copy.folder / "archive/sentinel-2-l2a" / items[1]["id"] / "B03.tif"
    return Campaign(copy, torn, torn.read_bytes())


def jobs(output: str) -> list[str]:
    """What was done, in order of beginning."""
    said = re.findall(r"^(?:Job|localcheckpoint|localrule) \d+: (.*)$", output, re.MULTILINE)
    return [line for line in said if line]


def test_a_torn_scene_from_its_first_run_to_the_last(campaign: Campaign) -> None:
    name = campaign.torn.parent.name
    results = campaign.checkout.folder / "results/mini"
    campaign.tear()

    output = campaign.run(*NO_PROFILE, fails=True)
    assert jobs(output)[-1] == "Checking how many scenes are set aside"
    (line,) = [x for x in output.splitlines() if x.startswith("results/mini/logs/checked/scenes.log: ")]
    assert "all else is made, but 1 of 3 scenes had to be set aside" in line
    assert name in line
    assert "archive.max_unreadable: 1 accepts them" in line
    assert (results / "masks/32TPT/2022-05.zarr/zarr.json").exists()
    assert (results / "masks/32TPT/2022-06.zarr/zarr.json").exists()
    assert [path.name for path in (results / "quarantine/32TPT").iterdir()] == ["2022-05.json"]
    run = json.loads(max((results / "runs").glob("*/run.json")).read_text())
    assert run["outcome"] == "failed"
    assert list(run["inputs"]["set_aside"]) == [f"32TPT {name}"]
    before = campaign.checkout.checksums()

    # The same command: that scene again, and nothing that would come out the same.
    output = campaign.run(fails=True)
    assert jobs(output) == [
        "Fetching scenes of 32TPT 2022-05",
        "Scenes that had been set aside were tried again",
        "Checking how many scenes are set aside",
    ]
    assert f"{name} is still set aside" in output
    assert campaign.checkout.checksums() == before

    # Accepted: nothing is tried any more.
    campaign.accept(1)
    assert jobs(campaign.run()) == ["Checking how many scenes are set aside"]
    assert NOTHING in campaign.run("-n")

    # Mended, and no longer accepted: that month alone is made again.
    campaign.accept(0)
    campaign.mend()
    output = campaign.run()
    done = jobs(output)
    assert done[0].startswith("Searching the catalogue"), "another size of a file is another archive"
    assert done[1:4] == [
        "Fetching scenes of 32TPT 2022-05",
        "Scenes that had been set aside were tried again",
        "Masking clouds of 32TPT 2022-05",
    ]
    assert "32TPT 2022-06" not in output
    assert not list((results / "quarantine").rglob("*.json"))
    assert NOTHING in campaign.run("-n")
    mended = campaign.checkout.checksums()

    fresh = campaign.checkout.copy(campaign.checkout.folder.parent / "fresh")
    for folder in ("results", ".snakemake"):
        (fresh.folder / folder).rename(fresh.folder / f"{folder}-before")
    fresh.snakemake("scenes")
    assert fresh.checksums() == mended


def test_a_mask_that_a_killed_run_did_not_note_is_made_again(campaign: Campaign) -> None:
    campaign.run()
    healthy = campaign.checkout.checksums()
    inside = campaign.checkout.folder / ".snakemake"
    marks = [
        urlsafe_b64encode(f"results/mini/masks/32TPT/2022-05.{end}".encode()).decode()
        for end in ("zarr/zarr.json", "csv")
    ]
    notes = {mark: (inside / "metadata" / mark).read_bytes() for mark in marks}
    campaign.tear()
    campaign.run(fails=True)
    # As if the run had been killed between the renaming of the mask and Snakemake's note of it.
    for mark, note in notes.items():
        (inside / "metadata" / mark).write_bytes(note)
        (inside / "incomplete" / mark).write_text('{"external_jobid": null}')
    # Mended to its former bytes: the scenes are those of the older note.
    campaign.mend()
    assert "Masking clouds of 32TPT 2022-05" in jobs(campaign.run())
    assert campaign.checkout.checksums() == healthy
    assert NOTHING in campaign.run("-n")


def test_the_report_and_the_status_name_it(campaign: Campaign) -> None:
    campaign.tear()
    campaign.run(fails=True)
    campaign.checkout.snakemake("--report", "report.html", "results/mini/comparison/scenes.csv")
    report = (campaign.checkout.folder / "report.html").read_text()
    assert "1 of them set aside" in report
    assert report.count(campaign.torn.parent.name) >= 2
