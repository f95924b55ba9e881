"""The tutorials: stored without outputs, and run from top to bottom on the results of the demo campaign."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import nbformat
import pytest

TOP = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((TOP / "docs/notebooks").glob("*.ipynb"))
PUBLISHED = TOP / "results/demo/published/catalog.json"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and not [cell for cell in code if cell.outputs or cell.execution_count]
    assert notebook.cells[0].source.startswith("# ")
    for cell in code:
        ast.parse(cell.source)


@pytest.mark.notebooks
@pytest.mark.skipif(
    not PUBLISHED.is_file() and "CANOPYFLOW_NEEDS_DEMO" not in os.environ, reason="`make run` comes first"
)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    from nbclient import NotebookClient

    assert PUBLISHED.is_file(), "run the demo campaign first: make run"
    notebook = nbformat.read(path, as_version=4)
    # The notebook finds the top by itself, from its own folder.
    there = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=there).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(shown) >= 2
