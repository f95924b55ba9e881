"""Every touch of what Snakemake and its SLURM plugin do not promise to keep.

Tried with Snakemake 9.27.1 and snakemake-executor-plugin-slurm 2.8.0 (``TRIED``; constraints.txt pins them).
With others an attribute, an argument or a module may be missing: each function then raises a CanopyflowError
that says so and names the versions. ``workflow`` and ``job`` are Snakemake's own objects throughout.
"""

import contextlib
import dataclasses
import io
import sys
from base64 import b64decode
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from canopyflow.errors import CanopyflowError

TRIED = {"snakemake": "9.27.1", "snakemake-executor-plugin-slurm": "2.8.0"}


@contextlib.contextmanager
def _as_tried() -> Iterator[None]:
    try:
        yield
    except (AttributeError, ImportError, KeyError, TypeError) as error:
        tried = ", ".join(f"{name} {number}" for name, number in TRIED.items())
        here = ", ".join(f"{name} {_version(name)}" for name in TRIED)
        raise CanopyflowError(
            f"Snakemake's inside is not as expected ({type(error).__name__}: {error}); here is {here}",
            f"install what was tried: {tried}",
        ) from error


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


@_as_tried()
def has_config_files(workflow: Any) -> bool:
    """Whether ``--configfile`` was given."""
    return bool(workflow.config_settings.configfiles)


@_as_tried()
def config_files(workflow: Any) -> list[Path]:
    """The files of ``--configfile``, or of ``configfile:``; the last counts most."""
    here = Path.cwd()
    files = [Path(file).absolute() for file in workflow.configfiles]
    return [file.relative_to(here) if file.is_relative_to(here) else file for file in dict.fromkeys(files)]


@_as_tried()
def checkout_of(workflow: Any) -> Path:
    """The checkout that holds the rule file being read; none where that comes from elsewhere."""
    return Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]


@_as_tried()
def forget_cores_of_this_machine(workflow: Any) -> None:
    """Where jobs run elsewhere (``jobs`` of profiles/slurm), ``max-threads`` says how many cores there are.

    ``cores: all`` of profiles/local counts those of this machine. Profiles cannot say otherwise: the
    workflow's own wins over the one that is named.
    """
    if workflow.resource_settings.nodes is not None:
        workflow.global_resources["_cores"] = workflow.resource_settings.max_threads


@_as_tried()
def executes(workflow: Any) -> bool:
    """Whether this is the process that plans and runs jobs, or would in a dry run; not one that runs a single
    job of them, nor one that only looks, as for a report."""
    return workflow.is_main_process and workflow.execution_settings is not None


@_as_tried()
def force(workflow: Any, output: Path) -> None:
    """Have the job that makes ``output`` run, whatever is there, as `--forcerun` would.

    Called by an input function of that job. A param that changes would be recorded, and would have to change
    back.
    """
    workflow.dag.forcefiles.add(str(output))


@_as_tried()
def force_unfinished(workflow: Any) -> None:
    """Have jobs that a killed run did not finish run, those too that are planned only after a checkpoint.

    Snakemake looks for them once, in its first plan. Later a job counts as done if its files are there and
    its inputs are those of its last record, which may be older than the files.
    """
    folder = Path(workflow.persistence._incomplete_path)
    for marker in sorted(path for path in folder.rglob("*") if path.is_file()):
        # Names are base64, in folders that begin with "@" where they are too long for one name.
        name = "".join(part.removeprefix("@") for part in marker.relative_to(folder).parts)
        # Whatever else lies there, as a network file system leaves it, is no mark; Snakemake ignores it too.
        with contextlib.suppress(ValueError):
            workflow.dag.forcefiles.add(b64decode(name, b"-_", validate=True).decode())


@_as_tried()
def slurm_run(workflow: Any) -> str | None:
    """The number of this run, which all its jobs bear as their name in SLURM; None if jobs go elsewhere."""
    executor = workflow.scheduler._executor
    if not type(executor).__module__.startswith("snakemake_executor_plugin_slurm"):
        return None
    return str(executor.run_uuid)


@_as_tried()
def unrecorded(workflow: Any) -> list[Any]:
    """Jobs whose results are there without a record, of all in the plan.

    Those that are due count as well: a job that was waited for may have made their results meanwhile.
    """
    return [
        job
        for job in workflow.dag.jobs
        if job.log
        and all(Path(path).exists() for path in job.output)
        and not workflow.persistence.has_metadata(job)
    ]


