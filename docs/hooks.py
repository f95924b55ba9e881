"""Hooks of the documentation site: files of the repository as pages, and links that work here and there.

A page is written with links as they are right in the repository, ``docs/physics.md`` in the README or
``../config/README.md`` in a page of docs/. On the site, links between pages lead from page to page; links to
other files of the repository lead to where it is published.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

TOP = Path(__file__).resolve().parents[1]

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "config/README.md": "config.md",
    "profiles/README.md": "profiles.md",
}
"""Files outside of docs/ that are pages, and their places on the site."""

FAMILIES = "Posterior families"
"""The entry of the navigation below which the pages of the families are put."""

LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
ROLE = re.compile(r":(?:func|mod|class|meth|data|attr|exc):<code>~?([^<]+)</code>")


def on_config(config: Any) -> Any:
    """List the pages of the families, which are written from the code, behind their table."""
    pages = sorted(path.name for path in (TOP / "docs/families").glob("*.md"))
    _open_families(config.nav, [{Path(name).stem: f"families/{name}"} for name in pages])
    return config


def _open_families(nav: list[Any], entries: list[Any]) -> None:
    for section in nav:
        for title, inside in section.items():
            if title == FAMILIES and inside == "families.md":
                section[title] = [{"All of them": inside}, *entries]
            elif isinstance(inside, list):
                _open_families(inside, entries)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie outside of docs/."""
    for source, place in PAGES.items():
        files.append(File.generated(config, place, content=(TOP / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links between files of the repository into links of the site."""
    place = page.file.src_uri
    source = next((file for file, at in PAGES.items() if at == place), f"docs/{place}")

    def turned(match: re.Match[str]) -> str:
        opening, target, anchor, closing = match.groups()
        return f"{opening}{link(target, source, place, config.repo_url)}{anchor or ''}{closing}"

    return LINK.sub(turned, markdown)


def link(target: str, source: str, place: str, repository: str) -> str:
    """What a link to ``target`` in the repository's file ``source`` is on the page at ``place``."""
    if ":" in target or target.startswith("/"):
        return target
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path in PAGES:
        on_site = PAGES[path]
    elif path.startswith("docs/"):
        on_site = path.removeprefix("docs/")
    elif (TOP / path).exists():
        return f"{repository}/blob/main/{path}"
    else:
        return target
    return posixpath.relpath(on_site, posixpath.dirname(place) or ".")


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Roles of docstrings, such as those of functions, as the names that they are about."""
    return ROLE.sub(r"<code>\1</code>", html)
