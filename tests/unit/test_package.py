"""The sdist and the wheel: what they hold, and that the wheel works from an empty folder."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checkouts import fresh_checkout

from canopyflow import __version__
from canopyflow.vocabulary import BANDS

pytestmark = pytest.mark.slow
TOP = Path(__file__).resolve().parents[2]
NOT_RELEASED = (".ci/", ".gitignore", "slurm", "profiles/default")
"""What is tracked and in no sdist; links are in it as the files that they lead to."""


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path
    tracked: tuple[str, ...]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both, the wheel being made from the sdist, of what git would commit."""
    folder = tmp_path_factory.mktemp("package")
    checkout = fresh_checkout(folder / "checkout").folder
    (checkout / "mini.yaml").unlink()
    tracked = tuple(sorted(p.relative_to(checkout).as_posix() for p in checkout.rglob("*") if p.is_file()))
    # Not what it is made of: neither history, nor caches, nor results are there to be taken by mistake.
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", checkout],
        check=True,
        capture_output=True,
        text=True,
    )
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return Built(sdist, wheel, tracked)


@pytest.fixture(scope="module")
def environment(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; all other packages are those of this one, behind it."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "-q"]
    subprocess.run([*pip, built.wheel], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(f"{Path(np.__file__).parents[1]}\n")
    return folder


def run(environment: Path, folder: Path, *command: str | Path) -> str:
    """A command of the fresh environment, from ``folder``; what it prints."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    clean |= {"PATH": f"{environment / 'bin'}{os.pathsep}{clean['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [environment / "bin" / command[0], *command[1:]],
        cwd=folder,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_the_sdist_holds_the_repository(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        held = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert not [name for name in built.tracked if name not in held and not name.startswith(NOT_RELEASED)]
    assert {"slurm/config.yaml", "profiles/default/config.yaml"} <= held
    made = ("PKG-INFO", "setup.cfg", "src/canopyflow.egg-info/", "slurm/", "profiles/default/")
    assert not [name for name in held - set(built.tracked) if not name.startswith(made)]


def test_the_wheel_holds_library_and_workflow(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        held = set(archive.namelist())
        (about,) = (name for name in held if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(about))
    library = [n.removeprefix("src/") for n in built.tracked if n.startswith("src/")]
    assert len(library) > 200 and not set(library) - held
    flow = ("Snakefile", "constraints.txt", "workflow/", "scripts/", "config/", "envs/")
    packed = [f"canopyflow/_workflow/{name}" for name in built.tracked if name.startswith(flow)]
    assert len(packed) > 60 and not set(packed) - held
    assert "canopyflow/py.typed" in held
    assert not [name for name in held if "test" in Path(name).parts or name.endswith((".pyc", ".sif"))]
    assert metadata["Version"] == __version__ and metadata["Requires-Python"] == ">=3.11"
    assert {"Programming Language :: Python :: 3.13", "Typing :: Typed"} <= set(
        metadata.get_all("Classifier")
    )
    assert set(metadata.get_all("Provides-Extra")) >= {"maps", "workflow", "demo", "tensorboard", "mlflow"}
    assert all(", https://" in url for url in metadata.get_all("Project-URL"))


def test_a_csv_is_predicted_from_an_empty_folder_with_the_core_alone(
    built: Built, environment: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        (about,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        needs = message_from_bytes(archive.read(about)).get_all("Requires-Dist")
    core = json.dumps([need for need in needs if "extra ==" not in need])
    angles = {"sun_zenith": 40.0, "view_zenith": 5.0, "relative_azimuth": 100.0}
    row = {"id": "a", "platform": "S2A", **dict.fromkeys(BANDS, 0.2), **angles}
    pd.DataFrame([row]).to_csv(tmp_path / "pixels.csv", index=False)
    alone = ("python", TOP / "tests/core_only.py", core)
    where = run(environment, tmp_path, *alone, "-c", "import canopyflow; print(canopyflow.__file__)")
    assert where.startswith(str(environment))
    run(environment, tmp_path, *alone, "predict", "pixels.csv", "--out", "posterior.csv")
    (found,) = pd.read_csv(tmp_path / "posterior.csv").to_dict("records")
    assert found["lai_q05"] < found["lai_mean"] < found["lai_q95"]
    assert run(environment, tmp_path, "canopyflow", "--version").strip() == __version__


def test_the_demo_archive_is_written_from_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    run(environment, tmp_path, "canopyflow", "demo", "archive", "--day", "2021-06-08")
    assert json.loads((tmp_path / "archive/demo.json").read_text())["items"] > 0
    assert len(pd.read_csv(tmp_path / "archive/plots.csv")) > 0


def test_the_workflow_beside_the_wheel_runs(environment: Path, tmp_path: Path) -> None:
    assert "snakemake -n" in run(environment, tmp_path, "canopyflow", "init", "flow")
    flow = tmp_path / "flow"
    assert "Job stats" in run(environment, flow, "python", "-m", "snakemake", "-n")
    # One job in earnest: its fingerprint is of scripts here and of modules there, and its record is written.
    (flow / "tiny.yaml").write_text(
        "campaign: tiny\narea: null\nperiod: null\narchive: null\nfamilies: [truncated_normal]\n"
        "simulations: {train: 1000, validation: 100, test: 100}\n"
    )
    made = "results/tiny/simulations/test.zarr/zarr.json"
    snakemake = ("python", "-m", "snakemake", "--configfile", "tiny.yaml", "--cores", "1")
    run(environment, flow, *snakemake, made)
    (record,) = (flow / "results/tiny/runs").glob("*/run.json")
    record = json.loads(record.read_text())
    assert record["outcome"] == "done" and record["versions"]["canopyflow"] == __version__
    assert "Nothing to be done" in run(environment, flow, *snakemake, "-n", made)
