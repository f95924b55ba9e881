"""The record of a campaign's runs: ``results/{campaign}/runs/{start}/run.json``.

Snakemake's hooks write it (workflow/rules/common.smk), so that a bare ``snakemake`` and ``canopyflow
campaign run`` leave the same. A run that had nothing to do leaves none. A killed run cannot say so: its
record stays without an end, and is told apart from a run that goes on by the lock, which names its holder.
"""

import hashlib
import json
import logging
import os
import platform
import pwd
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from canopyflow.archive.addresses import cleaned
from canopyflow.archive.pinned import read_index
from canopyflow.atomic import write_json
from canopyflow.campaigns.crate import write_crate
from canopyflow.campaigns.lock import holder
from canopyflow.campaigns.stages import codes
from canopyflow.config import Campaign
from canopyflow.cubes.quarantine import scenes_of, set_aside
from canopyflow.errors import DataError

log = logging.getLogger("canopyflow")

SOFTWARE = ("canopyflow", "snakemake", "torch", "zuko", "numpy", "xarray", "zarr", "rasterio", "stackstac")
"""Packages whose versions are recorded; constraints.txt has all."""

RUNNING, DONE, FAILED, INTERRUPTED = "running", "done", "failed", "interrupted"


def begin(campaign: Campaign, top: Path, snakefile: Path, process: str, command: Sequence[str]) -> Path:
    """Record that a run begins; returns its folder.

    Args:
        campaign: with all its settings.
        top: the checkout; a folder that is not there where the rules come from elsewhere.
        snakefile: the workflow's table of contents, of which the record keeps a copy.
        process: the holder of the lock, as :func:`canopyflow.campaigns.lock.hold` names it.
        command: what was typed.
    """
    before = read_runs(campaign.results)
    if before and before[-1]["outcome"] == INTERRUPTED:
        log.warning(
            "the run %s (%s) was interrupted: what it finished stays", before[-1]["id"], before[-1]["process"]
        )
    config = campaign.model_dump(mode="json")
    started = _now()
    folder = campaign.results / "runs" / started.replace("+00:00", "Z").replace(":", "")
    record = {
        "id": folder.name,
        "campaign": campaign.campaign,
        "started": started,
        "ended": None,
        "outcome": RUNNING,
        "process": process,
        "user": user(),
        "command": list(command),
        "versions": software(),
        "commit": commit(top),
        "code": codes(campaign, top / "scripts"),
        "config": config,
        "config_sha256": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        "inputs": {},
        "jobs": {},
        "products": {},
        "problems": [],
    }
    _write(folder, record)
    shutil.copyfile(snakefile, folder / "Snakefile")
    return folder


def end(folder: Path, campaign: Campaign, outcome: str, problems: Sequence[str] = ()) -> None:
    """Record how the run of ``folder`` ended, and describe the campaign's runs as an RO-Crate."""
    run = json.loads((folder / "run.json").read_text())
    done = {
        "ended": _now(),
        "outcome": outcome,
        "inputs": inputs(campaign),
        "jobs": jobs_since(campaign.results, datetime.fromisoformat(run["started"]).timestamp()),
        "products": products(campaign.results),
        "problems": list(problems),
    }
    _write(folder, {**run, **done})
    write_crate(campaign.results, read_runs(campaign.results))


def read_runs(results: Path) -> list[dict[str, Any]]:
    """The recorded runs, oldest first. Raises DataError for a record that is none."""
    now = holder(results)
    runs = []
    for path in sorted((results / "runs").glob("*/run.json")):
        try:
            run = json.loads(path.read_text())
        except ValueError as error:
            raise DataError(f"{path} is no record of a run: {error}", "remove its folder") from None
        if run["outcome"] == RUNNING and run["process"] != now:
            run["outcome"] = INTERRUPTED
        runs.append(run)
    return runs


def inputs(campaign: Campaign) -> dict[str, Any]:
    """What the pinned search holds, which of its scenes are set aside and why, and the digest of the table of
    field plots."""
    found: dict[str, Any] = {}
    path = campaign.results / "search/index.json"
    if path.exists():
        months = read_index(path)
        found["scenes"] = sum(month["scenes"] for month in months.values())
        found["tile_months"] = len(months)
        found["index_sha256"] = _sha256(path)
        found["set_aside"] = scenes_of(set_aside(campaign.results / "quarantine", months.keys()))
    plots = campaign.evaluation.plots
    if plots and Path(plots).is_file():
        found["plots_sha256"] = _sha256(Path(plots))
    return found


def products(results: Path) -> dict[str, Any]:
    """How many tile-months are published of each model, and one digest over their provenance."""
    digest, count = hashlib.sha256(), Counter[str]()
    for path in sorted((results / "published").glob("*/*/*/provenance.json")):
        name = path.relative_to(results / "published").as_posix()
        digest.update(f"{name}\0{_sha256(path)}\0".encode())
        count[name.split("/")[0]] += 1
    return {"tile_months": dict(count), "sha256": digest.hexdigest()} if count else {}


def jobs_since(results: Path, moment: float) -> dict[str, int]:
    """Jobs of each stage that ended well since ``moment``: each writes its benchmark when it does."""
    count = Counter[str]()
    benchmarks = results / "benchmarks"
    for path in sorted(benchmarks.rglob("*.tsv")):
        if path.stat().st_mtime >= moment:
            count[path.relative_to(benchmarks).parts[0].removesuffix(".tsv")] += 1
    return dict(count)


def commit(top: Path) -> str | None:
    """The commit of the checkout, with "+" if files differ from it; None if git does not hold it."""
    if not (top / ".git").exists() or shutil.which("git") is None:
        return None

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(top), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    head = git("rev-parse", "HEAD")
    return head + "+" * bool(git("status", "--porcelain", "--untracked-files=no")) if head else None


def user() -> str:
    """Name of whoever runs this; a container may know the number only."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def software() -> dict[str, str]:
    """Versions of Python and of the packages that decide about results."""
    return {"python": platform.python_version(), **{name: version(name) for name in SOFTWARE}}


def command_line() -> list[str]:
    """What was typed to start Snakemake, addresses in it without their secrets."""
    return ["snakemake", *map(cleaned, sys.argv[1:])]


def _write(folder: Path, record: dict[str, Any]) -> None:
    write_json(folder / "run.json", record)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
