"""What goes wrong on a cluster. However a run is disturbed, it ends in the bytes of an undisturbed one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from on_cluster import MODEL
from slurm import Slurm

pytestmark = pytest.mark.cluster


def jobs_since(slurm: Slurm, before: int, rule: str) -> list:
    return [job for job in slurm.jobs() if int(job.id) > before and job.rule == rule]


@pytest.fixture
def before(slurm, finished) -> int:
    """The number of the last job there was."""
    return max(int(job.id) for job in slurm.jobs())


def running(slurm: Slurm, rule: str):
    """A running job of ``rule`` that has come as far as its script."""

    def found():
        job = slurm.running(rule)
        return job if job and script_of(slurm, job.id) else None

    slurm.wait(found, 120, f"running job of {rule}")
    return found()


def script_of(slurm: Slurm, job: str) -> set[int]:
    """The processes of a job's Python script, Dask's workers included."""
    inside = slurm.processes(f"SLURM_JOB_ID={job}")
    return {pid for pid in inside if b"/scripts/tmp" in Path(f"/proc/{pid}/cmdline").read_bytes()}


@contextmanager
def held(slurm: Slurm, job: str):
    """The job's script stands still meanwhile."""
    processes = script_of(slurm, job)
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGCONT)


def test_a_node_goes_down_under_a_running_job(finished, slurm, before, undisturbed, tmp_path):
    campaign = finished.without(tmp_path / "node", "products")
    with campaign.started(*finished.products()) as run:
        job = running(slurm, "infer")
        with held(slurm, job.id):
            slurm.kill_node(job.node)
        try:
            run.to_the_end()
        finally:
            slurm.revive_node(job.node)
    assert campaign.checksums() == undisturbed
    history = slurm.run("sacct", "-D", "-X", "-n", "-P", "-j", job.id, "-o", "State,NodeList").split("\n")
    assert history[0] == f"NODE_FAIL|{job.node}"
    assert history[-1].startswith("COMPLETED|")
    assert "started again by SLURM" in logs(campaign, "products")


def test_a_job_exceeds_its_memory(finished, slurm, before, undisturbed, tmp_path):
    campaign = finished.without(tmp_path / "memory", "products")
    campaign.site(
        set_threads={"infer": 1}, set_resources={"infer": {"mem_mb": "200 if attempt == 1 else 4000"}}
    )
    with campaign.started(*finished.products()) as run:
        text = run.to_the_end()
    assert campaign.checksums() == undisturbed
    assert "exceeded memory limit" in text
    asked = {job.allocated["mem"]: job.state for job in jobs_since(slurm, before, "infer")}
    assert asked == {"200M": "FAILED", "4000M": "COMPLETED"}


def test_a_job_exceeds_its_time(finished, slurm, before, undisturbed, tmp_path):
    campaign = finished.without(tmp_path / "time", "products")
    campaign.site(set_resources={"infer": {"runtime": "attempt"}})
    with campaign.started(finished.products()[0]) as run:
        job = running(slurm, "infer")
        with held(slurm, job.id):
            run.until_it_says("TIMEOUT", 200)
        text = run.to_the_end()
    assert "DUE TO TIME LIMIT" in text
    assert [job.state for job in jobs_since(slurm, before, "infer")] == ["TIMEOUT", "COMPLETED"]
    campaign.snakemake(*finished.products())
    assert campaign.checksums() == undisturbed


def test_a_preempted_training_goes_on_from_its_checkpoint(finished, slurm, before, undisturbed, tmp_path):
    campaign = finished.without(tmp_path / "preempted", "models")
    checkpoint = campaign.folder / "results/mini/models/nsf/.seed0.checkpoint/state.safetensors"
    with campaign.started(MODEL) as run:
        job = running(slurm, "train")
        slurm.wait(checkpoint.exists, 120, "checkpoint")
        with held(slurm, job.id):
            urgent = ["-p", "urgent", "--gpus=1", "-o", "/dev/null", "--wrap", "sleep 3"]
            slurm.run("sbatch", *urgent)
            slurm.wait(lambda: not script_of(slurm, job.id), 60, "preemption")
        run.to_the_end()
    assert campaign.checksums() == undisturbed
    history = slurm.run("sacct", "-D", "-X", "-n", "-P", "-j", job.id, "-o", "State").split("\n")
    assert (history[0], history[-1]) == ("PREEMPTED", "COMPLETED")
    log = logs(campaign, "models")
    assert "started again by SLURM" in log
    assert re.search(r"resuming at phase \d, epoch \d", log)


def test_the_controller_restarts(finished, slurm, before, undisturbed, tmp_path):
    campaign = finished.without(tmp_path / "controller", "products")
    with campaign.started(*finished.products()) as run:
        job = running(slurm, "infer")
        with held(slurm, job.id):
            slurm.kill_controller()
            slurm.wait(lambda: "DOWN" in slurm.run("scontrol", "ping", check=False), 30, "outage")
            slurm.start_controller()
        run.to_the_end()
    assert campaign.checksums() == undisturbed
    states = [job.state for job in jobs_since(slurm, before, "infer")]
    assert states == ["COMPLETED"] * len(finished.products())
    assert "Recovered JobId=" + job.id in (slurm.folder / "log/slurmctld.log").read_text()


def test_the_submitting_snakemake_is_killed(finished, slurm, before, undisturbed, tmp_path):
    campaign = finished.without(tmp_path / "submitter", "products")
    products = finished.products()
    with campaign.started(*products) as run:
        slurm.wait(lambda: len(jobs_since(slurm, before, "infer")) or queued(slurm), 120, "submission")
        slurm.wait(lambda: queued(slurm) == len(products), 120, "all jobs in the queue")
        job = running(slurm, "infer")
        with held(slurm, job.id):
            run.kill()
            # The others end, and nobody takes note.
            slurm.wait(lambda: queued(slurm) == 1, 120, "end of the other jobs")
            with campaign.started(*products) as again:
                again.until_it_says(rf"SLURM job {job.id} .* is not done: waiting for it")
                assert queued(slurm) == 1
                os.kill(again.process.pid, signal.SIGSTOP)
                os.kill(again.process.pid, signal.SIGCONT)
                for pid in script_of(slurm, job.id):
                    os.kill(pid, signal.SIGCONT)
                text = again.to_the_end()
    assert f"SLURM job {job.id}" in text
    assert text.count("was finished by a job of an earlier run: kept") == len(products)
    assert campaign.checksums() == undisturbed
    assert len(jobs_since(slurm, before, "infer")) == len(products)
    assert "Nothing to be done" in campaign.snakemake("-n", *products)


def queued(slurm: Slurm) -> int:
    return len(slurm.run("squeue", "-h", "-o", "%A").split())


def test_the_scratch_disk_is_full(finished, undisturbed, tmp_path):
    campaign = finished.without(tmp_path / "disk", "products")
    campaign.site(retries=0)
    disk = campaign.folder / "results/mini/products"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "canopyflow-test", disk], check=True)
    try:
        text = campaign.snakemake(*finished.products(), fails=True)
        last = text[text.rindex("Complete log(s)") - 1500 :]
        assert "no space left" in last
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        campaign.snakemake(*finished.products())
        assert campaign.checksums() == undisturbed
    finally:
        subprocess.run(["umount", disk], check=True)


def logs(campaign, part: str) -> str:
    """The logs of a part of the campaign, one after another."""
    found = sorted((campaign.folder / "results/mini/logs" / part).rglob("*.log"))
    return "\n".join(path.read_text() for path in found)
