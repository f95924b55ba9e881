"""The campaign on a real SLURM: same results, right places, nothing done twice."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from checkouts import Checkout
from on_cluster import TINY
from slurm import CPU_NODES, GPU_NODES

pytestmark = pytest.mark.cluster


def test_ends_in_the_checksums_of_a_local_run(finished, undisturbed, tmp_path):
    local = Checkout(finished.folder).copy(tmp_path / "local")
    (local.folder / "mini.yaml").write_text(TINY)
    # The archive stays: it is the input of both.
    for folder in ("results", ".snakemake"):
        shutil.rmtree(local.folder / folder)
    local.snakemake()
    assert local.checksums() == undisturbed


def test_nothing_is_left_to_do(finished):
    assert "Nothing to be done" in finished.snakemake("-n")


def test_training_ran_on_the_gpu_node_with_its_gpu_and_all_else_did_not(finished, slurm):
    jobs = [job for job in slurm.jobs() if job.state == "COMPLETED"]
    training = [job for job in jobs if job.rule == "train"]
    others = [job for job in jobs if job.rule != "train"]
    assert training
    for job in training:
        assert (job.partition, job.node, job.allocated.get("gres/gpu")) == ("gpu", GPU_NODES[0], "1")
    assert {job.rule for job in others} >= {"infer", "reading_fetch_scenes_mask_clouds"}
    for job in others:
        assert job.partition == "cpu"
        assert job.node in CPU_NODES
        assert "gres/gpu" not in job.allocated


def test_scenes_and_masks_share_an_allocation_and_all_else_has_its_own(finished, slurm):
    ran = [job.rule for job in slurm.jobs()]
    months = list((finished.folder / "results/mini/scenes").glob("*/*.zarr"))
    assert ran.count("reading_fetch_scenes_mask_clouds") == len(months)
    # One model; patches for training, none to sample a reference.
    assert (ran.count("simulate"), ran.count("cut_patches"), ran.count("publish")) == (3, 2, len(months))


def test_light_rules_stay_on_the_login_node(finished, slurm):
    ran = " ".join(job.rule for job in slurm.jobs())
    for rule in ("search", "check_plots", "compare", "draw_clouds"):
        assert rule not in ran


def test_dask_uses_the_cores_and_the_memory_of_its_allocation(finished, slurm):
    maps = [job for job in slurm.jobs() if job.rule == "infer"]
    assert {job.allocated["cpu"] for job in maps} == {"2"}
    assert {job.allocated["mem"] for job in maps} == {"6000M"}
    for stage in ("products", "reference", "evaluation/nsf"):
        for log in (finished.folder / "results/mini/logs" / stage).rglob("*.log"):
            assert "dask: 2 workers of 2750 MB" in log.read_text()


def test_the_preview_prints_the_lines_that_are_submitted(finished, slurm, tmp_path):
    again = finished.without(tmp_path / "again", *finished.products())
    plan = ["canopyflow", "campaign", "plan", "config/config.yaml", "--profile", "slurm", "--sbatch"]
    preview = subprocess.run(
        [*plan, *finished.products()],
        cwd=again.folder,
        env=again.environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    before = len(slurm.jobs())
    assert options(preview) == {
        options(line).pop()
        for line in slurm.run("sacct", "-X", "-n", "-P", "-o", "SubmitLine").split("\n")
        if "rule_infer" in line
    }
    assert len(slurm.jobs()) == before


def options(lines: str) -> set[str]:
    """``sbatch`` lines without what differs from run to run and from folder to folder."""
    found = re.findall(r"^sbatch .*?(?= --wrap)", lines, re.MULTILINE)
    return {re.sub(r"(--job-name|--output|-D) \S+", r"\1", line) for line in found}


def test_a_map_on_two_nodes_in_one_allocation(finished, slurm, undisturbed, tmp_path):
    product = finished.products()[-1]
    campaign = finished.without(tmp_path / "nodes", product)
    campaign.site(set_resources={"infer": {"nodes": 2, "tasks": 2}})
    before = {job.id for job in slurm.jobs()}
    campaign.snakemake(product)
    assert campaign.checksums() == undisturbed
    maps = [job for job in slurm.jobs() if job.rule == "infer" and job.id not in before]
    assert len(maps) == 1
    for job in maps:
        steps = slurm.run("sacct", "-n", "-P", "-j", job.id, "-o", "JobID,NodeList").split("\n")
        # The script on one node, its Dask on both.
        assert {f"{job.id}.0|cpu1", f"{job.id}.1|cpu[1-2]"} <= set(steps)
    tile, month = Path(product).parts[-3], Path(product).parts[-2].removesuffix(".zarr")
    log = campaign.folder / f"results/mini/logs/products/nsf/{tile}/{month}.log"
    assert "dask: 4 workers on 2 nodes" in log.read_text()
