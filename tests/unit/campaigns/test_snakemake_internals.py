"""The one module that looks into Snakemake."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.persistence.file import FilePersistence
from snakemake.resources import Resources

from canopyflow.campaigns import snakemake_internals as internals
from canopyflow.errors import CanopyflowError

TOP = Path(__file__).resolve().parents[3]


def test_the_versions_it_names_are_those_that_are_pinned():
    pins = dict(
        line.split("==") for line in (TOP / "constraints.txt").read_text().splitlines() if "==" in line
    )
    for name, number in internals.TRIED.items():
        assert pins[name] == number
        assert number in internals.__doc__


def test_what_is_missing_is_said_with_the_versions():
    with pytest.raises(CanopyflowError, match=r"config_settings.*snakemake 9.*what was tried: snakemake 9"):
        internals.has_config_files(SimpleNamespace())
    executor = type("Executor", (), {"__module__": "snakemake_executor_plugin_slurm"})()
    with pytest.raises(CanopyflowError, match="run_uuid"):
        internals.slurm_run(SimpleNamespace(scheduler=SimpleNamespace(_executor=executor)))


def test_only_slurm_has_a_number_of_the_run():
    assert internals.slurm_run(SimpleNamespace(scheduler=SimpleNamespace(_executor=object()))) is None


def test_nodes_are_those_of_the_profile():
    asked = {"infer": Resources.from_mapping({"nodes": 2}), "train": Resources.from_mapping({"gpu": 1})}
    asked["score_seed"] = Resources.from_mapping({"nodes": lambda wildcards: 3})
    workflow = SimpleNamespace(resource_settings=SimpleNamespace(_parsed_overwrite_resources=asked))
    nodes = {rule: internals.nodes(workflow, rule) for rule in ("infer", "train", "score_seed", "publish")}
    assert nodes == {"infer": 2, "train": 1, "score_seed": 1, "publish": 1}


def test_unfinished_files_are_those_that_snakemake_marks(tmp_path):
    persistence = FilePersistence(nolock=True, path=tmp_path)
    files = ["results/a.csv", f"results/{'long/' * 60}ä.zarr/zarr.json"]
    for file in files:
        persistence._mark_incomplete(file, None)
    (tmp_path / "incomplete/.nfs0001").touch()
    dag = SimpleNamespace(forcefiles=set())
    internals.force_unfinished(SimpleNamespace(persistence=persistence, dag=dag))
    assert dag.forcefiles == set(files)


def test_nobody_else_looks_inside():
    # Of extras.py the names of packages alone, which it tells users to install.
    known = ("snakemake_internals.py", "extras.py")
    others = [path for path in (TOP / "src").rglob("*.py") if path.name not in known]
    others += [
        *(TOP / "scripts").glob("*.py"),
        *(TOP / "workflow").rglob("*.smk"),
        TOP / "workflow/Snakefile",
    ]
    inside = re.compile(
        r"snakemake_executor_plugin|snakemake_interface|from snakemake\.(?!utils|exceptions)"
        r"|import snakemake\b|workflow\.(?!source_path)\w+[.\[]|\b_executor\b|\bpersistence\b|\.dag\b"
    )
    for path in others:
        found = [line for line in path.read_text().splitlines() if inside.search(line.partition("#")[0])]
        assert not found, path
