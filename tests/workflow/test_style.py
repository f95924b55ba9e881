"""What a Snakemake user expects of a repository."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from canopyflow.campaigns.fingerprint import modules_of

TOP = Path(__file__).resolve().parents[2]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=TOP, capture_output=True, text=True, timeout=300
    )


def test_snakemake_lint_is_clean():
    done = run("snakemake", "--lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_layers_hold():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], cwd=TOP, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_nothing_of_the_demo_stands_behind_the_search_of_another_archive():
    text = (TOP / "scripts/search.py").read_text()
    assert set(re.findall(r"^from (canopyflow\S*) import", text, re.MULTILINE)) == {
        "canopyflow.archive.search",
        "canopyflow.jobs",
    }
    behind = modules_of("canopyflow.archive.search", "canopyflow.jobs")
    assert not [name for name in behind if name.startswith("canopyflow.demo")]


def test_the_slurm_profile_is_found_by_its_name(checkout):
    output = checkout.snakemake("--profile", "slurm", "-n")
    assert "train" in output or "search" in output


@pytest.mark.parametrize("rules", sorted((TOP / "workflow/rules").glob("*.smk")), ids=lambda path: path.stem)
def test_each_rule_file_opens_with_a_paragraph(rules):
    lines = rules.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert len(" ".join(line for line in lines[:6] if line.startswith("#"))) > 80


def test_names_of_the_workflow_stand_for_one_thing():
    """All rule files share one namespace: a second value would silently replace the first in every rule."""
    files = [TOP / "workflow/Snakefile", *sorted((TOP / "workflow/rules").glob("*.smk"))]
    names = [
        name
        for path in files
        for name in re.findall(r"^([A-Z][A-Z0-9_]*) = ", path.read_text(), re.MULTILINE)
    ]
    assert len(names) > 20
    assert [name for name in sorted(set(names)) if names.count(name) > 1] == []


def test_the_report_has_its_style_wherever_it_is_asked_for(tmp_path, monkeypatch):
    """The profile names it from its own folder, for whoever runs the workflow from another one."""
    from snakemake.profiles import ProfileConfigFileParser

    monkeypatch.chdir(tmp_path)
    with (TOP / "profiles/default/config.yaml").open() as profile:
        style = Path(ProfileConfigFileParser().parse(profile)["report-stylesheet"])
    assert "align-items: safe center" in style.read_text()
