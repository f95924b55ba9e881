"""A checkout of one's own to run a campaign in, and a campaign that takes a minute."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]

MINI = """
campaign: mini
area: {bbox: [6.478, 46.711, 6.522, 46.7295]}
period: {start: 2021-05-01, end: 2021-06-30}
archive: {catalog: demo}
grid: {resolution: 60}
baselines: [climatology]
physics: {prior: atbd}
simulations: {train: 2000, validation: 200, test: 200}
patches: {size: 8}
training:
  summaries: {epochs: 2, width: 32, layers: 2}
  phases:
    - {objective: npe, epochs: 2, learning_rate: 0.002, data: simulations}
    - {objective: elbo, epochs: 1, learning_rate: 0.0002, data: patches}
inference: {samples: 20, outputs: [lai, cab, ccc]}
evaluation: {plots: demo-archive/plots.csv, truth: demo-archive/truth, samples: 50}
reference: {simulated: 4, observed: 0, draws: 100, rounds: 1}
publication: {variables: [lai]}
"""


@dataclass(frozen=True)
class Checkout:
    """A copy of the repository in which commands are run as a user would."""

    folder: Path
    campaign: str = field(default="mini.yaml", kw_only=True)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--configfile", self.campaign, "--cores", "2", *arguments]

    def of(self, campaign: str) -> Checkout:
        """The same folder, with another campaign's file for its commands."""
        return replace(self, campaign=campaign)

    def environment(self) -> dict[str, str]:
        """The copy's own code is the one that runs, compiled once whatever the surroundings say."""
        own = {"PYTHONPATH": str(self.folder / "src"), "PYTHONDONTWRITEBYTECODE": ""}
        return os.environ | own | {"OMP_NUM_THREADS": "1"}

    def snakemake(self, *arguments: str, fails: bool = False) -> str:
        """Run to the end and return everything printed; the exit status must be as expected."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert (done.returncode != 0) == fails, done.stdout[-6000:]
        return done.stdout

    def planned(self) -> set[tuple[str, str]]:
        """What a run would make anew: ``{(rule, output), ...}``, outputs below ``results/mini``."""
        lines = [line.split("\t") for line in self.snakemake("--summary").splitlines()]
        head = lines.index(next(line for line in lines if line[0] == "output_file"))
        return {
            (rule, output.removeprefix("results/mini/"))
            for output, _, rule, *_, plan in lines[head + 1 :]
            if plan != "no update"
        }

    def copy(self, folder: Path) -> Checkout:
        shutil.copytree(self.folder, folder, symlinks=True)
        return Checkout(folder)

    def checksums(self) -> dict[str, str]:
        """SHA-256 of every result by path; logs, benchmarks, records and hidden files are no results, and the
        page tells what a million pixels took."""
        results = self.folder / "results"
        return {
            path.relative_to(results).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(results.rglob("*"))
            if path.is_file()
            and not {"logs", "benchmarks", "runs", "ro-crate-metadata.json", "index.html"}
            & set(path.relative_to(results).parts)
            and not any(part.startswith(".") for part in path.relative_to(results).parts)
        }


def fresh_checkout(folder: Path) -> Checkout:
    """Copy what git would: tracked files and new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=TOP,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, target = TOP / name, folder / name
        if source.exists() or source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    (folder / "mini.yaml").write_text(MINI)
    return Checkout(folder)
