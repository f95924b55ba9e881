"""docs/families.md says what is there, and its recipe for a family of one's own works as it stands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from canopyflow.config.family_pages import TABLE, families_pages
from canopyflow.errors import ConfigError
from canopyflow.posteriors import FAMILIES

TOP = Path(__file__).resolve().parents[3]
PAGE = (TOP / "docs/families.md").read_text()
RECIPE = PAGE.partition("## A family of your own")[2]
NAME = "logit_logistic"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", RECIPE, flags=re.DOTALL)


@pytest.fixture
def checkout(tmp_path):
    """What a reader of the recipe has before him: the tracked folders, without history and results."""
    for folder in ("src/canopyflow", "tests/laws", "config", "scripts", "workflow", "profiles", "envs"):
        shutil.copytree(TOP / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (TOP / "Snakefile", TOP / "pyproject.toml", *(TOP / "tests").glob("*.py")):
        shutil.copy(file, tmp_path / file.relative_to(TOP))
    return tmp_path


def run(script, checkout):
    programs = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(checkout / "src"),
    }
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_family_in_one_file(checkout):
    path = re.search(r"write `(src/\S+\.py)`", RECIPE)[1]
    (code,) = blocks("python")
    (checkout / path).write_text(code)
    laws, campaign = blocks("bash")
    output = run(laws, checkout)
    assert "largest_scale=1.0" in output
    assert re.search(r"\b(\d+) passed", output) and "failed" not in output
    output = run(campaign, checkout)
    assert "is in order" in output
    assert (NAME in FAMILIES) == (TOP / path).exists(), "the reader's checkout is not ours"


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_each_family_says_what_it_is(name):
    kind = FAMILIES[name]
    assert all(text.strip() for text in (kind.kin, kind.summary, kind.cost, kind.reference))


def test_every_page_has_its_row():
    there = {page.relative_to(TOP) for page in (TOP / "docs/families").glob("*.md")}
    assert there == set(families_pages(TOP)) - {TABLE}


def test_a_row_of_a_family_that_is_gone_is_named(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / TABLE).write_text("| [`nfs`](families/nfs.md) | ... |\n")
    with pytest.raises(ConfigError, match="unknown posterior family 'nfs' — did you mean 'nsf'"):
        families_pages(tmp_path)
