"""Results that Snakemake has no record of, as jobs on a cluster leave them when their run was killed."""

from __future__ import annotations

import shutil

import pytest

pytestmark = pytest.mark.slow


def test_results_of_the_same_settings_are_kept(finished, tmp_path):
    campaign = finished.copy(tmp_path / "canopyflow")
    shutil.rmtree(campaign.folder / ".snakemake/metadata")
    # Something to do, so that there is a run.
    (campaign.folder / "results/mini/comparison/table.csv").unlink()
    output = campaign.snakemake()
    assert "products/nsf/31TGM/2021-05.zarr/zarr.json was finished by a job of an earlier run" in output
    assert "Mapping" not in output
    assert campaign.checksums() == finished.checksums()
    # They are recorded now: a setting that changes reruns them, and only them.
    config = campaign.folder / "mini.yaml"
    config.write_text(config.read_text().replace("variables: [lai]", "variables: [ccc]"))
    assert {rule for rule, _ in campaign.planned()} == {"publish", "catalog"}


def test_results_of_other_settings_are_made_again(finished, tmp_path):
    campaign = finished.copy(tmp_path / "canopyflow")
    shutil.rmtree(campaign.folder / ".snakemake/metadata")
    (campaign.folder / "results/mini/comparison/table.csv").unlink()
    config = campaign.folder / "mini.yaml"
    config.write_text(config.read_text().replace("variables: [lai]", "variables: [ccc]"))
    output = campaign.snakemake()
    assert output.count("was made with other settings by an earlier run: made again") == 8
    assert list((campaign.folder / "results/mini/published/nsf/31TGM/2021-05").rglob("*ccc*"))
