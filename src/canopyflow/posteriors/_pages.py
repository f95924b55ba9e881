"""Documentation rendered from the families: the rows of their table, and a page for each row."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from canopyflow.registry import FAMILIES

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
    FAMILIES.module(name)  # says so if there is none of this name
    kind = FAMILIES[name]
    return f"| [`{name}`](families/{name}.md) | {kind.summary} | {_density(name)} | {kind.cost} |"


def _page(name: str) -> str:
    FAMILIES.module(name)
    kind = FAMILIES[name]
    options = [f"| `{option}` | {default} |" for option, default in FAMILIES.options(name).items()]
    table = [_markdown(kind.__doc__), "", "| option | default |", "| --- | --- |", *options]
    lines = [
        f"# `{name}`",
        "",
        _markdown(sys.modules[kind.__module__].__doc__),
        "",
        *(table if options else ["No options."]),
        "",
        f"- density: {_density(name)}",
        f"- cost of a {kind.cost}",
        f"- published: {kind.reference}",
        "",
        f"Rendered from `src/canopyflow/posteriors/{name}.py` (`canopyflow config render`).",
    ]
    return "\n".join(lines) + "\n"


def _density(name: str) -> str:
    return "exact" if FAMILIES[name].has_density else "bound"


def _markdown(docstring: str | None) -> str:
    """A docstring without its indentation and the marks of reStructuredText."""
    text = inspect.cleandoc(docstring or "").replace("``", "`")
    return re.sub(r":\w+:`[~.]*([^`]+)`", r"`\1`", text)
