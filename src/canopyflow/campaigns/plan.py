"""What a next run of a campaign would do, why, and what it would cost.

The jobs and their reasons are Snakemake's own, from a dry run in this process. If the search is among
them, the catalogue is asked now, into a scratch folder, and the rest is planned
as if that answer were pinned: nothing of the campaign changes. Files are not asked for one by one (size,
ETag): a file that another one has replaced in the archive shows when the search runs, and not in the plan.
If the catalogue does not answer and nothing is pinned yet, the plan is one of supposed scenes, and says so.
"""

import dataclasses
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from canopyflow.archive.pinned import read_index
from canopyflow.campaigns import runs
from canopyflow.campaigns import snakemake_internals as internals
from canopyflow.campaigns.crate import flat
from canopyflow.campaigns.estimates import Estimates
from canopyflow.campaigns.search import ask
from canopyflow.campaigns.stages import codes
from canopyflow.campaigns.supposed import Traffic, suppose, traffic
from canopyflow.campaigns.work import Work
from canopyflow.config import Campaign, load_campaign
from canopyflow.config.archive import DEMO_CATALOG
from canopyflow.errors import ArchiveUnreachable, CanopyflowError

SUPPOSED_INDEX = "CANOPYFLOW_SUPPOSED_INDEX"
"""Environment variable by which the Snakefile is told what the search would find."""


@dataclasses.dataclass(frozen=True)
class Line:
    """The jobs of one rule: how many, their cost, and why they run.

    ``cpu_hours`` and ``gpu_hours`` are those of the jobs whose cost is known, ``unknown`` is the number of
    the others; ``rates`` says whose times the hours come from (:mod:`canopyflow.campaigns.estimates`).
    """

    rule: str
    jobs: int
    cpu_hours: float
    gpu_hours: float
    unknown: int
    rates: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What differs from the last recorded run, and the jobs of the next in the order of their rules.

    ``changes``: (kind, text) with kind one of settings, code, software, scenes. ``submissions``: the
    ``sbatch`` line of each job or group of jobs, where they were asked for. ``traffic``: what a remote
    archive is asked for. ``supposed``: why scenes are supposed and not found, empty if they are found.
    """

    last: dict[str, Any] | None
    changes: tuple[tuple[str, str], ...]
    lines: tuple[Line, ...]
    submissions: tuple[str, ...] = ()
    traffic: Traffic | None = None
    supposed: str = ""


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

    Raises CanopyflowError if Snakemake makes no plan, or the catalogue cannot be asked although it has been.
    """
    recorded = runs.read_runs(campaign.results)
    last = recorded[-1] if recorded else None
    changes = list(since(last, campaign, top)) if last else []
    jobs, submissions = internals.dry_run(arguments, on_slurm)
    before = _recorded(campaign, campaign.campaign)
    other = None if like is None else _recorded(campaign, like)
    search = next((job for job in jobs if job.rule.name == "search"), None)
    pinned, supposed, asked = campaign.results / "search/index.json", "", None
    if search is not None and (not campaign.uses_demo or DEMO_CATALOG.exists()):
        with tempfile.TemporaryDirectory() as scratch:
            index, supposed = _asked_or_supposed(campaign, Path(scratch), pinned)
            if not supposed:
                changes += [("scenes", text) for text in new_scenes(pinned, index)]
            others, submissions = _as_if_searched(arguments, index, search, on_slurm)
            jobs = [search, *others]
            lines = tuple(cost(jobs, Estimates(Work(campaign, index), before, other)))
            asked = _traffic(campaign, index, jobs)
    else:
        lines = tuple(cost(jobs, Estimates(Work(campaign), before, other)))
        asked = _traffic(campaign, pinned, jobs)
    return Plan(last, tuple(changes), lines, tuple(submissions), asked, supposed)


def _asked_or_supposed(campaign: Campaign, folder: Path, pinned: Path) -> tuple[Path, str]:
    """The index of what the catalogue answers; or of what it may hold, and why that had to be supposed."""
    try:
        return ask(campaign, folder, supposing=pinned), ""
    except ArchiveUnreachable as error:
        if pinned.exists():
            raise
        return suppose(campaign, folder), str(error)


def _traffic(campaign: Campaign, index: Path, jobs: Iterable[Any]) -> Traffic | None:
    """What a remote archive is asked for by these jobs; None if nothing."""
    if campaign.archive is None or not campaign.archive.is_remote or not index.exists():
        return None
    rules = [(job.rule.name, job.wildcards_dict) for job in jobs]
    months = {(said["tile"], said["window"]) for rule, said in rules if rule == "fetch_scenes"}
    searches = any(rule == "search" for rule, _ in rules)
    if not months and not searches:
        return None
    return traffic(campaign, json.loads(index.read_text()), months, searches)


def _recorded(campaign: Campaign, name: str) -> Work:
    """The work of the campaign ``name`` by the settings of its last run; where there is none, by ours."""
    recorded = runs.read_runs(campaign.results.parent / name)
    try:
        return Work(load_campaign(recorded[-1]["config"]))
    except (IndexError, CanopyflowError):
        return Work(campaign.model_copy(update={"campaign": name}))


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


def cost(jobs: Iterable[Any], estimates: Estimates) -> Iterator[Line]:
    """One line per rule. Hours are those of an allocation: wall time times cores, or times GPUs."""
    by_rule: dict[Any, list[Any]] = {}
    for job in jobs:
        if not internals.is_goal(job):
            by_rule.setdefault(job.rule, []).append(job)
    for rule, members in by_rule.items():
        hours = [_hours(job, estimates) for job in members]
        known = [each for each in hours if each is not None]
        reasons = Counter(name for job in members for name in internals.reasons(job))
        yield Line(
            rule.name,
            len(members),
            sum(cpu for cpu, _, _ in known),
            sum(gpu for _, gpu, _ in known),
            len(members) - len(known),
            tuple(name for name, _ in Counter(name for _, _, name in known).most_common()),
            tuple(name for name, _ in reasons.most_common()),
        )


def _hours(job: Any, estimates: Estimates) -> tuple[float, float, str] | None:
    """CPU and GPU hours of one job, and whose rates say so; None if nothing is known of it."""
    gpus, nodes = (job.resources.get(name, less) for name, less in (("gpu", 0), ("nodes", 1)))
    nodes = nodes if isinstance(nodes, int) else 1
    known = estimates.seconds(job.rule.name, job.wildcards_dict, job.threads * nodes)
    if known is None:
        return None
    hours = known[0] * nodes / 3600
    return hours * job.threads, hours * (gpus if isinstance(gpus, int) else 1), known[1]
