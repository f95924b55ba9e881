"""Fail if too many scenes are set aside. Input: the table of scenes. Output: what it says, in sentences."""

from pathlib import Path

from canopyflow.evaluation.pages.scenes import check_archive
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    check_archive(Path(snakemake.input.scenes), Path(snakemake.output[0]), snakemake.params.max_unreadable)