@_as_tried()
def record(workflow: Any, job: Any) -> None:
    """Record that the job has finished, as it is planned now."""
    workflow.async_run(workflow.persistence.finished(job))


@_as_tried()
def reasons(job: Any) -> list[str]:
    """Why the job is due."""
    return list(job.dag.reason(job).get_names())


@_as_tried()
def is_goal(job: Any) -> bool:
    """Whether the job only names what is wanted."""
    return bool(job.rule.norun)


@_as_tried()
def other_rules(job: Any) -> list[str]:
    """Names of all rules but the job's own."""
    return [rule.name for rule in job.rule.workflow.rules if rule.name != job.rule.name]


@_as_tried()
def nodes(workflow: Any, rule: str) -> int:
    """Nodes that a profile asks for in each job of a rule."""
    block = workflow.resource_settings._parsed_overwrite_resources.get(rule, {})
    if "nodes" not in block or block["nodes"].is_evaluable():
        return 1
    return int(block["nodes"].value)


@_as_tried()
def dry_run(arguments: Sequence[str], on_slurm: bool = False) -> tuple[list[Any], list[str]]:
    """Snakemake's jobs of a run, in an order in which they could be run; on SLURM, their ``sbatch`` lines.

    Raises CanopyflowError if there is no plan, or none for SLURM.
    """
    from snakemake.cli import args_to_api, parse_args
    from snakemake.executors import dryrun
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    parser, args = parse_args(["--dry-run", *arguments])
    if on_slurm and args.executor != "slurm":
        raise CanopyflowError("this run submits nothing to SLURM", "add --profile slurm")
    registry = ExecutorPluginRegistry()
    slurm_settings = registry.get_plugin("slurm").get_settings(args) if on_slurm else None
    jobs: list[Any] = []
    submissions: list[str] = []

    class Collect(dryrun.Executor):
        """Snakemake's dry run, which collects the jobs and prints none."""

        def run_job(self, job: Any) -> None:
            jobs.extend(getattr(job, "jobs", [job]))
            if on_slurm and not job.is_local:
                submissions.append(_sbatch_line(job, slurm_settings, self.workflow.workdir_init))
            super().run_job(job)

        def printjob(self, job: Any) -> None:
            pass

    plain = {name: registry.get_plugin(name) for name in ("dryrun", "local")}
    # As on a cluster: short jobs are grouped, light rules stay here. Those would be run by "local".
    common = dataclasses.replace(plain["dryrun"].common_settings, non_local_exec=on_slurm)
    stand_in = dataclasses.replace(plain["dryrun"], executor=Collect, common_settings=common)
    registry.plugins |= dict.fromkeys(plain, stand_in)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            planned = args_to_api(args, parser)
    finally:
        registry.plugins |= plain
    if not planned:
        print(said.getvalue(), file=sys.stderr)
        raise CanopyflowError("Snakemake made no plan", "see what it says above")
    return jobs, submissions


def _sbatch_line(job: Any, settings: Any, folder: str) -> str:
    """The plugin's ``sbatch`` line of one job; the wrapped command is shortened to the job's name."""
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import get_job_wildcards, set_gres_string

    kind = f"group_{job.name}" if job.is_group() else f"rule_{job.name}"
    words = get_job_wildcards(job)
    account = job.resources.get("slurm_account")
    partition = job.resources.get("slurm_partition")
    parameters = {
        "run_uuid": "RUN",
        "slurm_logfile": Path(settings.logdir or ".snakemake/slurm_logs") / kind / words / "%j.log",
        "comment_str": f"rule_{job.name}" + (f"_wildcards_{words}" if words else ""),
        "account": f"-A {account}" if account else "",
        "partition": f"-p {partition}" if partition else "",
        "workdir": folder,
    }
    line = get_submit_command(job, parameters, settings=settings) + set_gres_string(job)
    inside = [f"{each.rule.name} {' '.join(each.wildcards)}".strip() for each in getattr(job, "jobs", [job])]
    return f'{" ".join(line.split())} --wrap="snakemake ... {", ".join(sorted(inside))}"'
