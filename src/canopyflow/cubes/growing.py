"""A scene store that grows scene by scene, survives a kill, and takes over what an older one holds.

The store is written beside its target and takes its place when it is complete. What is done is noted after
each scene, under the scene's *key*: a digest of all that its pixels depend on. A job that was killed goes
on where it was; a job for a month with one more scene fetches that one and links the files of all others.

The notes lie inside the store, in a hidden file that is no part of its content: they are in place exactly
when the store is, and they outlive the root metadata, which a workflow engine removes before it starts a
job again. (Snakemake's ``update()`` would leave the root in place. But when a job with it fails, Snakemake
restores the former file and records it as made with the settings of the failed one: what is stale would
pass for done.)
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from canopyflow.atomic import replace_folder, scratch_of, seal, write_json
from canopyflow.cubes.stores import ANGLES

NOTES = "item/.fetched.json"
"""In the folder of an array, where whoever lists the groups and arrays of a store does not meet it."""
SLOTS = ("reflectance", "scl", *ANGLES)
"""Arrays (time, ...) whose chunks hold one time each."""

Record = dict[str, Any]
"""What is said of a scene in the store; ``problem`` is None where it was read well."""


class GrowingStore:
    """The store in ``folder`` with a slot for each of ``keys``; ``records`` of those that were tried."""

    def __init__(self, folder: Path, keys: Sequence[str], records: dict[str, Record]) -> None:
        self.folder, self.keys, self._records = folder, list(keys), records
        self._formerly = {key: record for key, record in records.items() if record["problem"]}

    def is_done(self, key: str) -> bool:
        """Whether the scene is in its slot. One that was set aside is not: it may be read well now."""
        record = self._records.get(key)
        return record is not None and record["problem"] is None

    def formerly(self, key: str) -> Record | None:
        """The record of a scene that an earlier attempt set aside."""
        return self._formerly.get(key)

    def clear(self, key: str) -> None:
        """Empty the slot of a scene: a killed job may have left a part of it."""
        for array in SLOTS:
            shutil.rmtree(self.folder / array / "c" / str(self.keys.index(key)), ignore_errors=True)

    def keep(self, key: str, record: Record) -> None:
        """Note that the scene is in its slot, or was set aside."""
        self._records[key] = record
        _write_notes(self.folder, self.keys, self._records)

    @property
    def records(self) -> list[Record]:
        """One for each slot."""
        return [self._records[key] for key in self.keys]


@contextmanager
def growing_store(
    target: Path, keys: Sequence[str], write_empty: Callable[[Path], object]
) -> Iterator[GrowingStore]:
    """A store to fill, which replaces ``target`` when the block ends well and is gone on with when not.

    Args:
        target: path of the finished store.
        keys: of the scenes, in the order of their slots; all different.
        write_empty: writes the store without any scene to a path.
    """
    assert len(set(keys)) == len(keys), "a scene is given twice"
    scratch = scratch_of(target)
    found_keys, records = _read_notes(scratch)
    if found_keys != list(keys):
        records = _begin(scratch, target, keys, write_empty)
    store = GrowingStore(scratch, keys, records)
    yield store
    assert all(key in records for key in keys), "a scene was not tried"
    seal(scratch)
    replace_folder(scratch, target)


def _begin(
    scratch: Path, target: Path, keys: Sequence[str], write_empty: Callable[[Path], object]
) -> dict[str, Record]:
    """Write an empty store to ``scratch`` and take over what it and ``target`` hold of the scenes."""
    fresh = scratch.with_name(f"{scratch.name}.next")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    write_empty(fresh)
    records: dict[str, Record] = {}
    for older in (scratch, target):
        old_keys, old_records = _read_notes(older)
        alike = all(_form(older / array) == _form(fresh / array) for array in SLOTS)
        for key in [key for key in keys if alike and key in old_records and key not in records]:
            if old_records[key]["problem"] is None:
                _take_over(older, old_keys.index(key), fresh, list(keys).index(key))
            records[key] = old_records[key]
    _write_notes(fresh, keys, records)
    # First of all: what is half removed when the job is killed must not pass for scenes without data.
    (scratch / NOTES).unlink(missing_ok=True)
    shutil.rmtree(scratch, ignore_errors=True)
    fresh.rename(scratch)
    return records


def _take_over(older: Path, slot: int, fresh: Path, to: int) -> None:
    for array in SLOTS:
        chunks = older / array / "c" / str(slot)
        if chunks.is_dir():
            shutil.copytree(chunks, fresh / array / "c" / str(to), copy_function=_link)


def _link(source: str, to: str) -> None:
    """A second name for a file that nobody writes to any more, or a copy where there are no links."""
    try:
        os.link(source, to)
    except OSError:
        shutil.copyfile(source, to)


def _form(array: Path) -> Any:
    """How an array is stored, its length along time left out; None where there is none."""
    path = array / "zarr.json"
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    return {**content, "shape": content["shape"][1:]}


def _read_notes(folder: Path) -> tuple[list[str], dict[str, Record]]:
    path = folder / NOTES
    if not path.is_file():
        return [], {}
    content = json.loads(path.read_text())
    return content["keys"], content["records"]


def _write_notes(folder: Path, keys: Sequence[str], records: dict[str, Record]) -> None:
    write_json(folder / NOTES, {"keys": list(keys), "records": records})
