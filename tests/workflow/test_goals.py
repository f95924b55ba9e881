"""The named goals, and what a campaign asks for by itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from checkouts import Checkout

pytestmark = pytest.mark.slow


def rules(checkout: Checkout, *arguments: str) -> set[str]:
    """Rules of a dry run's jobs."""
    stats = checkout.snakemake("-n", *arguments).rpartition("Job stats:")[2]
    return set(re.findall(r"^(\w+) +\d+$", stats, re.MULTILINE)) - {"total"}


def test_the_goals_are_parts_of_all(finished: Checkout, tmp_path: Path) -> None:
    copy = finished.copy(tmp_path / "canopyflow")
    made = {
        "maps": "results/mini/products/nsf/31TGM/2021-05.zarr/zarr.json",
        "published": "results/mini/published/nsf/31TGM/2021-05/provenance.json",
        "comparison": "results/mini/comparison/clouds.png",
        "reference": "results/mini/reference/simulated.zarr/zarr.json",
    }
    for file in made.values():
        (copy.folder / file).unlink()
    assert rules(copy, "scenes") == {"check_archive", "scenes"}
    assert rules(copy, "maps") == {"infer", "check_archive", "maps"}
    assert rules(copy, "reference") == {"sample_reference", "reference"}
    assert rules(copy, "published") == {"infer", "publish", "catalog", "check_archive", "published"}
    assert rules(copy, "comparison") == {"draw_clouds", "check_archive", "comparison"}
    assert rules(copy) >= {"draw_clouds", "infer", "publish", "catalog"}


@pytest.mark.parametrize(
    ("data", "observed", "splits"),
    [
        ("simulations", 0, set()),
        ("both", 0, {"train", "validation"}),
        ("simulations", 4, {"test"}),
        ("patches", 4, {"train", "validation", "test"}),
    ],
)
def test_patches_are_cut_only_where_something_reads_them(
    checkout: Checkout, tmp_path: Path, data: str, observed: int, splits: set[str]
) -> None:
    copy = checkout.copy(tmp_path / "canopyflow")
    config = copy.folder / "mini.yaml"
    text = config.read_text().replace("data: patches", f"data: {data}")
    config.write_text(text.replace("observed: 0", f"observed: {observed}"))
    assert set(re.findall(r"Cutting (\w+) patches", copy.snakemake("-n"))) == splits


def test_a_tracker_is_given_curves_and_nothing_is_trained_for_it(finished: Checkout, tmp_path: Path) -> None:
    copy = finished.copy(tmp_path / "canopyflow")
    config = copy.folder / "mini.yaml"
    config.write_text(config.read_text() + "tracking: tensorboard\n")
    assert rules(copy) == {"track", "everything"}
    made = "results/mini/tracking/tensorboard/nsf/seed0/tracked.json"
    copy.snakemake(made)
    (events,) = (copy.folder / made).parent.glob("*tfevents*")
    assert events.stat().st_size > 0
    assert {rule for rule, output in copy.planned() if "nsf" in output} == set()
