"""What reruns what, on the real workflow and a mini campaign."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from canopyflow.demo.archive import add_scene

pytestmark = pytest.mark.slow

NOTHING = "Nothing to be done"


def test_after_a_run_nothing_is_to_be_done(finished):
    assert NOTHING in finished.snakemake("-n")


def test_touched_files_and_a_copy_elsewhere_rerun_nothing(finished, tmp_path):
    copy = finished.copy(tmp_path / "elsewhere")
    # Newest first where the copy kept an order, and every time different from what Snakemake recorded.
    for path in sorted(copy.folder.rglob("*"), reverse=True):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path)
    assert NOTHING in copy.snakemake("-n")


def test_comments_docstrings_and_a_progress_bar_rerun_nothing(finished, tmp_path):
    copy = finished.copy(tmp_path / "commented")
    source = copy.folder / "src/canopyflow"
    for path in [*source.rglob("*.py"), *(copy.folder / "scripts").glob("*.py")]:
        path.write_text("# An edit.\n" + path.read_text().replace('    """', '    """An edit. ', 1))
    for path in (source / "progress.py", source / "errors.py", source / "jobs.py"):
        path.write_text(path.read_text() + "\n_EDIT = 1\n")
    assert NOTHING in copy.snakemake("-n")


def test_one_line_in_one_family_reruns_that_family_and_nothing_of_the_other(finished, tmp_path):
    copy = finished.copy(tmp_path / "edited")
    source = copy.folder / "src/canopyflow/posteriors/nsf.py"
    source.write_text(source.read_text() + "\n_EDIT = 1\n")
    planned = copy.planned()
    of_nsf = {(rule, output) for rule, output in planned if "nsf" in output}
    assert {rule for rule, _ in of_nsf} == {
        "train",
        "infer",
        "match_plots",
        "score_seed",
        "evaluate",
        "draw_corner",
        "draw_model",
        "draw_maps",
        "publish",
        # Its collection, which comes with that of the other.
        "catalog",
    }
    assert {rule for rule, _ in planned - of_nsf} == {"compare", "catalog", "report_page"}


def test_an_edit_of_the_physics_reruns_simulations_and_all_that_follows(finished, tmp_path):
    copy = finished.copy(tmp_path / "physics")
    source = copy.folder / "src/canopyflow/physics/prosail.py"
    source.write_text(source.read_text() + "\n_EDIT = 1\n")
    rules = {rule for rule, _ in copy.planned()}
    assert {"simulate", "sample_reference", "train", "infer", "publish"} <= rules
    assert not {"demo_archive", "search", "fetch_scenes", "mask_clouds", "cut_patches"} & rules


def test_a_changed_setting_reruns_the_rules_that_use_it(finished, tmp_path):
    copy = finished.copy(tmp_path / "settings")
    config = copy.folder / "mini.yaml"
    config.write_text(config.read_text().replace("variables: [lai]", "variables: [lai, ccc]"))
    assert {rule for rule, _ in copy.planned()} == {"publish", "catalog"}


def test_one_more_scene_reruns_its_month_and_the_gathers(finished, tmp_path):
    copy = finished.copy(tmp_path / "grown")
    before = copy.checksums()
    added = add_scene(copy.folder / "demo-archive", "2021-06-17")
    assert added
    output = copy.snakemake()
    fetched = set(re.findall(r"Fetching scenes of (\S+ \S+)", output))
    months = {month for _, month in (item.split() for item in fetched)}
    assert months == {"2021-06"}
    assert len(fetched) <= len(added)
    after = copy.checksums()
    changed = {path for path in before if before[path] != after.get(path)}
    assert not [
        path for path in changed if "2021-05" in path and path.startswith(("mini/scenes", "mini/masks"))
    ]
    assert "mini/comparison/table.csv" in changed
    assert NOTHING in copy.snakemake("-n")


def test_a_model_of_seasons_is_mapped_by_the_year_and_makes_nothing_of_others_anew(finished, tmp_path):
    copy = finished.copy(tmp_path / "season")
    config = copy.folder / "mini.yaml"
    config.write_text(
        config.read_text()
        + "models: {season: {family: nsf, dynamics: season_gp}}\nseasons: {months: [6, 6], train: 200}\n"
    )
    planned = copy.snakemake("-n", "maps")
    assert set(re.findall(r"Mapping \S+ (\S+) with season", planned)) == {"2021"}
    rules = set(re.findall(r"^([a-z_]+) +\d+$", planned, re.MULTILINE))
    assert {"simulate_seasons", "train", "infer"} <= rules
    assert not {"simulate", "fetch_scenes", "mask_clouds", "cut_seasons", "cut_patches"} & rules
    assert not re.findall(r"Mapping \S+ \S+ with nsf", planned)


def test_a_second_run_at_the_same_time_is_told_who_holds_the_campaign(finished):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from pathlib import Path; from canopyflow.campaigns.lock import hold; import time\n"
            "hold(Path('results/mini')); print('held', flush=True); time.sleep(120)",
        ],
        cwd=finished.folder,
        env=finished.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        output = finished.snakemake("--forcerun", "compare", fails=True)
        assert f"campaign mini is being run by process {holder.pid}" in output
    finally:
        holder.kill()
        holder.wait()
