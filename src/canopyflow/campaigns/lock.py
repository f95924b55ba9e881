"""One run of a campaign at a time, held by a lock that cannot go stale.

Snakemake's own lock is a set of files that outlives a killed process and then has to be removed by
hand. Here the kernel holds an advisory lock on one open file and lets go of it when the process ends,
however it ends; the same command can simply be given again.

The lock stays with its process when that becomes another program (exec): `canopyflow campaign run` takes
it and turns into Snakemake, whose onstart finds that it holds it already. Programs that the process
starts do not inherit it, for subprocess closes all files but the standard ones.
"""

import fcntl
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from canopyflow.errors import CanopyflowError

_held: dict[Path, TextIO] = {}


def hold(results: Path) -> str:
    """Take the lock of the campaign whose results lie in ``results`` until this process ends.

    Returns what names this process as the holder. Raises CanopyflowError that names the other one when
    another run has it.
    """
    path = _lock_file(results)
    if path not in _held:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
        me = f"process {os.getpid()} on {socket.gethostname()} since "
        if _lock(file):
            os.set_inheritable(file.fileno(), True)
            file.truncate(0)
            file.write(me + datetime.now(UTC).isoformat(timespec="seconds"))
            file.flush()
        elif not (other := _named_in(file)).startswith(me):
            file.close()
            raise CanopyflowError(
                f"campaign {results.name} is being run by {other or 'another process'}",
                "wait for it to end, or stop it first",
            )
        _held[path] = file
    return path.read_text()


def holder(results: Path) -> str | None:
    """Who holds the lock of the campaign, None if nobody does; the file itself may name a run long gone."""
    try:
        file = _lock_file(results).open()
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _named_in(file) or "another process"
    return None


def _lock_file(results: Path) -> Path:
    return results.resolve() / ".lock"


def _lock(file: TextIO) -> bool:
    """Whether the lock could be had; a moment's patience, since :func:`holder` takes it to look."""
    for _ in range(5):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
    return False


def _named_in(file: TextIO) -> str:
    file.seek(0)
    return file.read().strip()
