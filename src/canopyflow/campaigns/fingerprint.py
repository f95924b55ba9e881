"""What code a result depends on, as a short digest.

Snakemake does not see the modules that a script imports. A fingerprint covers a script and every
module that it reaches through import statements (also those inside functions), plus the data files that
lie beside these modules. Modules that a registry loads by name, such as posterior families, are not reached
by imports and are named explicitly; that is what keeps one family's edit from touching another's results.
Where the name is written in the source, as in ``SOURCES.build("simulations")``, it counts as an import.

Imports are read from the source text and nothing is run: the digest is the same in every checkout. Digested
is what a text computes (`canopyflow.campaigns.syntax`). The modules of ``UNCOUNTED`` do not count.

A package on the way to a module (``evaluation`` in ``evaluation.tables``) counts with its own content, but
its imports are not followed: what it offers to others is not used by whoever names the module itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from canopyflow import registry
from canopyflow.campaigns.syntax import Import, keep, read
from canopyflow.errors import ConfigError

PACKAGE = registry.PACKAGE

DATA = {".npz", ".json", ".j2", ".css", ".js"}
"""Kinds of data files that modules read, templates among them; an editor's backup beside a module is none."""

UNCOUNTED = {
    "canopyflow.errors": "what is said where there is no result; who raises and who catches counts",
    "canopyflow.progress": "a bar on a terminal, lines in a log",
    "canopyflow.archive.http": "how patiently an archive is asked: tests hold every fault to the "
    "same bytes, and an archive of a nation must not be read again for another pause",
    "canopyflow.archive.answers": "which answers the client believes; the same tests",
    "canopyflow.archive.signing": "the keys with which files are asked for",
    "canopyflow.jobs": "log file and exit status of a job",
    "canopyflow.training.report": "what is shown while a model trains; the history is the trainer's",
    "canopyflow.registry": "finds what is named, and that counts; settings are passed on as they are",
    "canopyflow.options": "which options are refused; those that are taken are passed on as they are",
    "canopyflow.shipped": "finds the folder of a shipped model; what is in it counts by its digest",
    "canopyflow.inference.allocation": "which process runs a call, each on one thread: tests hold results of "
    "one worker and of several to the same bits",
}
"""What cannot change a number, with the reason. Neither they nor their imports count, unless named."""


def fingerprint(script: str | Path | None = None, *modules: str) -> str:
    """Digest (16 hexadecimal digits) of ``script`` and the dotted ``modules`` with all they import.

    ``modules`` may be of another package: what they import of it and of this one counts. Raises ConfigError
    for one that has no source file.
    """
    digest = hashlib.sha256()
    roots = set(modules)
    if script is not None:
        content, imports = read(Path(script).read_text())
        digest.update(content)
        roots |= _named(imports, PACKAGE, {PACKAGE})
    found = modules_of(*roots)
    for name in sorted(found):
        digest.update(f"\0{name}\0".encode() + _module(name).content)
    for name, path in sorted(_data(found)):
        digest.update(f"\0{name}\0".encode() + path.read_bytes())
    keep()
    return digest.hexdigest()[:16]


def modules_of(*modules: str) -> set[str]:
    """Dotted names of the given modules, of all that they import and of the packages on the way to them."""
    found: set[str] = set()
    queue = list(modules)
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue.extend(_module(name).imports)
    return found | {name.rsplit(".", k)[0] for name in found for k in range(1, name.count(".") + 1)}


class _Module(NamedTuple):
    """``package``: what its relative imports start from, empty for a module of none."""

    folder: Path
    package: str
    content: bytes
    imports: frozenset[str]


def forget() -> None:
    """Read the sources anew. Else an edit while a workflow is being planned counts in all of its rules or in
    none."""
    for known in (_module, _source, _data_in):
        known.cache_clear()


_source = cache(registry.source_of)


@cache
def _module(name: str) -> _Module:
    path = _source(name)
    if path is None:
        raise ConfigError(f"module {name} has no source file", "what depends on it cannot be told")
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    content, imports = read(path.read_text())
    named = _named(imports, package, {PACKAGE, name.partition(".")[0]})
    return _Module(path.parent, package, content, frozenset(named))


def _data(modules: Iterable[str]) -> set[tuple[str, Path]]:
    """Data files beside modules of packages, each with the name it goes by in every checkout."""
    folders = {module.package: module.folder for module in map(_module, modules)}
    return {
        (f"{package}/{path.name}", path)
        for package, folder in folders.items()
        for path in (_data_in(folder) if package else ())
    }


@cache
def _data_in(folder: Path) -> tuple[Path, ...]:
    return tuple(path for path in folder.iterdir() if path.suffix in DATA)


def _named(imports: Iterable[Import], package: str, packages: set[str]) -> set[str]:
    """The modules of ``packages`` that count for a module in ``package`` with these ``imports``.

    ``from a import b`` is the module ``a.b`` where there is one, and else what ``a`` itself holds.
    """
    names: set[str] = set()
    for level, base, name in imports:
        if level < 0:
            known = (0, registry.__name__, base) in imports and name in getattr(registry, base)
            names.update({getattr(registry, base).module(name)} if known else ())
            continue
        if level:
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - level + 1], *([base] if base else [])])
        if base.partition(".")[0] in packages:
            module = f"{base}.{name}"
            names.add(module if name and _source(module) is not None else base)
    return {name for name in names - UNCOUNTED.keys() if _source(name) is not None}
