"""What a source text computes, as a digest, and what it imports.

Digested is the syntax tree: comments, docstrings, formatting, imports for types alone and the number of the
version do not count. Reading the whole package so takes more than a second, and every `snakemake` command
does it: what was read is kept in the user's cache folder, by the bytes of the text and of this file.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

Import = tuple[int, str, str]
"""Level, module and name ("" for the module itself) of an import; of an entry, -1, its registry and name."""

KEPT = 1000
"""Texts in the cache, the latest: some three times the package, which take some 10 ms to read."""


class Syntax(NamedTuple):
    """``digest``: of what the text computes."""

    digest: bytes
    imports: tuple[Import, ...]


@cache
def read(source: str) -> Syntax:
    """Digest of what a source text computes, and its imports. Raises SyntaxError."""
    key = hashlib.sha256(_OWN + source.encode()).hexdigest()
    known = _known()
    if key not in known:
        digest, imports = _parsed(source)
        known[key] = (digest.hex(), imports)
        _NEW.append(key)
    text, found = known[key]
    return Syntax(bytes.fromhex(text), tuple((level, base, name) for level, base, name in found))


def keep() -> None:
    """Put what was read since the last call into the cache; where it cannot be written, nothing is kept."""
    if not _NEW:
        return
    path = _path()
    part = path.with_suffix(f".{os.getpid()}.part")
    # A home that cannot be written costs a second at each command, and no result depends on it.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(dict(list(_known().items())[-KEPT:])))
        part.replace(path)
    _NEW.clear()


_OWN = Path(__file__).read_bytes()
_NEW: list[str] = []


def _path() -> Path:
    return platformdirs.user_cache_path("canopyflow") / "syntax.json"


@cache
def _known() -> dict[str, tuple[str, Any]]:
    """What the cache holds; of one that cannot be read, nothing: it is written anew."""
    try:
        known = json.loads(_path().read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _parsed(source: str) -> Syntax:
    tree = _Bare().visit(ast.parse(source))
    imports: list[Import] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                imports.extend((0, alias.name, "") for alias in node.names)
            case ast.ImportFrom():
                imports.extend((node.level, node.module or "", alias.name) for alias in node.names)
            case (
                ast.Call(
                    func=ast.Attribute(value=ast.Name(id=kind)), args=[ast.Constant(value=str(name)), *_]
                )
                | ast.Subscript(value=ast.Name(id=kind), slice=ast.Constant(value=str(name)))
            ):
                imports.append((-1, kind, name))
    return Syntax(hashlib.sha256(_text(tree).encode()).digest(), tuple(imports))


class _Bare(ast.NodeTransformer):
    """Leaves out what computes nothing: docstrings and other strings that stand alone, imports for types."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if alone else self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        # A release is no reason to make everything again; a result says which version made it.
        named = getattr(node.targets[0], "id", None)
        return None if named == "__version__" else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            if not node.orelse:
                return None
            node.body = []
        return self.generic_visit(node)


def _text(node: Any) -> str:
    """A tree as text, without what is empty: unlike that of ``ast.dump`` it is the same in all Pythons."""
    parts: list[str] = []
    _write(node, parts)
    return "".join(parts)


def _write(node: Any, parts: list[str]) -> None:
    """Add the text of ``node`` to ``parts``: every plan reads the whole package so, hence no generators."""
    if isinstance(node, ast.AST):
        parts.append(type(node).__name__ + "(")
        for field in node._fields:
            value = getattr(node, field, None)
            if value is not None and value != []:
                parts.append(field + "=")
                _write(value, parts)
        parts.append(")")
    elif isinstance(node, list):
        parts.append("[")
        for item in node:
            _write(item, parts)
            parts.append(",")
        parts.append("]")
    else:
        parts.append(repr(node))
