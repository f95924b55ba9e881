"""A campaign on SLURM: what would be submitted, and what an earlier run left behind there.

Jobs on a cluster outlive the Snakemake that submitted them. A killed run therefore leaves jobs that
still run, and results that Snakemake has no record of because nobody was there when they came.
:func:`settle` takes both into account before a new run submits anything, so that nothing is done twice.

    python -m canopyflow.cluster [options of snakemake]

prints the ``sbatch`` lines of a run with ``--profile slurm`` and submits nothing.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from canopyflow.errors import CanopyflowError
from canopyflow.jobs import finished_with, settings_digest

log = logging.getLogger("canopyflow")


def settle(workflow: Any) -> bool:
    """Deal with what an earlier run left; True if results changed and the jobs have to be planned anew.

    ``workflow`` is Snakemake's, with its jobs planned and nothing started. Jobs of an earlier run that
    are still in SLURM's queue are waited for. A finished result without a record is recorded if its log
    says that it was made with today's settings, and removed if with others.
    """
    waited = _wait_for(_left_in_queue(workflow))
    return _record(workflow) or waited


def _left_in_queue(workflow: Any) -> dict[str, str]:
    """Jobs of an earlier run that SLURM still has: ``{job id: rule and wildcards}``."""
    marked: dict[str, str] = {}
    for job in workflow.dag.needrun_jobs():
        for number in workflow.persistence.external_jobids(job):
            marked[number] = " ".join([job.rule.name, *map(str, job.wildcards)])
    if not marked:
        return {}
    if shutil.which("squeue") is None:
        raise CanopyflowError(
            f"SLURM jobs {', '.join(sorted(marked))} of an earlier run may still be running, "
            "and there is no squeue here to ask",
            "run on the cluster; if they are gone: rm -r .snakemake/incomplete",
        )
    return {number: name for number, name in marked.items() if number in _queue()}


def _queue() -> set[str]:
    """Numbers of this user's jobs that are waiting, running or ending."""
    done = subprocess.run(
        ["squeue", "--me", "--noheader", "--format=%A"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CanopyflowError(
            f"SLURM does not say what is running: {done.stderr.strip()}", "give the command again later"
        )
    return set(done.stdout.split())


def _wait_for(jobs: dict[str, str], interval: float = 5.0) -> bool:
    """Until none of ``jobs`` is in the queue; True if there were any."""
    for number, name in sorted(jobs.items(), key=lambda item: int(item[0])):
        log.warning("SLURM job %s (%s) of an earlier run is not done: waiting for it", number, name)
    left = set(jobs)
    while left:
        time.sleep(interval)
        gone = left - _queue()
        for number in sorted(gone, key=int):
            log.info("SLURM job %s (%s) has ended", number, jobs[number])
        left -= gone
    return bool(jobs)


def _record(workflow: Any) -> bool:
    """Record results that came when no run was there; True if some were of other settings, and removed."""
    removed = False
    for job in workflow.dag.jobs:
        if workflow.dag.needrun(job) or not job.log or workflow.persistence.has_metadata(job):
            continue
        made_with = finished_with(str(job.log[0]))
        if made_with == settings_digest(job.params):
            log.info("%s was finished by a job of an earlier run: kept", job.output[0])
            workflow.async_run(workflow.persistence.finished(job))
        elif made_with is not None:
            log.warning("%s was made with other settings by an earlier run: made again", job.output[0])
            for path in job.output:
                Path(path).unlink(missing_ok=True)
            removed = True
    return removed


def submissions(arguments: Sequence[str] = ()) -> list[str]:
    """The ``sbatch`` line of each job of a run with ``--profile slurm``; nothing is submitted.

    ``arguments``: more of those of ``snakemake``. Jobs behind a checkpoint that has not run (the search)
    are not known yet. What Snakemake says while planning goes to standard error. Raises CanopyflowError
    if there is no plan.
    """
    from snakemake.cli import args_to_api, parse_args
    from snakemake.executors import dryrun
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    parser, args = parse_args(["--profile", "slurm", "--dry-run", *arguments])
    registry = ExecutorPluginRegistry()
    settings = registry.get_plugin("slurm").get_settings(args)
    lines: list[str] = []

    class Preview(dryrun.Executor):
        """Snakemake's dry run, which also notes what it would hand to SLURM."""

        def run_job(self, job: Any) -> None:
            if not job.is_local:
                lines.append(sbatch_line(job, settings, self.workflow.workdir_init))
            super().run_job(job)

    plain = registry.get_plugin("dryrun")
    remote = dataclasses.replace(plain.common_settings, non_local_exec=True)
    registry.plugins["dryrun"] = dataclasses.replace(plain, executor=Preview, common_settings=remote)
    try:
        with redirect_stdout(sys.stderr):
            planned = args_to_api(args, parser)
    finally:
        registry.plugins["dryrun"] = plain
    if not planned:
        raise CanopyflowError("Snakemake made no plan", "see what it says above")
    return lines


def sbatch_line(job: Any, settings: Any, folder: str) -> str:
    """The plugin's ``sbatch`` line of one job; the wrapped command is shortened to the job's name."""
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import get_job_wildcards, set_gres_string

    kind = f"group_{job.name}" if job.is_group() else f"rule_{job.name}"
    words = get_job_wildcards(job)
    account = job.resources.get("slurm_account")
    partition = job.resources.get("slurm_partition")
    parameters = {
        "run_uuid": "RUN",
        "slurm_logfile": Path(settings.logdir or ".snakemake/slurm_logs") / kind / words / "%j.log",
        "comment_str": f"rule_{job.name}" + (f"_wildcards_{words}" if words else ""),
        "account": f"-A {account}" if account else "",
        "partition": f"-p {partition}" if partition else "",
        "workdir": folder,
    }
    line = get_submit_command(job, parameters, settings=settings) + set_gres_string(job)
    inside = [f"{each.rule.name} {' '.join(each.wildcards)}".strip() for each in getattr(job, "jobs", [job])]
    return f'{" ".join(line.split())} --wrap="snakemake ... {", ".join(sorted(inside))}"'


if __name__ == "__main__":
    print(*submissions(sys.argv[1:]), sep="\n")
