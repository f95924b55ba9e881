"""``canopyflow init``: the workflow beside an installed library.

The files lie once in the repository, at its top. A wheel holds a copy of them (``setup.py`` puts it there),
a checkout is its own. ``[tool.canopyflow]`` of ``pyproject.toml`` lists which they are.
"""

import shutil
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from canopyflow import __version__, registry
from canopyflow.errors import DataError
from canopyflow.extras import PACKAGES, install

PACKED = "_workflow"
"""Folder of the workflow's files in the package of a wheel."""

LINKS = {"slurm": "profiles/slurm", "profiles/default": "local"}
"""Links to profiles, which a wheel cannot hold."""

VERSION = ".canopyflow-version"
"""Which version of the library the files came with; envs/canopyflow.post-deploy.sh installs that one."""

REQUIRED = ("workflow", "demo")
"""Extras that the first campaign needs."""


def write_workflow(target: str | Path) -> list[str]:
    """Write the workflow into the folder ``target``; returns what to do next, as lines to print.

    Raises DataError if the target holds anything, or is a file.
    """
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} exists and is not empty", "name a new or an empty folder")
    target.mkdir(parents=True, exist_ok=True)
    for source, name in files():
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
        # Scripts that conda or cron start keep their right to run; a wheel does not keep it.
        place.chmod(0o755 if name.endswith(".sh") else 0o644)
    for name, to in LINKS.items():
        (target / name).symlink_to(to)
    (target / VERSION).write_text(f"{__version__}\n")
    return next_steps(target)


def files() -> Iterator[tuple[Path, str]]:
    """Each file of the workflow, with its path below the top. Raises DataError if there are none."""
    packed, top = registry.SOURCE / PACKED, registry.SOURCE.parents[1]
    if packed.is_dir():
        for path in sorted(packed.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path, path.relative_to(packed).as_posix()
    elif (top / "workflow/Snakefile").is_file():
        for pattern in tomllib.loads((top / "pyproject.toml").read_text())["tool"]["canopyflow"]["workflow"]:
            for path in sorted(top.glob(pattern)):
                if path.is_file():
                    yield path, path.relative_to(top).as_posix()
    else:
        raise DataError("this installation holds no workflow", "install canopyflow from a wheel")


def _is_here(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def next_steps(target: Path) -> list[str]:
    """What to do in a folder that was just written."""
    lacking = [extra for extra in REQUIRED if not all(map(_is_here, PACKAGES[extra]))]
    steps = [
        ("snakemake -n", "what the demo campaign would do"),
        ("snakemake", "do it: minutes, the results go to results/demo"),
        ("canopyflow results", "the table of its models, and where the maps are"),
        ("canopyflow campaign --help", "campaigns of your own"),
    ]
    if lacking:
        steps.insert(0, (install(*REQUIRED), "what the workflow needs, and is not here yet"))
    width = max(len(command) for command, _ in steps)
    return [
        f"the workflow of canopyflow {__version__} is in {target}; next:",
        f"  cd {target}",
        *(f"  {command.ljust(width)}  # {why}" for command, why in steps),
    ]
