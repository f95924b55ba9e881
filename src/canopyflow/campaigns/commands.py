"""``canopyflow campaign``: status, plan, run and history of a campaign, from its file."""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from canopyflow.errors import CanopyflowError

if TYPE_CHECKING:
    from canopyflow.campaigns.plan import Plan
    from canopyflow.config import Campaign

app = typer.Typer(help="A campaign's runs: the next, the current, the past.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="campaign file")]
# All that stands behind the file is Snakemake's, such as `--profile slurm` or `--forcerun search`.
GIVEN_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def read_campaign(file: Path) -> Campaign:
    """As :func:`canopyflow.config.read_campaign`, which is imported when a command runs: whoever asks for
    help, or for another command, need not have its libraries."""
    from canopyflow.config import read_campaign as read

    return read(file)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="letters, digits, _ and -")],
    area: Annotated[str, typer.Option(help="GeoJSON of polygons, or west,south,east,north in degrees")],
    period: Annotated[str, typer.Option(help="first..last day: 2021-03-01..2021-07-31")],
    catalog: Annotated[str, typer.Option(help="planetary-computer, earth-search, ..., an address or a path")],
    plots: Annotated[Path | None, typer.Option(help="table of field plots")] = None,
    out: Annotated[Path | None, typer.Option(help="file to write: config/campaigns/NAME.yaml")] = None,
) -> None:
    """Write a commented campaign file with what most people change; nothing is overwritten."""
    from canopyflow.campaigns.new import Asked, write_campaign

    written = write_campaign(Asked(name, area, period, catalog, plots, out))
    typer.echo("\n".join([f"{written.path} is written", *written.remarks, "next:"]))
    typer.echo(f"  canopyflow config check {written.path} --online")
    typer.echo(f"  canopyflow campaign plan {written.path}")


@app.command()
def status(file: File) -> None:
    """Who runs the campaign, how its last run ended, how much of it is published."""
    from canopyflow.campaigns import runs
    from canopyflow.campaigns.lock import holder

    campaign = read_campaign(file)
    holding = holder(campaign.results)
    typer.echo(f"campaign  {campaign.campaign} ({file}), results in {campaign.results}")
    typer.echo(f"lock      {f'held by {holding}' if holding else 'free'}")
    recorded = runs.read_runs(campaign.results)
    typer.echo(f"last run  {_told(recorded[-1]) if recorded else 'none'}")
    if not campaign.has_scenes:
        typer.echo("scenes    none: its models are compared on simulations")
        return
    found = runs.inputs(campaign)
    typer.echo(f"scenes    {found.get('scenes', 0)} pinned, in {found.get('tile_months', 0)} tile-months")
    for name, problem in found.get("set_aside", {}).items():
        typer.echo(f"set aside {name}: {problem}")
    published = runs.products(campaign.results).get("tile_months", {})
    counts = (f"{name} {published.get(name, 0)} of {found.get('tile_months', 0)}" for name in campaign.mapped)
    typer.echo(f"published {', '.join(counts)}")


@app.command(context_settings=GIVEN_ON)
def plan(
    context: typer.Context,
    file: File,
    like: Annotated[str | None, typer.Option(help="campaign whose benchmarks serve as well")] = None,
    sbatch: Annotated[bool, typer.Option("--sbatch", help="only print what SLURM would be given")] = False,
) -> None:
    """What the next run would do, why, and how many CPU and GPU hours it would take; runs nothing.

    What else is given goes to Snakemake: plan with what you would run with.
    """
    from canopyflow.campaigns.plan import plan as make_plan

    campaign = read_campaign(file)
    planned = make_plan(campaign, _top(), _snakemake(context, file), like, on_slurm=sbatch)
    if sbatch:
        typer.echo("\n".join(planned.submissions))
    else:
        for note in campaign.notes:
            typer.echo(f"note: {note}")
        _tell(planned, file)


