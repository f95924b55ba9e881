"""What counts in a fingerprint; test_reruns.py holds the library's own edits to the rules they rerun."""

import os
import subprocess
import sys

import pytest

from canopyflow import registry
from canopyflow.campaigns import fingerprint as fingerprints
from canopyflow.campaigns.fingerprint import UNCOUNTED, fingerprint, modules_of
from canopyflow.errors import ConfigError

ENCODER = '''"""An encoder of another package."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING

import mine.rooms.table as table
from canopyflow.registry import FAMILIES, SAMPLERS
from canopyflow.vocabulary import NAMES
from mine import offered

from . import sibling

if TYPE_CHECKING:
    from mine.types_only import Kind

if typing.TYPE_CHECKING:
    from mine.types_only import Other
else:
    from mine.instead import Other


class Encoder:
    """Reads a pixel."""

    width = 3
    """Features."""

    def features(self):
        """Of one pixel."""
        from mine.late import PRIORS, of
        FAMILIES.build("truncated_normal"), SAMPLERS[self.width], FAMILIES["no such family"]
        PRIORS.build("flow"), print("nsf"), FAMILIES["gev"]
        return of("a string that counts", width=self.width)


ENCODER = Encoder
'''

FILES = {
    "__init__.py": "from mine.first import first\nfrom mine.second import offered\n",
    "first.py": "first = 1\n",
    "second.py": "offered = 2\n",
    "rooms/__init__.py": "from mine.rooms.other import other\n",
    "rooms/other.py": "other = 3\n",
    "rooms/table.py": "from mine.rooms.deep import more\n",
    "rooms/deep/__init__.py": "from mine.rooms.deep.inside import more\n",
    "rooms/deep/inside.py": "more = 4\n",
    "rooms/table.npz": "0\n",
    "encoder.py": ENCODER,
    "sibling.py": "x = None\n",
    "types_only.py": "Kind = Other = int\n",
    "instead.py": "Other = None\n",
    "late.py": "of = print\n",
}

COUNTED = {
    "mine",
    "mine.encoder",
    "mine.first",
    "mine.second",
    "mine.rooms",
    "mine.rooms.table",
    "mine.rooms.deep",
    "mine.rooms.deep.inside",
    "mine.sibling",
    "mine.instead",
    "mine.late",
    "canopyflow",
    "canopyflow.vocabulary",
} | modules_of("canopyflow.posteriors.truncated_normal", "canopyflow.posteriors.gev")


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A package beside the library; fingerprints of it are read anew after each edit."""
    folder = tmp_path / "mine"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    fingerprints.forget()
    yield folder
    fingerprints.forget()


def anew(*modules):
    fingerprints.forget()
    return fingerprint(None, *modules)


def test_what_is_imported_counts_and_what_a_package_on_the_way_offers_to_others_does_not(mine):
    assert modules_of("mine.encoder") == COUNTED
    # Nobody asks `mine` itself for a thing: its imports are not followed.
    assert modules_of("mine.rooms.other") == {"mine", "mine.rooms", "mine.rooms.other"}


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".py")])
def test_code_of_each_module_counts_where_it_is_reached(mine, name):
    module = ".".join(["mine", *name.removesuffix(".py").split("/")]).removesuffix(".__init__")
    before = anew("mine.encoder")
    (mine / name).write_text(FILES[name] + "EDIT = 1\n")
    assert (anew("mine.encoder") != before) == (module in COUNTED)


def test_the_content_of_a_package_on_the_way_counts(mine):
    before = anew("mine.rooms.other")
    (mine / "rooms/__init__.py").write_text("import os\n" + FILES["rooms/__init__.py"])
    assert anew("mine.rooms.other") != before


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ('"""Reads a pixel."""', '"""Reads\n    a pixel, and more."""', False),
        ('    """Features."""\n', "", False),
        ('        """Of one pixel."""\n', "", False),
        ("width = 3", "width = 3  # of three bands", False),
        ("width = 3", "width = (\n        0x3\n    )", False),
        ("class Encoder", "\n\n\nclass Encoder", False),
        ("import Kind", "import Kind, Other", False),
        ("ENCODER = Encoder", "ENCODER = Encoder\n__version__ = '2'", False),
        ("width = 3", "width = 3.0", True),
        ("width = 3", "width = '3'", True),
        ("width = 3", "width = None", True),
        ("a string that counts", "another", True),
        ("width=self.width", "breadth=self.width", True),
        ("import Other\nelse", "import Other\nelif True", True),
        ("return of", "of", True),
    ],
)
def test_only_what_is_computed_counts(mine, old, new, counts):
    before = anew("mine.encoder")
    assert old in ENCODER
    (mine / "encoder.py").write_text(ENCODER.replace(old, new))
    assert (anew("mine.encoder") != before) == counts


def test_data_files_beside_a_module_count_and_an_editors_backup_does_not(mine):
    before = anew("mine.encoder")
    (mine / "rooms/table.npz~").write_text("1\n")
    (mine / "rooms/table.py~").write_text("older\n")
    assert anew("mine.encoder") == before
    (mine / "rooms/table.npz").write_text("1\n")
    changed = anew("mine.encoder")
    assert changed != before
    (mine / "rooms/table.npz").rename(mine / "rooms/renamed.npz")
    assert anew("mine.encoder") not in {before, changed}


def test_a_module_that_is_one_file_has_no_data_beside_it(tmp_path, monkeypatch):
    (tmp_path / "alone.py").write_text("ENCODER = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = anew("alone")
    (tmp_path / "another.json").write_text("{}\n")
    assert anew("alone") == before
    (tmp_path / "alone.py").write_text("ENCODER = 0\n")
    assert anew("alone") != before


def test_a_script_is_part_of_its_own_fingerprint(tmp_path):
    script = tmp_path / "x.py"
    script.write_text("from canopyflow.vocabulary import NAMES\n")
    before = fingerprint(script)
    script.write_text("# why\nfrom canopyflow.vocabulary import (NAMES)\n")
    assert fingerprint(script) == before
    script.write_text("from canopyflow.vocabulary import NAMES\nNAMES[0]\n")
    assert fingerprint(script) != before


def test_the_order_of_named_modules_does_not_matter_and_their_names_do(mine):
    (mine / "again.py").write_text(FILES["first.py"])
    assert anew("mine.again") != anew("mine.first")
    assert anew("mine.first", "mine.second") == anew("mine.second", "mine.first") != anew("mine.first")


def test_a_module_without_a_source_is_an_error_and_not_left_out():
    with pytest.raises(ConfigError, match=r"mine\.nowhere"):
        anew("mine.nowhere")


def test_modules_that_do_not_count_are_there_and_count_when_they_are_named():
    for name, reason in UNCOUNTED.items():
        assert registry.source_of(name) is not None, name
        assert reason
        assert name in modules_of(name)
    assert not modules_of("canopyflow.archive.search") & UNCOUNTED.keys()


def test_imports_inside_functions_count():
    assert "canopyflow.inference.tables" in modules_of("canopyflow.cli")


def test_it_is_the_same_in_each_process_and_loads_no_torch():
    command = (
        "import sys; from canopyflow.campaigns.fingerprint import fingerprint; "
        "print(fingerprint(None, 'canopyflow.training.loop')); sys.exit('torch' in sys.modules)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", command],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
