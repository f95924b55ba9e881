"""A campaign on SLURM: what an earlier run left behind there.

Jobs on a cluster outlive the Snakemake that submitted them. A killed run therefore leaves jobs that
still run, and results that Snakemake has no record of because nobody was there when they came.
:func:`settle` takes both into account before a new run submits anything, so that nothing is done twice.
"""

import logging
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from canopyflow.campaigns import snakemake_internals as internals
from canopyflow.errors import CanopyflowError
from canopyflow.jobs import finished_with, settings_digest

log = logging.getLogger("canopyflow")


def settle(workflow: Any, results: Path) -> bool:
    """Deal with what an earlier run left; True if results changed and the jobs have to be planned anew.

    ``workflow`` is Snakemake's, with its jobs planned and nothing started; the campaign's results lie in
    ``results``. Jobs of an earlier run that are still in SLURM's queue are waited for. A finished result
    without a record is recorded if its log says that it was made with today's settings, and removed if
    with others. Raises CanopyflowError if SLURM cannot be asked.
    """
    runs = _runs_file(results)
    former = runs.read_text().split() if runs.is_file() else []
    waited = _wait_for(former, runs) if former else False
    if _record(workflow) or waited:
        return True
    number = internals.slurm_run(workflow)
    if number is not None:
        runs.write_text(f"{number}\n")
    else:
        runs.unlink(missing_ok=True)
    return False


def all_done(results: Path) -> None:
    """Forget the noted runs: one has ended well, and so none left jobs on SLURM."""
    _runs_file(results).unlink(missing_ok=True)


def _runs_file(results: Path) -> Path:
    return results / ".slurm_run"


def _queue(runs: Sequence[str], noted_in: Path) -> dict[str, str]:
    """Jobs of ``runs`` that are waiting, running or ending: ``{job id: rule and wildcards}``."""
    try:
        asked = ["squeue", "--me", "--noheader", f"--name={','.join(runs)}", "--format=%A %k"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise CanopyflowError(
            "jobs of an earlier run may still be on SLURM, and there is no squeue here to ask",
            f"run on the cluster; or, if there are none left, remove {noted_in}",
        ) from None
    except subprocess.CalledProcessError as error:
        raise CanopyflowError(
            f"SLURM does not say what is running: {error.stderr.strip()}", "give the command again later"
        ) from None
    return dict(line.split(maxsplit=1) for line in answer.splitlines())


def _wait_for(runs: Sequence[str], noted_in: Path, interval: float = 5.0) -> bool:
    """Wait until no job of ``runs`` is in the queue; True if there were any."""
    left = _queue(runs, noted_in)
    for number, name in sorted(left.items(), key=lambda item: int(item[0])):
        log.warning("SLURM job %s (%s) of an earlier run is not done: waiting for it", number, name)
    waited = bool(left)
    while left:
        time.sleep(interval)
        now = _queue(runs, noted_in)
        for number in sorted(left.keys() - now.keys(), key=int):
            log.info("SLURM job %s (%s) has ended", number, left[number])
        left = now
    return waited


def _record(workflow: Any) -> bool:
    """Record results that came when no run was there; True if some were of other settings, and removed."""
    removed = False
    for job in internals.unrecorded(workflow):
        made_with = finished_with(str(job.log[0]))
        if made_with == settings_digest(job.params):
            log.info("%s was finished by a job of an earlier run: kept", job.output[0])
            internals.record(workflow, job)
        elif made_with is not None:
            log.warning("%s was made with other settings by an earlier run: made again", job.output[0])
            for path in job.output:
                Path(path).unlink(missing_ok=True)
            removed = True
    return removed
