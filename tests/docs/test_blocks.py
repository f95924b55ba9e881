"""Every command and every piece of Python in the README and the docs is run, or says why it is not."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from doc_blocks import PYTHON, SHELL, TOP, Block, Mistake, blocks, pages

from canopyflow.campaigns.starting import write_workflow
from canopyflow.models.simulate import simulate_table
from canopyflow.shipped import bundle_of

ALL = [block for page in pages() for block in blocks(page)]
CODE = [block for block in ALL if block.kind and not block.file]
RUN = [block for block in CODE if block.said and not block.said.startswith("not run: ")]
TINY = """\
campaign: X
area: null
period: null
archive: null
families: [truncated_normal]
simulations: {train: 1000, validation: 100, test: 100}
"""


def name(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.mark.parametrize("block", CODE, ids=name)
def test_a_block_of_code_is_run_or_says_why_not(block: Block) -> None:
    block.source()
    for path in re.findall(r"tests/\S+\.py", block.reason or ""):
        assert (TOP / path).is_file(), f"{name(block)}: {path} is not there"


@pytest.mark.parametrize(
    ("said", "source"),
    [
        ("run", "make a\nsnakemake FILE\nrm b\n"),
        ("run lines 1, 3; the other not: long", "make a\nrm b\n"),
        ("run lines 2-3; the other not: long", "snakemake FILE\nrm b\n"),
        ("run line 2 where FILE is x.yaml; the others not: long", "snakemake x.yaml\n"),
        ("run after: import os", "import os\nmake a\nsnakemake FILE\nrm b\n"),
        ("not run: long", ""),
        (None, None),
        ("run sometimes", None),
        ("run line 1", None),
        ("not run: ", None),
        ("anything", None),
    ],
)
def test_what_a_comment_says(said: str | None, source: str | None) -> None:
    above = "" if said is None else f"<!-- {said} -->\n"
    (block,) = blocks("page.md", f"{above}```\nmake a\nsnakemake FILE\nrm b\n```\n")
    assert block.kind == SHELL
    if source is None:
        with pytest.raises(Mistake):
            block.source()
    else:
        assert block.source() == source


def test_a_page_speaks_for_its_blocks() -> None:
    page = "<!-- blocks not run: tests/x.py does -->\n```python\na\n```\n<!-- run -->\n```python\nb\n```\n"
    assert [block.source() for block in blocks("page.md", page)] == ["", "b\n"]


def test_what_is_told_to_be_of_a_shell() -> None:
    kinds = [
        next(blocks("page.md", f"```{language}\n{text}\n```\n")).kind
        for language, text in [
            ("", "PLACE=/x snakemake -n"),
            ("", "$ canopyflow families"),
            ("", "results/X/logs: something went wrong"),
            ("yaml", "make: it"),
            ("python", "import torch"),
        ]
    ]
    assert kinds == [SHELL, SHELL, None, None, PYTHON]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has before him: the workflow, a table of labelled pixels, a campaign, a trained model."""
    folder = tmp_path_factory.mktemp("prepared") / "canopyflow"
    write_workflow(folder)
    (folder / "config/campaigns/X.yaml").write_text(TINY)
    shutil.copytree(bundle_of("s2"), folder / "results/demo/models/nsf/seed0")
    simulate_table(folder / "pixels.parquet", n=12, sensor="S2A", seed=1)
    table = pd.read_parquet(folder / "pixels.parquet")
    table = table.assign(crop="wheat", date="2022-06-01", site=["a", "b", "c"] * 4, fapar=0.5)
    table.to_parquet(folder / "pixels.parquet")
    table.to_csv(folder / "pixels.csv", index=False)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({block.page for block in RUN}))
def test_a_page_runs_from_top_to_bottom(
    page: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files first appear where the page shows them. What is installed here stays as it is."""
    folder = tmp_path / "canopyflow"
    shutil.copytree(prepared, folder, symlinks=True)
    monkeypatch.chdir(folder)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    for block in blocks(page):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text + "\n")
        elif block in RUN and block.kind == PYTHON:
            script = tmp_path / f"line_{block.line}.py"
            script.write_text(block.source())
            runpy.run_path(str(script))
        elif block in RUN:
            lines = [line for line in block.source().splitlines() if not line.startswith("pip install")]
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, f"{name(block)}\n{done.stdout[-4000:]}"


def test_the_readme_goes_from_an_installation_to_a_posterior_in_two_commands() -> None:
    readme = list(blocks("README.md"))
    first = next(block for block in readme if block.kind == SHELL)
    commands = first.source().splitlines()
    assert commands == ["pip install canopyflow", "canopyflow predict pixels.csv --out posterior.csv"]
    assert first in RUN and readme[readme.index(first) - 1].file == "pixels.csv"
    (area,) = [block for block in readme if "campaign new" in block.text]
    assert [line.split(" ")[1:3] for line in area.text.splitlines()] == [
        ["campaign", "new"],
        ["config", "check"],
        ["campaign", "plan"],
    ]
