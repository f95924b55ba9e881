"""One lock for all: what is installed, the conda file and the container definition."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

import yaml
from packaging.requirements import Requirement

TOP = Path(__file__).resolve().parents[2]
CONSTRAINTS = TOP / "constraints.txt"


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def locked():
    pins = [Requirement(line) for line in CONSTRAINTS.read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin in pins)
    return {normal(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


def test_every_direct_dependency_has_a_pin_that_it_allows():
    pins = locked()
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    # MLflow asks for an older package than the lock has (docs/tracking.md): nobody has both.
    free = ("canopyflow[", "mlflow-skinny")
    wanted = [Requirement(text) for text in named if not text.startswith(free)]
    assert len(wanted) > 30
    for need in wanted:
        assert normal(need.name) in pins, f"{need.name} has no pin in constraints.txt"
        assert need.specifier.contains(pins[normal(need.name)]), f"{need} does not allow its pin"


def test_what_is_installed_here_is_what_is_locked():
    """A build for one kind of machine, such as 2.13.0+cpu, is that version."""
    different = {}
    for name, pin in locked().items():
        try:
            here = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
        if here != pin:
            different[name] = (here, pin)
    assert not different


def test_the_conda_file_has_the_pins_of_the_lock_and_nothing_else():
    environment = yaml.safe_load((TOP / "envs/canopyflow.yaml").read_text())
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    listed = {normal(name): pin for name, pin in (line.split("==") for line in pip["pip"])}
    assert listed == locked()


def test_the_container_is_built_from_the_lock_on_the_same_python_and_holds_no_code():
    text = (TOP / "envs/Containerfile").read_text()
    assert re.search(r"^FROM \S*python:3\.11\b", text, re.MULTILINE)
    installs = re.findall(r"pip install.*", text)
    assert installs
    assert all("-r constraints.txt" in line or "--no-deps" in line for line in installs), installs
    # A copy of the code in the image would run in place of the checkout's, whose fingerprints are recorded.
    assert not re.search(r"^COPY.*\bsrc\b", text, re.MULTILINE)
    for source in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        assert all((TOP / name).exists() for name in source.split())


def test_rules_run_in_these_environments():
    rules = [path.read_text() for path in sorted((TOP / "workflow/rules").glob("*.smk"))]
    count = sum(len(re.findall(r"^(?:rule|checkpoint) ", text, re.MULTILINE)) for text in rules)
    assert sum(text.count("    conda:\n        ENVIRONMENT\n") for text in rules) == count
    assert 'container: "envs/canopyflow.sif"' in (TOP / "workflow/Snakefile").read_text()
