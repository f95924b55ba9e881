"""What goes wrong on a cluster. However a run is disturbed, it ends in the bytes of an undisturbed one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from on_cluster import MODEL, OnCluster
from slurm import Job, Slurm

pytestmark = pytest.mark.cluster


def jobs_since(slurm: Slurm, before: int, rule: str) -> list[Job]:
    return [job for job in slurm.jobs() if int(job.id) > before and job.rule == rule]


@pytest.fixture
def before(slurm, finished) -> int:
    """The number of the last job there was."""
    return max(int(job.id) for job in slurm.jobs())


def running(slurm: Slurm, campaign: OnCluster, rule: str) -> Job:
    """A running job of ``rule`` that has come as far as its own log."""

    def found():
        job = slurm.running(rule)
        return job if job and re.search(rf" as SLURM job {job.id}\b", logs(campaign)) else None

    slurm.wait(found, 120, f"running job of {rule}")
    job = found()
    assert job
    return job


def script_of(slurm: Slurm, job: str) -> set[int]:
    """The processes of a job's Python script, Dask's workers included."""
    found = set()
    for pid in slurm.processes(f"SLURM_JOB_ID={job}"):
        with suppress(OSError):
            if b"/scripts/tmp" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


@contextmanager
def held(slurm: Slurm, job: str):
    """The job's script stands still meanwhile."""
    for pid in script_of(slurm, job):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        go_on(slurm, job)


def go_on(slurm: Slurm, job: str) -> None:
    """End what :func:`held` began."""
    for pid in script_of(slurm, job):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def queued(slurm: Slurm) -> int:
    return len(slurm.run("squeue", "-h", "-o", "%A").split())


def logs(campaign: OnCluster) -> str:
    """The logs of all jobs, one after another; a job that begins removes its former log, maybe just now."""
    texts = []
    for path in sorted((campaign.folder / "results/mini/logs").rglob("*.log")):
        with suppress(FileNotFoundError):
            texts.append(path.read_text())
    return "\n".join(texts)


def test_a_node_goes_down_under_a_running_job(finished, slurm, before, undisturbed, tmp_path):
    product = finished.products()[-1]
    campaign = finished.without(tmp_path / "node", product)
    with campaign.started(product) as run:
        job = running(slurm, campaign, "infer")
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
    assert "started again by SLURM" in logs(campaign)


def test_a_job_exceeds_its_memory(finished, slurm, before, undisturbed, tmp_path):
    product = finished.products()[-1]
    campaign = finished.without(tmp_path / "memory", product)
    campaign.site(
        set_threads={"infer": 1}, set_resources={"infer": {"mem_mb": "200 if attempt == 1 else 4000"}}
    )
    with campaign.started(product) as run:
        text = run.to_the_end()
    assert campaign.checksums() == undisturbed
    first, second = jobs_since(slurm, before, "infer")
    said = re.findall(rf"\S+/{first.id}.log", text)
    assert "exceeded memory limit" in Path(said[-1]).read_text()
    asked = {job.allocated["mem"]: job.state for job in (first, second)}
    assert asked == {"200M": "FAILED", "4000M": "COMPLETED"}


def test_a_job_exceeds_its_time(finished, slurm, before, undisturbed, tmp_path):
    product = finished.products()[-1]
    campaign = finished.without(tmp_path / "time", product)
    campaign.site(set_resources={"infer": {"runtime": "attempt"}})
    with campaign.started(product) as run:
        job = running(slurm, campaign, "infer")
        with held(slurm, job.id):
            run.until_it_says("TIMEOUT", 200)
        text = run.to_the_end()
    said = re.findall(rf"\S+/{job.id}.log", text)
    assert "DUE TO TIME LIMIT" in Path(said[-1]).read_text()
    assert [job.state for job in jobs_since(slurm, before, "infer")] == ["TIMEOUT", "COMPLETED"]
    assert campaign.checksums() == undisturbed


def test_a_preempted_training_goes_on_from_its_checkpoint(finished, slurm, before, undisturbed, tmp_path):
    campaign = finished.without(tmp_path / "preempted", MODEL)
    checkpoint = campaign.folder / "results/mini/models/nsf/.seed0.checkpoint/state.safetensors"
    with campaign.started(MODEL) as run:
        job = running(slurm, campaign, "train")
        slurm.wait(checkpoint.exists, 120, "checkpoint")
        with held(slurm, job.id):
            urgent = ["-p", "urgent", "--gpus=1", "-o", "/dev/null", "--wrap", "sleep 3"]
            slurm.run("sbatch", *urgent)
            slurm.wait(lambda: not script_of(slurm, job.id), 60, "preemption")
        run.to_the_end()
    assert campaign.checksums() == undisturbed
    history = slurm.run("sacct", "-D", "-X", "-n", "-P", "-j", job.id, "-o", "State").split("\n")
    assert (history[0], history[-1]) == ("PREEMPTED", "COMPLETED")
    log = logs(campaign)
    assert "started again by SLURM" in log
    assert re.search(r"resuming at phase \d, epoch \d", log)


def test_the_controller_restarts(finished, slurm, before, undisturbed, tmp_path):
    product = finished.products()[-1]
    campaign = finished.without(tmp_path / "controller", product)
    with campaign.started(product) as run:
        job = running(slurm, campaign, "infer")
        with held(slurm, job.id):
            slurm.kill_controller()
            slurm.wait(lambda: "DOWN" in slurm.run("scontrol", "ping", check=False), 30, "outage")
            slurm.start_controller()
        run.to_the_end()
    assert campaign.checksums() == undisturbed
    states = [job.state for job in jobs_since(slurm, before, "infer")]
    assert states == ["COMPLETED"]
    assert "Recovered JobId=" + job.id in (slurm.folder / "log/slurmctld.log").read_text()


def test_the_submitting_snakemake_is_killed(finished, slurm, before, undisturbed, tmp_path):
    products = finished.products()
    # As if they had never been made: not even a record of them is left.
    campaign = finished.without(tmp_path / "submitter", *products)
    campaign.snakemake("--cleanup-metadata", *products)
    with campaign.started(*products) as run:
        slurm.wait(lambda: queued(slurm) == len(products), 120, "all jobs in the queue")
        job = running(slurm, campaign, "infer")
        with held(slurm, job.id):
            run.kill()
            slurm.wait(lambda: queued(slurm) == 1, 240, "end of the other jobs, of which nobody takes note")
            with campaign.started(*products) as again:
                again.until_it_says(rf"SLURM job {job.id} .* is not done: waiting for it")
                assert queued(slurm) == 1
                go_on(slurm, job.id)
                text = again.to_the_end()
    assert text.count("was finished by a job of an earlier run: kept") == len(products)
    assert campaign.checksums() == undisturbed
    assert len(jobs_since(slurm, before, "infer")) == len(products)
    assert "Nothing to be done" in campaign.snakemake("-n", *products)


def test_the_scratch_disk_is_full(finished, undisturbed, tmp_path):
    product = finished.products()[-1]
    campaign = finished.without(tmp_path / "disk", product)
    campaign.site(retries=0)
    disk = (campaign.folder / product).parents[1]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "canopyflow-test", disk], check=True)
    try:
        text = campaign.snakemake(product, fails=True)
        assert "no space left" in text[text.rindex("Exiting") :]
        assert not (campaign.folder / product).exists()
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        campaign.snakemake(product)
        assert campaign.checksums() == undisturbed
    finally:
        subprocess.run(["umount", disk], check=True)
