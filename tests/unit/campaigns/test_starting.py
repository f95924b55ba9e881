"""`canopyflow init`: the workflow in a folder of one's own."""

import subprocess
from pathlib import Path

import pytest

from canopyflow import __version__, registry
from canopyflow.campaigns.starting import VERSION, files, write_workflow
from canopyflow.errors import DataError

TOP = Path(__file__).resolve().parents[3]


def test_it_holds_what_the_workflow_reads(tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    steps = write_workflow(folder)
    assert steps[1] == f"  cd {folder}" and any("snakemake -n" in step for step in steps)
    tracked = subprocess.run(
        [
            "git",
            "ls-files",
            "Snakefile",
            "workflow",
            "scripts",
            "config",
            "envs",
            "profiles",
            "constraints.txt",
        ],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(tracked) > 60
    for name in tracked:
        assert (folder / name).exists(), name
        if (TOP / name).is_file():
            assert (folder / name).read_bytes() == (TOP / name).read_bytes()
    assert (folder / "profiles/default/config.yaml").samefile(folder / "profiles/local/config.yaml")
    assert (folder / "slurm/config.yaml").samefile(folder / "profiles/slurm/config.yaml")
    assert (folder / VERSION).read_text().strip() == __version__
    assert VERSION in (TOP / "envs/canopyflow.post-deploy.sh").read_text()
    assert (folder / "config/schedules/weekly.sh").stat().st_mode & 0o100


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_nothing_is_written_over(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "mine"
    if kind == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="mine exists and is not empty — name a new or an empty folder"):
        write_workflow(target)
    assert not (target / "Snakefile").exists()


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    assert (tmp_path / "workflow/Snakefile").is_file()


def test_an_installation_without_the_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SOURCE", tmp_path / "lib/python/canopyflow")
    with pytest.raises(DataError, match="holds no workflow"):
        list(files())
