"""Which jobs run side by side, and which share an allocation, under the groups of profiles/slurm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from on_cluster import PROFILE
from slurm import Slurm

pytestmark = pytest.mark.cluster
TOP = Path(__file__).resolve().parents[2]

RULE = """
rule {name}:
    input:
        "{input}-{{one}}" if "{input}" else [],
    output:
        "{name}-{{one}}",
    shell:
        "s=$(date +%s.%N); sleep 3; echo $SLURM_JOB_ID $s $(date +%s.%N) > {{output}}"
"""
"""A job with the name of one of ours, which records its allocation and its time."""


@dataclass(frozen=True)
class Ran:
    """Number of the allocation; start and end, seconds of the epoch."""

    allocation: str
    start: float
    end: float

    def beside(self, other: Ran) -> bool:
        """Whether they ran at the same time, if only for a while."""
        return max(self.start, other.start) < min(self.end, other.end)


def run(folder: Path, *wanted: str, **changes: dict[str, object]) -> dict[str, Ran]:
    """Make the files with our profile, changed as said; returns what is there afterwards."""
    (folder / "Snakefile").write_text(
        "".join(
            RULE.format(name=name, input="fetch_scenes" if name == "mask_clouds" else "")
            for name in ("fetch_scenes", "mask_clouds", "publish")
        )
    )
    profile = yaml.safe_load((TOP / PROFILE).read_text()) | {"slurm-init-seconds-before-status-checks": 1}
    profile |= {name.replace("_", "-"): block for name, block in changes.items()}
    (folder / "slurm").mkdir(exist_ok=True)
    (folder / "slurm/config.yaml").write_text(yaml.safe_dump(profile))
    snakemake = shutil.which("snakemake", path=str(Path(sys.executable).parent))
    done = subprocess.run(
        [str(snakemake), "--profile", "slurm", *wanted],
        cwd=folder,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = {path.name: path.read_text().split() for path in folder.glob("*-[ab]")}
    return {name: Ran(number, float(start), float(end)) for name, (number, start, end) in rows.items()}


def test_members_of_our_groups_depend_on_each_other_and_all_others_run_side_by_side(
    slurm: Slurm, tmp_path: Path
) -> None:
    ran = run(tmp_path, "mask_clouds-a", "mask_clouds-b", "publish-a", "publish-b")
    for one in "ab":
        assert ran[f"fetch_scenes-{one}"].allocation == ran[f"mask_clouds-{one}"].allocation
    assert len({job.allocation for job in ran.values()}) == 4
    assert ran["fetch_scenes-a"].beside(ran["fetch_scenes-b"])
    assert ran["publish-a"].beside(ran["publish-b"])


def test_members_that_could_run_side_by_side_do_not(slurm: Slurm, tmp_path: Path) -> None:
    """What keeps ``group-components`` out of the profile; once this fails, the plugin can do better."""
    ran = run(tmp_path, "publish-a", "publish-b", groups={"publish": "all"}, group_components={"all": 2})
    first, second = ran.values()
    assert first.allocation == second.allocation
    assert not first.beside(second)
    (job,) = [job for job in slurm.jobs() if job.id == first.allocation]
    assert job.allocated["cpu"] == "2"
