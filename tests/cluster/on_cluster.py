"""A campaign run on the cluster, as its users would, and a run in the background that can be disturbed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkouts import MINI, Checkout

TINY = (
    MINI.replace("campaign: mini", "campaign: mini\nfamilies: [nsf]")
    .replace("end: 2021-06-30", "end: 2021-05-31")
    .replace("epochs: 2,", "epochs: 6,")
)
"""One family, one month: every rule, few jobs. Long enough in training to be interrupted."""

MODEL = "results/mini/models/nsf/seed0/model.json"
PROFILE = "profiles/slurm/config.yaml"


@dataclass(frozen=True)
class OnCluster(Checkout):
    """A checkout whose commands are those of a user on the login node."""

    def command(self, *arguments: str) -> list[str]:
        return ["snakemake", "--profile", "slurm", *arguments]

    def environment(self) -> dict[str, str]:
        here = Path(sys.executable).parent
        return super().environment() | {"PATH": f"{here}{os.pathsep}{os.environ['PATH']}"}

    def site(self, **changes: Any) -> OnCluster:
        """Edit the profile as a site would; blocks are merged, underscores stand for hyphens at the top."""
        path = self.folder / PROFILE
        profile = yaml.safe_load(path.read_text())
        for name, value in changes.items():
            key = name.replace("_", "-")
            for rule, more in value.items() if isinstance(value, dict) else ():
                block = profile.setdefault(key, {})
                block[rule] = block.get(rule, {}) | more if isinstance(more, dict) else more
            if not isinstance(value, dict):
                profile[key] = value
        path.write_text(yaml.safe_dump(profile, sort_keys=False))
        return self

    def without(self, folder: Path, *tracked: str) -> OnCluster:
        """A copy in which the stores and bundles of these files have still to be made."""
        copy = OnCluster(self.copy(folder).folder)
        for path in tracked:
            shutil.rmtree((copy.folder / path).parent)
        return copy

    def products(self) -> list[str]:
        """The tracked files of the maps."""
        found = (self.folder / "results/mini/products").glob("*/*/*.zarr/zarr.json")
        return sorted(path.relative_to(self.folder).as_posix() for path in found)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[Running]:
        """A run in the background; it must have ended when the block does."""
        log = self.folder / "run.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=self.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        run = Running(process, log)
        try:
            yield run
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@dataclass(frozen=True)
class Running:
    """A run of Snakemake in the background."""

    process: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        return self.log.read_text()

    def until_it_says(self, pattern: str, seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while not re.search(pattern, self.text()):
            assert self.process.poll() is None, self.text()[-6000:]
            assert time.monotonic() < until, f"no {pattern!r} in:\n{self.text()[-6000:]}"
            time.sleep(0.2)

    def to_the_end(self, seconds: float = 600) -> str:
        """Everything printed, of a run that ended well."""
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"not done after {seconds:g} s:\n{self.text()[-6000:]}")
        assert self.process.returncode == 0, self.text()[-6000:]
        return self.text()

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
