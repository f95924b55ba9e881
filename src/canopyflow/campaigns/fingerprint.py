"""What code a result depends on, as a short digest.

Snakemake does not see the modules that a script imports. A fingerprint covers a script and every
module of this package that it reaches through import statements (also those inside functions), plus
the data files that lie beside these modules. Imports are read from the source text, nothing is run:
the digest is the same in every checkout and does not know file times. Modules that a registry loads
by name, such as posterior families, are not reached by imports and are named explicitly; that is what
keeps one family's edit from touching another's results.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = "canopyflow"
SOURCE = Path(__file__).resolve().parents[1]
DATA = {".npz", ".json"}
"""Kinds of data files that modules read; an editor's backup beside a module is none."""


def fingerprint(script: str | Path | None = None, *modules: str) -> str:
    """Digest (16 hexadecimal digits) of ``script`` and the dotted ``modules`` with all they import."""
    digest = hashlib.sha256()
    roots = set(modules)
    if script is not None:
        content = Path(script).read_bytes()
        digest.update(content)
        roots |= _imports(content.decode(), PACKAGE)
    found = modules_of(*roots)
    for path in _files(found):
        digest.update(f"\0{path.relative_to(SOURCE).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def modules_of(*modules: str) -> set[str]:
    """Dotted names of the given modules and of all that they import from this package."""
    found: set[str] = set()
    queue = list(modules)
    while queue:
        name = queue.pop()
        if name not in found and _file(name) is not None:
            found.add(name)
            queue.extend(_direct(name))
    return found


def _files(modules: Iterable[str]) -> list[Path]:
    sources = {path for name in modules if (path := _file(name)) is not None}
    data = {
        path
        for folder in {source.parent for source in sources} - {SOURCE}
        for path in folder.iterdir()
        if path.suffix in DATA
    }
    return sorted(sources | data)


def _file(module: str) -> Path | None:
    base = SOURCE.joinpath(*module.split(".")[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if module.split(".")[0] == PACKAGE and path.is_file():
            return path
    return None


@cache
def _direct(module: str) -> frozenset[str]:
    path = _file(module)
    assert path is not None
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    parents = {module.rsplit(".", k)[0] for k in range(1, module.count(".") + 1)}
    return frozenset(_imports(path.read_text(), package)) | parents


def _imports(source: str, package: str) -> set[str]:
    """Names that may be modules of this package: ``from a import b`` names both ``a`` and ``a.b``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                anchor = parts[: len(parts) - node.level + 1]
                base = ".".join([*anchor, *([base] if base else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return {name for name in names if name.split(".")[0] == PACKAGE}
