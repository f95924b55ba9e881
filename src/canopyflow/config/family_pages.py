"""Documentation rendered from the families' source: the rows of their table, and a page for each row."""

import ast
import re
from pathlib import Path

from canopyflow.registry import FAMILIES, source_of

TABLE = Path("docs/families.md")
ROW = re.compile(r"^\| \[`(\w+)`\]\(.*$", re.MULTILINE)
"""A row of the table; which rows there are, and in which order, the page itself says."""


def families_pages(top: Path) -> dict[Path, str]:
    """Contents of the rendered pages by path, relative to ``top``, the top of the repository.

    A family without a row is left out: adding one takes its file and nothing else. Raises ConfigError for a
    row of a family that does not exist.
    """
    table = (top / TABLE).read_text()
    pages = {Path(f"docs/families/{name}.md"): _page(name) for name in ROW.findall(table)}
    return {TABLE: ROW.sub(lambda row: _row(row[1]), table)} | pages


def _row(name: str) -> str:
    summary, cost = (FAMILIES.setting(name, attribute) for attribute in ("summary", "cost"))
    return f"| [`{name}`](families/{name}.md) | {summary} | {_density(name)} | {cost} |"


def _page(name: str) -> str:
    file, family = _docstrings(name)
    options = [f"| `{option}` | {default} |" for option, default in FAMILIES.options(name).items()]
    lines = [
        f"# `{name}`",
        "",
        file,
        "",
        *([family, "", "| option | default |", "| --- | --- |", *options] if options else ["No options."]),
        "",
        f"- density: {_density(name)}",
        f"- cost of a {FAMILIES.setting(name, 'cost')}",
        f"- published: {FAMILIES.setting(name, 'reference')}",
        "",
        f"Rendered from `src/canopyflow/posteriors/{name}.py` (`canopyflow config render`).",
    ]
    return "\n".join(lines) + "\n"


def _density(name: str) -> str:
    return "exact" if FAMILIES.setting(name, "has_density", True) else "bound"


def _docstrings(name: str) -> tuple[str, str]:
    """Those of a family's file and of its class, as Markdown."""
    path = source_of(FAMILIES.module(name))
    tree = ast.parse(path.read_text() if path else "")
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    entry = next(
        ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == FAMILIES.attribute
    )
    return _markdown(ast.get_docstring(tree)), _markdown(ast.get_docstring(classes[entry]))


def _markdown(docstring: str | None) -> str:
    """A docstring without the marks of reStructuredText: double backquotes and roles."""
    return re.sub(r":\w+:`[~.]*([^`]+)`", r"`\1`", (docstring or "").replace("``", "`"))
