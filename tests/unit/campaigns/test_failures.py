"""What a failed run says last."""

import logging
import os

from canopyflow.campaigns.failures import BY_SLURM, failures
from canopyflow.jobs import configure_logging

log = logging.getLogger("canopyflow")


def write_log(path, *calls):
    path.parent.mkdir(parents=True, exist_ok=True)
    before = log.handlers, log.propagate
    configure_logging(str(path))
    for level, message in calls:
        log.log(level, message)
    for handler in log.handlers:
        handler.close()
    log.handlers, log.propagate = before


def test_last_error_of_each_log_of_this_run(tmp_path):
    write_log(tmp_path / "search.log", (logging.INFO, "asked"), (logging.ERROR, "no item found — widen it"))
    write_log(tmp_path / "scenes/a.log", (logging.WARNING, "ERROR in a warning is none"))
    write_log(tmp_path / "scenes/b.log", (logging.ERROR, "first"), (logging.ERROR, "last"))
    write_log(tmp_path / "old.log", (logging.ERROR, "of an earlier run"))
    for path in tmp_path.rglob("*.log"):
        os.utime(path, (1000, 1000 if path.name == "old.log" else 3000))
    assert failures(tmp_path, 2000) == [
        f"{tmp_path}/scenes/b.log: last",
        f"{tmp_path}/search.log: no item found — widen it",
    ]
    assert failures(tmp_path / "nowhere", 0) == []


def test_what_slurm_says_of_a_job_it_ended(tmp_path):
    said = "slurmstepd: error: *** STEP 7.0 ON cpu1 CANCELLED AT 2026-11-21T12:00:00 DUE TO TIME LIMIT ***"
    (tmp_path / "7.log").write_text(f"12:00:00 ERROR of the job itself\n{said}\n")
    assert failures(tmp_path, 0, BY_SLURM) == [
        f"{tmp_path}/7.log: {said.removeprefix('slurmstepd: error: ')}"
    ]
    assert failures(tmp_path, 0) == [f"{tmp_path}/7.log: of the job itself"]
