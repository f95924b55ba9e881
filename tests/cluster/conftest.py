"""A SLURM for the whole run, and one small campaign on it that every test starts from."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from checkouts import fresh_checkout
from on_cluster import TINY, OnCluster
from slurm import Slurm, why_not

from canopyflow.demo.archive import write_archive

DATES = ["2021-05-04", "2021-05-09", "2021-05-19", "2021-05-29"]
"""Acquisitions of the month that is mapped."""


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A SLURM of two nodes with processors and one with a GPU."""
    reason = why_not()
    if reason and os.environ.get("CANOPYFLOW_NEEDS_SLURM"):
        pytest.fail(f"no SLURM: {reason}")
    if reason:
        pytest.skip(f"no SLURM: {reason}")
    cluster = Slurm()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def finished(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> OnCluster:
    """The campaign, run on the cluster by the very words `snakemake --profile slurm`."""
    fresh = fresh_checkout(tmp_path_factory.mktemp("finished") / "canopyflow")
    campaign = OnCluster(fresh.folder)
    (campaign.folder / "config/config.yaml").write_text(TINY)
    # A part of the archive that the rule of the demo would write.
    write_archive(campaign.folder / "demo-archive", dates=DATES)
    # A site's wishes: look at this small queue often; nodes of two cores; two Dask workers here and there.
    campaign.site(
        slurm_init_seconds_before_status_checks=2,
        max_threads=2,
        set_threads={"infer": 2, "sample_reference": 2, "score_seed": 2},
    )
    campaign.snakemake()
    return campaign


@pytest.fixture(scope="session")
def undisturbed(finished: OnCluster) -> dict[str, str]:
    """Checksums that every disturbed run has to end in."""
    return finished.checksums()
