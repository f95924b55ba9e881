"""Write the synthetic archive. Output: the folder that holds items.json, with scenes, plots and truth."""

from pathlib import Path

from canopyflow.demo.archive import write_archive
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    write_archive(Path(snakemake.output.catalog).parent)
