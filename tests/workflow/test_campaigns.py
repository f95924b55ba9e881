"""The runs of a campaign: recorded, kept apart, planned from what changed, told afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from rocrate.rocrate import ROCrate

from canopyflow.demo.archive import add_scene

pytestmark = pytest.mark.slow

CANOPYFLOW = "from canopyflow.cli import app; app()"


def campaign(checkout, *arguments, fails=False):
    done = subprocess.run(
        [sys.executable, "-c", CANOPYFLOW, "campaign", *arguments],
        cwd=checkout.folder,
        env=checkout.environment(),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert (done.returncode != 0) == fails, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def records(checkout):
    folders = sorted((checkout.folder / "results/mini/runs").iterdir())
    return [json.loads((folder / "run.json").read_text()) for folder in folders]


@pytest.fixture
def copy(finished, tmp_path):
    return finished.copy(tmp_path / "canopyflow")


def test_a_bare_snakemake_is_recorded_with_its_inputs_and_products(finished):
    (run,) = records(finished)
    assert run["outcome"] == "done"
    assert run["started"] < run["ended"]
    assert run["config"]["campaign"] == "mini"
    assert run["code"].keys() >= {"infer nsf", "search_demo"}
    assert run["inputs"]["tile_months"] == run["products"]["tile_months"]["nsf"] == 4
    assert run["jobs"]["published"] == 8
    output = campaign(finished, "history", "mini.yaml")
    assert run["id"] in output
    assert "done" in output
    status = campaign(finished, "status", "mini.yaml")
    assert "lock      free" in status
    assert "nsf 4 of 4" in status
    of_simulations = campaign(finished, "status", "config/campaigns/simulated_benchmark.yaml")
    assert "last run  none" in of_simulations
    assert "scenes    none" in of_simulations


def test_the_crate_opens_and_names_workflow_inputs_outputs_parameters_agent_and_times(finished):
    results = finished.folder / "results/mini"
    (run,) = records(finished)
    crate = ROCrate(results)
    assert crate.mainEntity["programmingLanguage"]["name"] == "Snakemake"
    (action,) = crate.root_dataset["mentions"]
    assert action["instrument"] is crate.mainEntity
    assert (action["startTime"], action["endTime"]) == (run["started"], run["ended"])
    assert action["actionStatus"].endswith("CompletedActionStatus")
    assert action["agent"]["name"] == run["user"]
    inputs = {entity.id for entity in action["object"]}
    assert "search/index.json" in inputs
    settings = {e["name"]: e["value"] for e in action["object"] if e.type == "PropertyValue"}
    assert settings["grid.resolution"] == "60.0"
    assert {e["exampleOfWork"]["name"] for e in action["object"] if e.type == "PropertyValue"} == set(
        settings
    )
    outputs = {entity.id for entity in action["result"]}
    assert {"published/", "models/", "comparison/"} <= outputs
    missing = [e.id for e in crate.root_dataset["hasPart"] if not (results / e.id).exists()]
    assert not missing


def test_a_plan_after_a_run_is_empty(finished):
    output = campaign(finished, "plan", "mini.yaml")
    assert "no setting, no code and no scene has changed" in output
    assert "nothing to be done" in output


def test_a_plan_names_the_setting_the_code_and_the_jobs_with_their_hours(copy):
    config = copy.folder / "mini.yaml"
    config.write_text(config.read_text().replace("variables: [lai]", "variables: [lai, ccc]"))
    source = copy.folder / "src/canopyflow/evaluation/figures/clouds.py"
    source.write_text(source.read_text() + "\n_EDIT = 1\n")
    output = campaign(copy, "plan", "mini.yaml")
    assert 'publication.variables: ["lai"] -> ["lai", "ccc"]' in output
    assert "draw_clouds with what it imports" in output
    rows = {line.split()[0]: line.split() for line in output.splitlines() if line}
    assert rows["publish"][1] == "8"
    assert rows["draw_clouds"][1] == "1"
    assert rows["catalog"][1] == "1"
    assert rows["all"][1] == "10"
    hours = [
        float(path.read_text().splitlines()[1].split()[0]) / 3600
        for path in (copy.folder / "results/mini/benchmarks/published").rglob("*.tsv")
    ]
    assert "measured here" in next(line for line in output.splitlines() if line.startswith("publish "))
    assert float(rows["publish"][2]) == pytest.approx(sum(hours), abs=0.006)


def test_a_plan_asks_a_grown_catalogue_and_changes_nothing(copy):
    assert add_scene(copy.folder / "demo-archive", "2021-06-17")
    before = copy.checksums()
    output = campaign(copy, "plan", "mini.yaml")
    changed = [line for line in output.splitlines() if line.strip().startswith("scenes")]
    assert changed
    assert all("2021-06" in line for line in changed)
    rows = {line.split()[0]: line.split() for line in output.splitlines() if line}
    assert int(rows["fetch_scenes"][1]) == len(changed)
    assert int(rows["mask_clouds"][1]) == len(changed)
    # A phase of this campaign trains on patches of all scenes: new models, new maps.
    assert rows["publish"][1] == "8"
    assert rows["search"][1] == "1"
    assert copy.checksums() == before


def test_what_slurm_would_be_given_is_printed_and_nothing_is_run(copy):
    config = copy.folder / "mini.yaml"
    config.write_text(config.read_text().replace("variables: [lai]", "variables: [lai, ccc]"))
    # Made by a light rule, which a run with this profile would leave to the login node.
    (copy.folder / "results/mini/comparison/clouds.png").unlink()
    before = copy.checksums()
    output = campaign(copy, "plan", "mini.yaml", "--profile", "slurm", "--sbatch")
    lines = [line for line in output.splitlines() if line.startswith("sbatch ")]
    assert len(lines) == 9
    for line in lines:
        assert "-p cpu " in line
        # However many cores this machine has.
        assert "--cpus-per-task=1 " in line
    for model in ("nsf", "truncated_normal"):
        assert output.count(f"publish {model} ") == 4
    assert sum("/rule_catalog/" in line for line in lines) == 1
    assert copy.checksums() == before
    refused = campaign(copy, "plan", "mini.yaml", "--sbatch", fails=True)
    assert "submits nothing to SLURM" in refused


def test_two_runs_do_not_overlap_and_a_killed_one_is_interrupted(copy):
    first = subprocess.Popen(
        [sys.executable, "-c", CANOPYFLOW, "campaign", "run", "mini.yaml", "--cores", "1", "--forceall"],
        cwd=copy.folder,
        env=copy.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while len(records(copy)) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        refused = campaign(copy, "run", "mini.yaml", "--cores", "1", fails=True)
        assert first.poll() is None, "the second run waited for the first"
        assert f"campaign mini is being run by process {first.pid} on" in refused
        assert "(running)" in campaign(copy, "status", "mini.yaml")
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    status = campaign(copy, "status", "mini.yaml")
    assert "lock      free" in status
    assert f"(interrupted: process {first.pid} on" in status
    assert "interrupted" in campaign(copy, "history", "mini.yaml")
    output = campaign(copy, "run", "mini.yaml", "--cores", "2", "--until", "search", "--forcerun", "search")
    assert "was interrupted: what it finished stays" in output
    assert [run["outcome"] for run in records(copy)] == ["done", "running", "done"]


def test_run_outside_of_a_checkout_says_where_to_go(tmp_path, finished):
    (tmp_path / "mini.yaml").write_text((finished.folder / "mini.yaml").read_text())
    done = subprocess.run(
        [sys.executable, "-c", CANOPYFLOW, "campaign", "run", "mini.yaml"],
        cwd=tmp_path,
        env=finished.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "there is no Snakefile here" in done.stderr
