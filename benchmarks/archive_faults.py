"""Fetching from an archive that misbehaves: is an error ever data?

    OMP_NUM_THREADS=1 python benchmarks/archive_faults.py

A server on the loopback (tests/fault_server.py) serves a small archive: four scenes of six bands, the scene
classification and both metadata files. What is fetched from it without any fault is the reference. Then:

- each of nine kinds of faults at 20 % of all requests, for five seeds, and all of them mixed, for ten: the
  items found, and every file of the scene store, must be those of the reference, whether each file's size and
  ETag were pinned (in every second run) or not; the log names the retries;
- one file that is forbidden, corrupt or stalled for good: its scene is set aside by name, all others are as
  in the reference;
- a token that lives for 4 s while everything drips: the same bytes;
- `Retry-After: 8` on a search, a token, a size, metadata and pixels: by the server's clock nobody comes back
  before the 8 s are over;
- `kill -9` after each number of scenes: the next job asks for the others only, and the store is the same.

The last line is JSON; the exit status is 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests"))

from fault_server import KINDS, Faults, FaultServer, Reply  # noqa: E402
from faulty_archive import HURRIED, client_of, content_of, fetch, pin, write_archive  # noqa: E402

from canopyflow.errors import CanopyflowError  # noqa: E402

DRIP = (2000, 0.1)
"""Bytes and seconds: slower than the client accepts."""


class Retries(logging.Handler):
    """Counts the lines of the log that announce another attempt."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += "; attempt " in record.getMessage()


