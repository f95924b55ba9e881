"""What a next run of a campaign would do, why, and what it would cost.

The jobs and their reasons are Snakemake's own, from a dry run in this process. If the search is among
them, the catalogue is asked now, into a scratch folder, and the rest is planned
as if that answer were pinned: nothing of the campaign changes. Files are not asked for one by one (size,
ETag): a file that another one has replaced in the archive shows when the search runs, and not in the plan.
"""

import dataclasses
import json
import os
import re
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from canopyflow.archive.pinned import read_index
from canopyflow.campaigns import runs
from canopyflow.campaigns import snakemake_internals as internals
from canopyflow.campaigns.crate import flat
from canopyflow.campaigns.search import ask
from canopyflow.campaigns.stages import codes
from canopyflow.config import Campaign
from canopyflow.config.archive import DEMO_CATALOG

SUPPOSED_INDEX = "CANOPYFLOW_SUPPOSED_INDEX"
"""Environment variable by which the Snakefile is told what the search would find."""

SAMPLE = 200
"""Benchmarks read of each rule and model; their mean stands for all."""


@dataclasses.dataclass(frozen=True)
class Line:
    """The jobs of one rule: how many, their cost in hours (None: no earlier benchmark), and why they run."""

    rule: str
    jobs: int
    cpu_hours: float | None
    gpu_hours: float | None
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What differs from the last recorded run, and the jobs of the next in the order of their rules.

    ``changes``: (kind, text) with kind one of settings, code, software, scenes. ``submissions``: the
    ``sbatch`` line of each job or group of jobs, where they were asked for.
    """

    last: dict[str, Any] | None
    changes: tuple[tuple[str, str], ...]
    lines: tuple[Line, ...]
    submissions: tuple[str, ...] = ()


def plan(
    campaign: Campaign, top: Path, arguments: Sequence[str], like: str | None = None, on_slurm: bool = False
) -> Plan:
    """Plan the next run. Nothing is run but, if the search is due, a query of the catalogue.

    Args:
        campaign: the campaign.
        top: the checkout, which is also the working directory.
        arguments: those of ``snakemake``, the campaign file included.
        like: name of another campaign whose benchmarks stand for those that this one does not have yet.
        on_slurm: say as well what would be submitted to SLURM.

    Raises CanopyflowError if Snakemake makes no plan or the catalogue cannot be asked.
    """
    recorded = runs.read_runs(campaign.results)
    last = recorded[-1] if recorded else None
    changes = list(since(last, campaign, top)) if last else []
    jobs, submissions = internals.dry_run(arguments, on_slurm)
    search = next((job for job in jobs if job.rule.name == "search"), None)
    if search is not None and (not campaign.uses_demo or DEMO_CATALOG.exists()):
        with tempfile.TemporaryDirectory() as scratch:
            pinned = campaign.results / "search/index.json"
            index = ask(campaign, Path(scratch), supposing=pinned)
            changes += [("scenes", text) for text in new_scenes(pinned, index)]
            others, submissions = _as_if_searched(arguments, index, search, on_slurm)
            jobs = [search, *others]
    return Plan(last, tuple(changes), tuple(cost(jobs, campaign.results, like)), tuple(submissions))


def _as_if_searched(
    arguments: Sequence[str], index: Path, search: Any, on_slurm: bool
) -> tuple[list[Any], list[str]]:
    """Jobs that follow when the search has run and found ``index``.

    The search is left out of this second plan: Snakemake plans nothing that follows a checkpoint still due.
    """
    os.environ[SUPPOSED_INDEX] = str(index)
    try:
        return internals.dry_run([*arguments, "--allowed-rules", *internals.other_rules(search)], on_slurm)
    finally:
        del os.environ[SUPPOSED_INDEX]


def since(last: dict[str, Any], campaign: Campaign, top: Path) -> Iterator[tuple[str, str]]:
    """Settings, code and software that differ from those of the run ``last``."""
    before, now = flat(last["config"]), flat(campaign.model_dump(mode="json"))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            yield "settings", f"{key}: {json.dumps(before.get(key))} -> {json.dumps(now.get(key))}"
    known = last["code"]
    for name, digest in codes(campaign, top / "scripts").items():
        if known.get(name) != digest:
            yield "code", f"{name} with what it imports" if name in known else f"{name} is new"
    for name, number in runs.software().items():
        if last["versions"].get(name) != number:
            yield "software", f"{name} {last['versions'].get(name)} -> {number} (reruns nothing by itself)"


def new_scenes(pinned: Path, found: Path) -> Iterator[str]:
    """Tile-months of which the index ``found`` differs from the pinned one, if there is one."""
    before = read_index(pinned) if pinned.exists() else {}
    after = read_index(found)
    for tile, month in sorted(before.keys() | after.keys()):
        old, new = before.get((tile, month), {}), after.get((tile, month), {})
        if old.get("digest") != new.get("digest"):
            yield f"{tile} {month}: {old.get('scenes', 0)} -> {new.get('scenes', 0)} scenes"


def cost(jobs: Iterable[Any], results: Path, like: str | None) -> Iterator[Line]:
    """One line per rule. Hours are those of an allocation: wall time times cores, or times GPUs."""
    by_rule: dict[Any, list[Any]] = {}
    for job in jobs:
        if not internals.is_goal(job):
            by_rule.setdefault(job.rule, []).append(job)
    for rule, members in by_rule.items():
        hours = [_hours(job, results, like) for job in members]
        known = [pair for pair in hours if pair is not None]
        complete = len(known) == len(members)
        reasons = Counter(name for job in members for name in internals.reasons(job))
        yield Line(
            rule.name,
            len(members),
            sum(cpu for cpu, _ in known) if complete else None,
            sum(gpu for _, gpu in known) if complete else None,
            tuple(name for name, _ in reasons.most_common()),
        )


def _hours(job: Any, results: Path, like: str | None) -> tuple[float, float] | None:
    """CPU and GPU hours of one job; None if no job of its rule and model has a benchmark."""
    pattern = internals.benchmark_pattern(job.rule)
    if pattern is None:
        return None
    pattern = pattern.replace("{model}", job.wildcards_dict.get("model", "*"))
    pattern = re.sub(r"\{\w+\}", "*", pattern)
    seconds = _mean_seconds(pattern)
    if seconds is None and like is not None:
        seconds = _mean_seconds(pattern.replace(f"{results}/", f"{results.parent / like}/", 1))
    if seconds is None:
        return None
    gpus = job.resources.get("gpu", 0)
    return seconds * job.threads / 3600, seconds * (gpus if isinstance(gpus, int) else 1) / 3600


@cache
def _mean_seconds(pattern: str) -> float | None:
    """Mean wall time in the benchmark files that fit ``pattern``; of many, evenly spaced ones are read."""
    files = sorted(Path().glob(pattern))
    lines = [path.read_text().splitlines() for path in files[:: len(files) // SAMPLE + 1]]
    times = [float(rows[1].split("\t")[0]) for rows in lines if len(rows) > 1]
    return statistics.fmean(times) if times else None
