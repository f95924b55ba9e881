"""Which code a result depends on."""

import shutil

import pytest

import canopyflow.campaigns.fingerprint as fingerprints
from canopyflow.campaigns.fingerprint import fingerprint, modules_of
from canopyflow.registry import FAMILIES


@pytest.fixture
def copy_of_source(tmp_path, monkeypatch):
    copy = tmp_path / "canopyflow"
    shutil.copytree(fingerprints.SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprints, "SOURCE", copy)
    fingerprints._direct.cache_clear()
    yield copy
    fingerprints._direct.cache_clear()


def edit(path):
    fingerprints._direct.cache_clear()
    path.write_text(path.read_text() + "\n# edited\n")


def all_fingerprints():
    training = {
        name: fingerprint(None, "canopyflow.training.loop", FAMILIES.module(name)) for name in FAMILIES
    }
    return training | {
        "fetch": fingerprint(None, "canopyflow.cubes.scenes"),
        "simulate": fingerprint(None, "canopyflow.training.data"),
    }


@pytest.mark.parametrize(
    ("edited", "changed"),
    [
        ("posteriors/nsf.py", {"nsf"}),
        ("posteriors/truncated_normal.py", {"truncated_normal"}),
        ("posteriors/_autoregressive.py", {"maf", "iaf"}),
        ("physics/prosail.py", {*FAMILIES, "simulate"}),
        ("archive/reader.py", {"fetch"}),
        ("evaluation/scores/metrics.py", set()),
    ],
)
def test_an_edit_changes_the_fingerprints_that_depend_on_it_and_no_other(copy_of_source, edited, changed):
    before = all_fingerprints()
    edit(copy_of_source / edited)
    after = all_fingerprints()
    assert {name for name in before if before[name] != after[name]} == changed


def test_a_copy_elsewhere_has_the_same_fingerprints(tmp_path, copy_of_source, monkeypatch):
    here = all_fingerprints()
    monkeypatch.undo()
    fingerprints._direct.cache_clear()
    assert here == all_fingerprints()


def test_data_files_beside_a_module_count(copy_of_source):
    before = fingerprint(None, "canopyflow.physics.prosail")
    data = next(path for path in (copy_of_source / "physics").iterdir() if path.suffix == ".npz")
    data.write_bytes(data.read_bytes() + b" ")
    assert fingerprint(None, "canopyflow.physics.prosail") != before


def test_neither_a_new_family_nor_an_editors_backup_counts(copy_of_source):
    before = all_fingerprints()
    (copy_of_source / "posteriors/mine.py").write_text("FAMILY = None\n")
    (copy_of_source / "posteriors/nsf.py~").write_text("an older nsf\n")
    fingerprints._direct.cache_clear()
    assert all_fingerprints() == before


def test_imports_inside_functions_count():
    assert "canopyflow.inference.tables" in modules_of("canopyflow.cli")


def test_a_script_is_part_of_its_own_fingerprint(tmp_path):
    script = tmp_path / "x.py"
    script.write_text("from canopyflow.cubes.scenes import fetch_scenes\n")
    before = fingerprint(script)
    script.write_text("from canopyflow.cubes.scenes import fetch_scenes  # why\n")
    assert fingerprint(script) != before
