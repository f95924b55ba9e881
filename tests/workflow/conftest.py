"""A checkout of its own for the workflow tests, with a campaign that takes a minute."""

from __future__ import annotations

import fcntl
import shutil

import pytest
from checkouts import TOP, Checkout, fresh_checkout

from canopyflow.demo.archive import write_archive


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose mini campaign has not been run."""
    return fresh_checkout(tmp_path_factory.mktemp("fresh") / "canopyflow")


@pytest.fixture(scope="session")
def finished(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Checkout:
    """A checkout whose mini campaign ran to its end: once, and each worker has a copy."""
    base = tmp_path_factory.getbasetemp()
    made = (base if worker_id == "master" else base.parent) / "finished-mini"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            running = checkout.copy(made.with_suffix(".running"))
            # That of the demo, if it was run; of another version of the generator it is written anew.
            archive = running.folder / "demo-archive"
            if (TOP / "demo-archive/demo.json").is_file():
                shutil.copytree(TOP / "demo-archive", archive)
                write_archive(archive)
            running.snakemake()
            running.folder.rename(made)
    return Checkout(made).copy(tmp_path_factory.mktemp("finished") / "canopyflow")