def _tell(planned: Plan, file: Path = Path("FILE")) -> None:
    if planned.supposed:
        typer.echo(planned.supposed)
        typer.echo(
            "so no scene is known: what follows is reckoned from area and period alone, cloudy "
            f"acquisitions counted. With the network: canopyflow config check {file} --online"
        )
    if planned.last:
        typer.echo(f"since the last run, {_told(planned.last)}:")
    for kind, text in planned.changes:
        typer.echo(f"  {kind:9} {text}")
    if planned.last and not planned.changes:
        typer.echo("  no setting, no code and no scene has changed")
    if not planned.lines:
        typer.echo("nothing to be done")
        return
    table: list[tuple[str, ...]] = [("rule", "jobs", "CPU h", "GPU h", "rate", "why")]
    table += [
        (
            line.rule,
            str(line.jobs),
            _hours(line.cpu_hours, line.unknown),
            _hours(line.gpu_hours, line.unknown),
            ", ".join(line.rates) or "?",
            "; ".join(line.reasons),
        )
        for line in planned.lines
    ]
    jobs, unknown = (sum(getattr(line, name) for line in planned.lines) for name in ("jobs", "unknown"))
    total = [sum(getattr(line, name) for line in planned.lines) for name in ("cpu_hours", "gpu_hours")]
    table.append(("all", str(jobs), *(_hours(hours, unknown) for hours in total), "", ""))
    print_table(table)
    lacking = [line.rule for line in planned.lines if line.unknown]
    if lacking:
        typer.echo(f"?: how much {', '.join(lacking)} will take is not known yet (see --like)")
    if planned.traffic:
        low, high = planned.traffic.gigabytes
        typer.echo(
            f"archive: {planned.traffic.scenes:,} scenes, some {planned.traffic.requests:,} requests and "
            f"{low:.1f} to {high:.1f} GB (files come in blocks, which reach beyond a small area)"
        )


@app.command(context_settings=GIVEN_ON)
def run(context: typer.Context, file: File) -> None:
    """Take the campaign's lock and become `snakemake --configfile FILE ...`, with what else is given."""
    from canopyflow.campaigns.lock import hold

    campaign = read_campaign(file)
    _top()
    hold(campaign.results)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *_snakemake(context, file)])


def search(context: typer.Context, file: Path, update: bool) -> None:
    """Ask the catalogue now, print what differs from what is pinned, and pin it if ``update``.

    What else is in ``context`` goes to Snakemake.
    """
    from canopyflow.campaigns.search import ask, differences, pin_found, scenes_in, told

    campaign = read_campaign(file)
    _top()
    pinned = campaign.results / "search/index.json"
    with tempfile.TemporaryDirectory() as scratch:
        found = ask(campaign, Path(scratch))
        differing = list(differences(pinned, found))
        for difference in differing:
            typer.echo("\n".join(told(difference)))
        typer.echo(
            f"pinned: {scenes_in(pinned)}; found: {scenes_in(found)}; {len(differing)} tile-months differ"
        )
        if update:
            sys.stdout.flush()
            pin_found(found, ["--cores", "1", *_snakemake(context, file)])
        elif differing:
            typer.echo("what is pinned stays as it is; --update pins what was found")


def _snakemake(context: typer.Context, file: Path) -> list[str]:
    # The file last: what stands behind `--configfile` counts as one, up to the next option.
    return [*context.args, "--configfile", str(file)]


@app.command()
def history(file: File) -> None:
    """Every recorded run: when, how it ended, with what, on what, and what it made."""
    from canopyflow.campaigns import runs

    campaign = read_campaign(file)
    table: list[tuple[str, ...]] = [
        ("run", "outcome", "took", "version", "commit", "settings", "scenes", "jobs", "published")
    ]
    table += [_row(run) for run in runs.read_runs(campaign.results)]
    print_table(table)
    typer.echo(f"details: {campaign.results / 'runs'}/RUN/run.json")


def _row(run: dict[str, Any]) -> tuple[str, ...]:
    commit = run["commit"] or "-"
    published = run["products"].get("tile_months", {})
    return (
        run["id"],
        run["outcome"],
        _took(run),
        run["versions"]["canopyflow"],
        commit[:8] + "+" * commit.endswith("+"),
        run["config_sha256"][:8],
        str(run["inputs"].get("scenes", "-")),
        str(sum(run["jobs"].values())) if run["ended"] else "-",
        ", ".join(f"{model} {count}" for model, count in published.items()) or "-",
    )


def _told(run: dict[str, Any]) -> str:
    from canopyflow.campaigns import runs

    last = f"{run['id']} ({run['outcome']}"
    if run["outcome"] == runs.INTERRUPTED:
        return f"{last}: {run['process']} ended without saying so, and its lock with it)"
    return f"{last} after {_took(run)})" if run["ended"] else f"{last})"


def _took(run: dict[str, Any]) -> str:
    if not run["ended"]:
        return "-"
    return str(datetime.fromisoformat(run["ended"]) - datetime.fromisoformat(run["started"]))


def _hours(known: float, unknown: int) -> str:
    """Hours of jobs of which as many as ``unknown`` are not in the sum."""
    if not unknown:
        return f"{known:.2f}"
    return f">= {known:.2f} + ?" if known else "?"


def _top() -> Path:
    """The checkout. Raises CanopyflowError if the working directory is none."""
    if not Path("Snakefile").is_file():
        raise CanopyflowError("there is no Snakefile here", "change to the top folder of the checkout first")
    return Path.cwd()


def print_table(table: list[tuple[str, ...]]) -> None:
    """Print rows of as many cells each, columns aligned to the left."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        typer.echo("  ".join([*cells, row[-1]]).rstrip())
