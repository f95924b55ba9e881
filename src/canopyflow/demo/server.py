"""The demo archive behind a real STAC API on loopback, for as long as a ``with`` block lasts."""

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from canopyflow.errors import ArchiveError, ArchiveUnreachable

log = logging.getLogger("canopyflow")

START_SECONDS = 20.0
"""How long the server may take until its first answer."""
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _rustac() -> str:
    """The ``rustac`` program of the environment that runs this Python."""
    program = Path(sys.executable).with_name("rustac")
    if not program.exists():
        raise ArchiveError(f"no STAC server: {program} does not exist", "pip install 'canopyflow[demo]'")
    return str(program)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    """In the child, before exec: ask Linux for SIGKILL when the parent's thread ends, however it ends.

    The ctypes handle is made at import, so that nothing but one system call happens between fork and exec.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait(server: subprocess.Popen[bytes], url: str, output: Path) -> None:
    """Return when the server answers; raise if it ends or stays silent."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with opener.open(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    said = output.read_text(errors="replace").strip().splitlines()
    raise ArchiveUnreachable(
        f"the demo's STAC API did not start at {url}: {said[-1] if said else 'no answer'}", "try again"
    )


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextmanager
def serve(folder: str | Path) -> Iterator[str]:
    """Serve the archive in ``folder`` by ``rustac serve`` and yield the URL of its STAC API.

    The API listens on a free port of 127.0.0.1 and ends with the block, also on an error, and, on Linux, with
    this process, also on ``kill -9``. It stays in this process group. It must be entered from a thread that
    outlives the block (Linux ties the end to the thread that started it).

    What ``rustac`` 0.17 does with the items: it adds links (root, self, parent, collection), makes up the
    collection and leaves everything else alone. Asset hrefs come back as they stand in ``items.json``,
    relative to the archive's folder (``sentinel-2-l2a/<id>/B04.tif``), and must be joined with that folder by
    the reader: ``Item.make_asset_hrefs_absolute()`` would join them with the item's URL, where no file is
    served. A search by POST with ``bbox``, ``datetime``, ``ids``, ``intersects`` and paging (a ``next`` link
    with ``skip`` in its body) works; ``query`` and ``filter`` are silently answered with nothing and there is
    no ``numberMatched``.

    Raises ArchiveError if the folder holds no archive or the program is
    missing, ArchiveUnreachable if the server does not answer in time.
    """
    items = Path(folder).resolve() / "items.json"
    if not items.exists():
        raise ArchiveError(f"{items} does not exist: no demo archive there", f"canopyflow demo {folder}")
    with tempfile.TemporaryDirectory(prefix="canopyflow-serve-") as scratch:
        output = Path(scratch) / "rustac.log"
        address = f"127.0.0.1:{_free_port()}"
        with output.open("wb") as sink:
            server = subprocess.Popen(
                [_rustac(), "serve", "--create-collections", "--addr", address, str(items)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent if _libc is not None else None,
                env={**os.environ, "RUST_BACKTRACE": "0"},
            )
        try:
            _wait(server, f"http://{address}/", output)
            log.info("demo: STAC API of %s at http://%s", folder, address)
            yield f"http://{address}"
        finally:
            _stop(server)