class Bench:
    """The archive, its reference, and the tally of all runs."""

    def __init__(self, server: FaultServer, folder: Path, ids: list[str]) -> None:
        self.server, self.folder, self.ids = server, folder, ids
        self.tally: Counter[str] = Counter(runs=0, identical=0, quarantined=0, tracebacks=0)
        self.failures: list[str] = []
        self.retries = Retries()
        logger = logging.getLogger("canopyflow")
        logger.addHandler(self.retries)
        logger.propagate = False
        self.found = pin(server)
        self.pinned = pin(server, lock="assets")
        fetch(self.pinned, folder / "reference.zarr", client_of(server))
        self.reference = content_of(folder / "reference.zarr")
        fetch(self.found, folder / "unlocked.zarr", client_of(server))
        self.unlocked = content_of(folder / "unlocked.zarr")

    def run(self, name: str, act: Callable[[Path], bool]) -> None:
        """One run: ``act`` gets a folder and says whether the result is that of the reference."""
        began, lines = time.monotonic(), self.retries.lines
        self.server.forget()
        self.tally["runs"] += 1
        try:
            good = act(self.folder / f"run{self.tally['runs']}.zarr")
            remark = "" if good else "DIFFERENT"
            self.tally["identical"] += good
        except CanopyflowError as error:
            good, remark = False, f"FAILED: {error}"
        except Exception as error:  # what would be a traceback in a job
            good, remark = False, f"TRACEBACK: {type(error).__name__}: {error}"
            self.tally["tracebacks"] += 1
        finally:
            self.calm()
        if not good:
            self.failures.append(name)
        asked, faults = len(self.server.requests), sum(bool(r.fault) for r in self.server.requests)
        print(
            f"{name:28s} {asked:5d} requests {faults:4d} faults {self.retries.lines - lines:4d} retries "
            f"{time.monotonic() - began:5.1f} s {remark}",
            flush=True,
        )

    def calm(self) -> None:
        self.server.faults, self.server.permanent, self.server.scripted = Faults(), {}, {}
        self.server.token_life = None

    def faulty(self, kinds: tuple[str, ...], seed: int, out: Path) -> bool:
        """Search and fetch while a fifth of the requests go wrong."""
        self.server.faults = Faults(kinds, 0.2, seed, drip=DRIP)
        lines = self.retries.lines
        client = client_of(self.server)
        same = pin(self.server) == self.found
        pinned, reference = (self.pinned, self.reference) if seed % 2 else (self.found, self.unlocked)
        fetch(pinned, out, client)
        told = self.retries.lines - lines >= client.requests["again"] > 0
        return same and told and content_of(out) == reference

    def broken_for_good(self, kind: str, out: Path) -> bool:
        """One band of the second scene cannot be had."""
        unlucky = self.ids[1]
        self.server.permanent[f"*/{unlucky}/B05.tif"] = kind
        # Silence is measured in seconds; nothing else makes this server wait.
        client = client_of(self.server, replace(HURRIED, silence=0.5))
        records = fetch(self.pinned, out, client)
        aside = {record["id"]: record["problem"] for record in records if record["problem"]}
        print("   ", *aside.values())
        self.tally["quarantined"] += len(aside)
        found = content_of(out)
        return (
            list(aside) == [unlucky]
            and "B05.tif" in aside[unlucky]
            and pixels_of(found, but=1) == pixels_of(self.reference, but=1)
            and pixels_of(found) == pixels_of(found, but=1)
        )

    def short_token(self, out: Path) -> bool:
        """Tokens end while the files drip; the client neither knows the file's pace nor waits for it."""
        self.server.token_life = 4.0
        self.server.faults = Faults(("drip",), 1.0, drip=(4000, 0.12), paths=("/sentinel-2-l2a/*",))
        fetch(self.pinned, out, client_of(self.server, replace(HURRIED, slowest=10_000, attempts=40)))
        tokens = len(self.server.asked("/token/*"))
        print(f"    {tokens} tokens")
        return tokens > 2 and content_of(out) == self.reference

    def retry_after(self, out: Path) -> bool:
        """Each path is answered 429 once, and must not be asked again before it was told to."""
        base = f"/sentinel-2-l2a/{self.ids[0]}"
        paths = ["/api/search", "/token/127/sentinel-2-l2a"]
        paths += [f"{base}/{name}" for name in ("B02.tif", "MTD_TL.xml", "B03.tif")]
        url = self.server.url
        self.server.token_life = 3600.0
        # A client each: within one, the pause that one path is asked for is kept on all. Two have a token.
        pixels, metadata, size = (client_of(self.server) for _ in range(3))
        for client in (metadata, size):
            client.head(f"{url}{base}/B04.tif")
        self.server.forget()
        self.server.scripted = {path: [Reply(429, {"Retry-After": "8"})] for path in paths}
        with ThreadPoolExecutor(4) as pool:
            jobs = [
                pool.submit(pin, self.server),
                pool.submit(pixels.read, f"{url}{paths[2]}", 0, 100),
                pool.submit(metadata.get, f"{url}{paths[3]}", len),
                pool.submit(size.head, f"{url}{paths[4]}"),
            ]
            for job in jobs:
                job.result()
        gaps = {}
        for path in paths:
            first, second = self.server.asked(path)[:2]
            gaps[path] = second.at - first.at
            print(f"    {gaps[path]:.2f} s  {path}")
        fetch(self.pinned, out, client_of(self.server))
        return all(gap >= 8 for gap in gaps.values()) and content_of(out) == self.reference

    def killed(self, after: int, out: Path) -> bool:
        """A job that is killed as soon as it says that ``after`` scenes are there, and one that goes on."""
        search = self.folder / "search.json"
        search.write_text(json.dumps(self.pinned))
        command = [sys.executable, str(TOP / "tests/faulty_archive.py"), str(search), str(out)]
        missing = after
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as job:
            assert job.stdout is not None
            for line in job.stdout:
                missing -= line.startswith("scene ")
                if not missing:
                    os.kill(job.pid, signal.SIGKILL)
                    break
        self.server.forget()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        asked = {request.path.split("/")[2] for request in self.server.asked("/sentinel-2-l2a/*")}
        print(f"    asked for {len(asked)} of {len(self.ids)} scenes")
        return len(asked) <= len(self.ids) - after + 1 and content_of(out) == self.reference


def pixels_of(content: dict[str, str], but: int | None = None) -> dict[str, str]:
    """The part of a store's content that holds pixels, without those of the scene in slot ``but``."""
    return {
        path: digest
        for path, digest in content.items()
        if path.startswith(("reflectance/c/", "scl/c/")) and f"/c/{but}/" not in path
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=5, help="of each kind; twice as many of all mixed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ids = write_archive(folder / "archive", options.scenes, size=2560)
        with FaultServer(folder / "archive") as server:
            bench = Bench(server, folder, ids)
            for kind in KINDS:
                for seed in range(options.seeds):
                    bench.run(f"{kind}, seed {seed}", lambda out, k=kind, s=seed: bench.faulty((k,), s, out))
            for seed in range(2 * options.seeds):
                bench.run(f"mixed, seed {seed}", lambda out, s=seed: bench.faulty(KINDS, s, out))
            for kind in ("403", "corrupt", "stall"):
                bench.run(f"{kind} for good", lambda out, k=kind: bench.broken_for_good(k, out))
            bench.run("tokens of 4 s", bench.short_token)
            bench.run("Retry-After: 8", bench.retry_after)
            for after in range(1, options.scenes):
                bench.run(f"killed after {after}", lambda out, k=after: bench.killed(k, out))
    result: dict[str, Any] = {**bench.tally, "retries": bench.retries.lines, "failed": bench.failures}
    print(json.dumps(result))
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
