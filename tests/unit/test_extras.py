"""The core runs where nothing but its own dependencies can be imported, and says what the rest would need."""

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pandas as pd

import canopyflow
from canopyflow import extras

TOP = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
CORE = json.dumps(PROJECT["dependencies"])
SOURCE = Path(canopyflow.__file__).parent
USE = """
import importlib, torch
for absent in ("xarray", "rasterio", "snakemake", "yaml", "dask", "matplotlib"):
    try:
        importlib.import_module(absent)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{absent} can be imported: the test tests nothing")
from canopyflow.models import load
from canopyflow.physics import VARIABLES, Prosail, prior
from canopyflow.posteriors import FAMILIES, build
import canopyflow.samplers.hmc, canopyflow.samplers.importance, canopyflow.inference.tables
lower, upper = torch.zeros(11), torch.ones(11)
for name in FAMILIES:
    kind = FAMILIES[name]
q = build("nsf", dim=11, features=8, lower=lower, upper=upper)(torch.zeros(3, 8))
assert q.log_prob(q.rsample((4,))).shape == (4, 3)
z = prior("atbd").sample(5, torch.Generator())
angles = torch.tensor([[30.0, 5.0, 90.0]]).expand(5, 3)
reflectance = Prosail(sensor="S2A")(z, angles)
model = load("s2")
draws = model.posterior(reflectance, angles, platform="S2A").rsample((7,))
print(tuple(draws.shape), len(VARIABLES))
from canopyflow import extras
extras.without_stores()
from canopyflow.models.simulate import Survey, simulate
from canopyflow.errors import CanopyflowError
try:
    simulate("x.zarr", Survey(), n=2, bands=("B04", "B08"), platforms=("S2A",), seed=0)
except CanopyflowError as error:
    print(error)
"""


def run(source: str, folder: Path) -> str:
    """Run a source text in ``folder`` with the core's dependencies alone; what it prints."""
    done = subprocess.run(
        [sys.executable, TOP / "tests/core_only.py", CORE, "-c", source],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def commands(*lines: str) -> str:
    """A source that gives these commands one after another, each followed by its exit status."""
    return (
        "import sys\nfrom canopyflow.cli import app\n"
        f"for line in {lines!r}:\n"
        "    sys.argv = ['canopyflow', *line.split()]\n"
        "    try:\n        app()\n"
        "    except SystemExit as end:\n        print('exit', end.code or 0, flush=True)\n"
    )


def test_families_physics_load_and_posterior_need_the_core_alone(tmp_path: Path) -> None:
    output = run(USE, tmp_path)
    assert output.startswith("(7, 5, ")
    # What does need more says so, and has not kept the rest of its module away.
    assert "this needs the package xarray" in output


def test_commands_on_tables_and_models_need_the_core_alone(tmp_path: Path) -> None:
    lines = (
        "--version",
        "simulate spectra.parquet --n 20",
        "predict spectra.parquet --out posterior.csv",
        "score spectra.parquet --model s2 --measured lai=lai",
        "families nsf",
        "models",
        "campaign --help",
        "init flow",
    )
    output = run(commands(*lines), tmp_path)
    assert output.count("exit 0") == len(lines), output
    assert output.startswith(canopyflow.__version__)
    posterior = pd.read_csv(tmp_path / "posterior.csv")
    assert len(posterior) == 20 and (posterior["lai_q05"] < posterior["lai_q95"]).all()
    assert "RMSE" in output and "s2-9" in output and "history" in output
    assert "pip install 'canopyflow[workflow,demo]'" in output
    assert (tmp_path / "flow/Snakefile").is_file()


def test_a_command_that_needs_an_extra_says_which(tmp_path: Path) -> None:
    output = run(commands("campaign plan x.yaml", "config check x.yaml", "demo archive"), tmp_path)
    said = [line for line in output.splitlines() if line.startswith("error: ")]
    assert output.count("exit 1") == len(said) == 3, output
    for line, extra in zip(said, ("workflow", "workflow", "demo"), strict=True):
        assert line.endswith(f"which is not here — pip install 'canopyflow[{extra}]'")


def test_a_module_that_no_extra_brings_is_a_defect() -> None:
    assert extras.missing(ModuleNotFoundError("no module", name="canopyflow.nothing")) is None
    assert "[maps]" in str(
        extras.missing(ModuleNotFoundError("no module", name="zarr.codecs"), "tensorboard")
    )
    assert "[workflow]" in str(extras.missing(ModuleNotFoundError("no module", name="zarr"), "workflow"))


def imported() -> Iterator[str]:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import():
                    yield from (alias.name.partition(".")[0] for alias in node.names)
                case ast.ImportFrom(level=0, module=str(module)):
                    yield module.partition(".")[0]


def test_every_package_that_is_imported_belongs_to_the_core_or_to_an_extra() -> None:
    core = {"numpy", "pandas", "pyarrow", "rich", "safetensors", "scipy", "torch", "typer", "zuko"}
    listed = core | set(chain(*extras.PACKAGES.values()))
    assert set(imported()) - sys.stdlib_module_names - {"canopyflow"} <= listed


def test_the_table_of_extras_is_that_of_the_project() -> None:
    """Each extra brings its packages; the names of a few differ from those that are imported."""
    other = {
        "odc": "odc-stac",
        "yaml": "pyyaml",
        "pydantic_core": "pydantic",
        "cycler": "matplotlib",
        "markupsafe": "jinja2",
        "mlflow": "mlflow-skinny",
        "snakemake_interface_executor_plugins": "snakemake",
    }
    for extra, packages in extras.PACKAGES.items():
        needs = " ".join(PROJECT["optional-dependencies"][extra])
        for package in packages:
            assert other.get(package, package.replace("_", "-")) in needs, (extra, package)
