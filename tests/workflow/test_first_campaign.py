"""From nothing to the plan of a real campaign in three commands, and files that Snakemake must not take."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from checkouts import MINI, Checkout

pytestmark = pytest.mark.slow

COORDINATES = [[1.38, 43.55], [1.504, 43.55], [1.504, 43.64], [1.38, 43.64], [1.38, 43.55]]
SILENT = """
from canopyflow.campaigns import plan
from canopyflow.errors import ArchiveUnreachable

def silent(*_, **__):
    raise ArchiveUnreachable("the catalogue did not answer", "try again later")

plan.ask = silent
"""
"""What a machine without a network is told, without the half minute that it takes to be sure."""


def canopyflow(checkout: Checkout, *arguments: str, fails: bool = False, before: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\nfrom canopyflow.cli import app\napp()", *arguments],
        cwd=checkout.folder,
        env=checkout.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def place(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout of this module's own, with the box of an area."""
    copy = checkout.copy(tmp_path_factory.mktemp("first") / "canopyflow")
    area = {"type": "Polygon", "coordinates": [COORDINATES]}
    (copy.folder / "box.geojson").write_text(json.dumps(area))
    return copy


def test_three_commands_lead_to_a_plan_of_a_real_area(place: Checkout) -> None:
    options = (
        "--area",
        "box.geojson",
        "--period",
        "2021-03-01..2021-07-31",
        "--catalog",
        "planetary-computer",
    )
    said = canopyflow(place, "campaign", "new", "toulouse", *options)
    check, plan = (line.split()[1:] for line in said.splitlines()[-2:])
    assert check == ["config", "check", "config/campaigns/toulouse.yaml", "--online"]
    assert "is in order" in canopyflow(place, *check[:-1])
    planned = canopyflow(place, *plan, before=SILENT)
    assert "the catalogue did not answer" in planned
    assert "canopyflow config check config/campaigns/toulouse.yaml --online" in planned
    rows = {line.split()[0]: line.split()[1] for line in planned.splitlines() if line.strip()}
    assert (rows["search"], rows["fetch_scenes"], rows["infer"], rows["publish"]) == ("1", "5", "5", "5")
    assert "archive: 45 scenes, some 2,345 requests and 0.3 to 1.8 GB" in planned
    assert not list((place.folder / "results").glob("toulouse/search/*"))
    first = (place.folder / "config/campaigns/toulouse.yaml").read_text().splitlines()[0]
    schema = (place.folder / "config/campaigns" / first.partition("$schema=")[2]).resolve()
    assert json.loads(schema.read_text())["title"] == "Campaign"


def test_snakemake_takes_no_file_that_says_a_key_twice(place: Checkout) -> None:
    line = len(MINI.splitlines()) + 1
    (place.folder / "mini.yaml").write_text(f"{MINI}grid: {{bands: [B03]}}\nfamlies: [nsf]\n")
    output = place.snakemake("-n", fails=True)
    (place.folder / "mini.yaml").write_text(MINI)
    assert f"mini.yaml:{line}: grid: given twice, first in line 6: keep one of them" in output
    assert f"mini.yaml:{line + 1}: famlies: unknown key; did you mean 'families'?" in output
    assert "Traceback" not in output


def test_what_the_command_line_changes_is_checked_as_well(place: Checkout) -> None:
    (place.folder / "mini.yaml").write_text(MINI)
    output = place.snakemake("-n", "--config", 'grid={"resolution": 5}', fails=True)
    assert "\ngrid.resolution: must be at least 10 (got '5')" in output
