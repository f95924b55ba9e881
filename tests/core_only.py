"""Run ``canopyflow`` with nothing to import but what given requirements bring.

``python core_only.py '["numpy>=2", ...]' predict pixels.csv --out posterior.csv``; with ``-c`` as the first
argument the second is Python source. Stands alone: it is also run by a fresh environment.
"""

import importlib.metadata as metadata
import json
import re
import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder

from packaging.requirements import Requirement


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(requirements: Iterable[str]) -> set[str]:
    """Names of all distributions that these requirements install."""
    found: set[str] = set()
    queue = [Requirement(text) for text in requirements]
    while queue:
        need = queue.pop()
        name = normal(need.name)
        if name in found or (need.marker is not None and not need.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            queue += [Requirement(text) for text in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:
            continue
    return found


class Only(MetaPathFinder):
    """Refuses every top-level package that no distribution of ``names`` holds, and is not Python's own."""

    def __init__(self, names: set[str]) -> None:
        there = metadata.packages_distributions()
        self.others = {
            package
            for package, holders in there.items()
            if not {normal(holder) for holder in holders} & names and package not in sys.stdlib_module_names
        } - {"canopyflow"}

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in self.others:
            raise ModuleNotFoundError(f"{name} is kept away", name=name)


def main(requirements: str, *arguments: str) -> None:
    names = closure(json.loads(requirements))
    for package in [name for name in sys.modules if name.partition(".")[0] == "packaging"]:
        del sys.modules[package]
    sys.meta_path.insert(0, Only(names))
    if arguments[0] == "-c":
        sys.argv = list(arguments)
        exec(compile(arguments[1], "<given>", "exec"), {"__name__": "__main__"})
        return
    from canopyflow.cli import app

    sys.argv = ["canopyflow", *arguments]
    app()


if __name__ == "__main__":
    main(*sys.argv[1:])
