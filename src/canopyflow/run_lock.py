"""One run of a campaign at a time, held by a lock that cannot go stale.

Snakemake's own lock is a set of files that outlives a killed process and then has to be removed by
hand. Here the kernel holds an advisory lock on one open file and lets go of it when the process ends,
however it ends; the same command can simply be given again.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import TextIO

from canopyflow.errors import CanopyflowError

_held: dict[Path, TextIO] = {}


def hold(results: Path) -> None:
    """Take the lock of the campaign whose results lie in ``results`` until this process ends.

    Raises CanopyflowError that names the holder when another run has it.
    """
    path = results.resolve() / ".lock"
    if path in _held:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise CanopyflowError(
            f"campaign {results.name} is being run by {holder}", "wait for it to end, or stop it first"
        ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    _held[path] = file
