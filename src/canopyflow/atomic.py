"""Nothing half-written is ever visible: write beside the target, rename at the end.

Every artefact of a campaign is written through this module. The scratch name is derived from the target and
not random, so that what a killed job left behind is replaced by the next attempt instead of piling up; that
is safe because one job owns one target.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STORE_METADATA = "zarr.json"
"""Root metadata of a Zarr v3 store: the one file that Snakemake tracks of a store."""

_PIECE = 2**20
"""Bytes of a file that are in memory at a time: a shard of a whole tile has hundreds of megabytes."""


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def scratch_of(target: Path) -> Path:
    """The path beside ``target`` that is written first."""
    return target.with_name(f".{target.name}.partial")


def _scratch(target: Path) -> Path:
    """The scratch path of ``target``: nothing is there, but its folder is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = scratch_of(target)
    _remove(scratch)
    return scratch


@contextmanager
def atomic_file(target: str | Path) -> Iterator[Path]:
    """Yield a scratch path; rename it to ``target`` when the block ends without an error."""
    scratch = _scratch(Path(target))
    yield scratch
    scratch.replace(target)


@contextmanager
def atomic_folder(target: str | Path) -> Iterator[Path]:
    """Yield an empty scratch folder; it takes the place of ``target`` when the block ends well."""
    target = Path(target)
    scratch = _scratch(target)
    scratch.mkdir()
    yield scratch
    replace_folder(scratch, target)


def replace_folder(scratch: Path, target: Path) -> None:
    """Put the folder ``scratch`` in the place of ``target``."""
    # Renamed before it is removed: a kill then leaves a whole folder or none, never half an old one.
    old = target.with_name(f".{target.name}.old")
    _remove(old)
    if target.exists() or target.is_symlink():
        target.rename(old)
    scratch.rename(target)
    _remove(old)


@contextmanager
def atomic_store(target: str | Path) -> Iterator[Path]:
    """Like :func:`atomic_folder` for a Zarr v3 group, sealed with a digest of its content.

    The digest goes into the root attributes (``content_sha256``). The root
    ``zarr.json`` therefore changes exactly when the data do, and a workflow
    engine that compares that one small file compares the whole store.
    """
    with atomic_folder(target) as scratch:
        yield scratch
        seal(scratch)


def seal(folder: Path) -> None:
    """Write the digest of a store's content into its root attributes; see :func:`atomic_store`."""
    metadata = folder / STORE_METADATA
    content = json.loads(metadata.read_text())
    content.setdefault("attributes", {})["content_sha256"] = content_digest(folder)
    metadata.write_text(json.dumps(content, indent=2, sort_keys=True))


def content_digest(folder: str | Path) -> str:
    """SHA-256 over names and bytes of all files below ``folder``.

    A store's own seal is left out, and hidden files: those are notes of whoever writes the store.
    """
    folder = Path(folder)
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        name = path.relative_to(folder).as_posix()
        if name == STORE_METADATA:
            content = json.loads(path.read_bytes())
            content.get("attributes", {}).pop("content_sha256", None)
            data = json.dumps(content, sort_keys=True).encode()
            digest.update(f"{name}\0{len(data)}\0".encode() + data)
            continue
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()


def write_json(target: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, keys in the given order; NaN is refused, it is not JSON."""
    with atomic_file(target) as scratch:
        scratch.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
