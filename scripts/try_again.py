"""Say which scenes are still set aside after they were tried again. Output: their problems by id (JSON)."""

from pathlib import Path

from canopyflow.archive.pinned import read_index
from canopyflow.cubes.quarantine import note_retry
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    note_retry(snakemake.params.folder, read_index(snakemake.input.index).keys(), Path(snakemake.output[0]))
