"""The documentation site: all pages in its navigation, links that lead somewhere, nothing from elsewhere."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

TOP = Path(__file__).resolve().parents[2]
HOOKS = runpy.run_path(str(TOP / "docs/hooks.py"))


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, of which a tag names a function."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def entries(nav: list[Any]) -> Iterator[str]:
    for section in nav:
        for inside in section.values():
            yield from entries(inside) if isinstance(inside, list) else [inside]


def test_every_page_is_in_the_navigation() -> None:
    listed = list(entries(yaml.load((TOP / "mkdocs.yml").read_text(), Loader)["nav"]))
    assert len(listed) == len(set(listed))
    docs = TOP / "docs"
    found = {p.relative_to(docs).as_posix() for p in [*docs.rglob("*.md"), *docs.rglob("*.ipynb")]}
    found = {page for page in found if not page.startswith("families/")} | set(HOOKS["PAGES"].values())
    assert set(listed) == found


@pytest.mark.parametrize(
    ("target", "source", "place", "found"),
    [
        ("docs/physics.md", "README.md", "index.md", "physics.md"),
        ("docs/chain.svg", "README.md", "index.md", "chain.svg"),
        ("../config/README.md", "docs/campaigns.md", "campaigns.md", "config.md"),
        ("../docs/cluster.md", "profiles/README.md", "profiles.md", "cluster.md"),
        ("../families.md", "docs/families/nsf.md", "families/nsf.md", "../families.md"),
        ("CITATION.cff", "README.md", "index.md", "https://code.example/blob/main/CITATION.cff"),
        ("nowhere.md", "README.md", "index.md", "nowhere.md"),
        ("https://a.example/b.md", "README.md", "index.md", "https://a.example/b.md"),
    ],
)
def test_a_link_of_the_repository_is_one_of_the_site(
    target: str, source: str, place: str, found: str
) -> None:
    assert HOOKS["link"](target, source, place, "https://code.example") == found


def test_links_between_files_of_the_repository_lead_somewhere() -> None:
    pages = [*(TOP / page for page in HOOKS["PAGES"]), *(TOP / "docs").rglob("*.md")]
    for page in pages:
        for _, target, _, _ in HOOKS["LINK"].findall(page.read_text()):
            if ":" not in target:
                assert (page.parent / target).resolve().exists(), f"{page.relative_to(TOP)}: {target}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does: a warning ends it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=TOP,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_a_search_and_a_reference(site: Path) -> None:
    index = json.loads((site / "search/search_index.json").read_text())
    places = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"index.html", "physics.html", "families/nsf.html", "changelog.html"} <= places
    for page, names in {
        "api/posteriors.html": ("canopyflow.posteriors.build", "canopyflow.posteriors.contract.Posterior"),
        "api/models.html": (
            "canopyflow.models.bundle.load",
            "canopyflow.models.estimators.contract.Estimator",
        ),
        "api/tables.html": ("canopyflow.inference.tables.predict_table",),
        "api/physics.html": ("canopyflow.physics.prosail.Prosail",),
        "api/observations.html": ("canopyflow.observations.observation.Observation",),
        "api/samplers.html": ("canopyflow.samplers.hmc.Hmc",),
    }.items():
        text = (site / page).read_text()
        assert all(f'id="{name}"' in text for name in names), page


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?(https?:[^\"' >]+)", text)
        loaded += re.findall(
            r"<link[^>]*rel=[\"']?(?:stylesheet|preconnect|icon)[^>]*href=[\"']?(https?:[^\"' >]+)", text
        )
        assert not loaded, f"{page.relative_to(site)}: {loaded}"


@pytest.mark.slow
def test_no_role_of_a_docstring_is_shown_raw(site: Path) -> None:
    for page in (site / "api").glob("*.html"):
        assert not re.search(r":(func|mod|class|meth|data|attr):", page.read_text()), page.name
