"""What every job of the workflow has in common: a log file, and errors as one clear line."""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from canopyflow.errors import CanopyflowError

log = logging.getLogger("canopyflow")

_STARTED, _FINISHED = "started with settings", "finished with settings"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def job(log_file: str, params: Mapping[str, Any]) -> Iterator[None]:
    """Log to ``log_file`` and to standard error while the block runs.

    A CanopyflowError, like a full disk, ends the job with one line and status 1; any other error keeps
    its traceback. First and last line hold the digest of ``params``, the job's settings: Snakemake keeps
    no record of a job that ends on a cluster when the run that submitted it is gone, the log does.
    """
    configure_logging(log_file)
    digest = settings_digest(params)
    log.info("%s %s%s", _STARTED, digest, _slurm_job())
    try:
        yield
        log.info("%s %s", _FINISHED, digest)
    except CanopyflowError as error:
        log.error("%s", error)
        sys.exit(1)
    except OSError as error:
        if error.errno not in _FULL:
            log.exception("this is a defect of the program, please report it")
            raise
        log.error("no space left to write %s — free some and give the same command again", error.filename)
        sys.exit(1)
    except Exception:
        log.exception("this is a defect of the program, please report it")
        raise


def settings_digest(params: Mapping[str, Any]) -> str:
    """Digest of those of a job's params that Snakemake compares: plain values, no paths."""
    plain = {name: value for name, value in params.items() if not isinstance(value, PurePath)}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def finished_with(log_file: str | Path) -> str | None:
    """The settings with which the job of this log finished; "" if it did not, None if the log cannot say."""
    path = Path(log_file)
    text = path.read_text(errors="replace") if path.is_file() else ""
    if f" {_STARTED} " not in text:
        return None
    finished = re.findall(rf" {_FINISHED} (\w+)$", text, re.MULTILINE)
    return finished[-1] if finished else ""


def _slurm_job() -> str:
    """Which job of SLURM this is, and whether it was here before, for the log; empty outside of SLURM."""
    number, scontrol = os.environ.get("SLURM_JOB_ID"), shutil.which("scontrol")
    if not number or not scontrol:
        return ""
    # Snakemake's job steps drop SLURM_RESTART_COUNT, and remove the log of the first start.
    asked = [scontrol, "show", "job", "--oneliner", number]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    restarts = re.search(r" Restarts=([1-9]\d*) ", answer)
    return f" as SLURM job {number}" + (", started again by SLURM" if restarts else "")


def configure_logging(log_file: str | None = None, level: int = logging.INFO) -> None:
    """Send the package's log to standard error, and to a file when one is named."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log_file is not None:
        handlers.append(logging.FileHandler(log_file, mode="w"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    log.handlers = handlers
    log.setLevel(level)
    log.propagate = False
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").handlers = handlers
