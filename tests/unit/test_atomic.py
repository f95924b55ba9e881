"""Nothing half-written is ever visible."""

import json

import numpy as np
import pytest
import xarray as xr

from canopyflow import atomic
from canopyflow.atomic import atomic_file, atomic_folder, atomic_store, content_digest, write_json


def write_store(path, values):
    with atomic_store(path) as scratch:
        xr.Dataset({"a": ("x", np.asarray(values))}).to_zarr(scratch, mode="a", consolidated=False)


def test_a_failed_write_leaves_the_old_file_and_the_next_attempt_cleans_up(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(target) as scratch:
        scratch.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    with atomic_file(target) as scratch:
        assert not scratch.exists()
        scratch.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]
    assert target.read_text() == "new"


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "bundle"
    for name in ("first", "second"):
        with atomic_folder(target) as scratch:
            (scratch / name).write_text(name)
    assert [p.name for p in target.iterdir()] == ["second"]


def test_a_folder_is_never_half_removed(tmp_path, monkeypatch):
    """Removing an old folder takes time: a kill in the midst of it must not be seen."""
    target = tmp_path / "bundle"
    with atomic_folder(target) as scratch:
        (scratch / "old").write_text("old")

    def killed(path, **_):
        raise KeyboardInterrupt(path)

    monkeypatch.setattr(atomic.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt), atomic_folder(target) as scratch:
        (scratch / "new").write_text("new")
    assert [p.name for p in target.iterdir()] == ["new"]
    monkeypatch.undo()
    with atomic_folder(target) as scratch:
        (scratch / "newer").write_text("newer")
    assert [p.name for p in tmp_path.rglob("*")] == ["bundle", "newer"]


def test_the_root_metadata_of_a_store_changes_exactly_when_its_data_do(tmp_path):
    for name, values in (("a", [1, 2, 3]), ("b", [1, 2, 3]), ("c", [1, 2, 4])):
        write_store(tmp_path / name, values)
    a, b, c = ((tmp_path / name / "zarr.json").read_bytes() for name in "abc")
    assert a == b
    assert a != c
    assert json.loads(a)["attributes"]["content_sha256"] == content_digest(tmp_path / "a")
    assert xr.open_zarr(tmp_path / "a", consolidated=False)["a"].values.tolist() == [1, 2, 3]


def test_a_digest_is_that_of_names_and_contents(tmp_path):
    def digest(name, files):
        for path, content in files.items():
            target = tmp_path / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        return content_digest(tmp_path / name)

    first = digest("first", {"a": "12", "b": "3", "c/d": ""})
    assert digest("same", {"c/d": "", "b": "3", "a": "12"}) == first
    others = {
        "renamed": {"a": "12", "bb": "3", "c/d": ""},
        "moved": {"a": "12", "b": "3", "d": ""},
        "changed": {"a": "12", "b": "4", "c/d": ""},
        "shifted": {"a": "1", "b": "23", "c/d": ""},
        "swapped": {"a": "3", "b": "12", "c/d": ""},
        "fewer": {"a": "12", "b": "3"},
    }
    assert len({first, *(digest(name, files) for name, files in others.items())}) == 1 + len(others)


def test_json_refuses_what_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"rmse": float("nan")})
    assert not (tmp_path / "x.json").exists()
