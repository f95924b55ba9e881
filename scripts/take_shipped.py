"""Take a model from the package. Output: the model bundle."""

from pathlib import Path

from canopyflow.jobs import job
from canopyflow.shipped import take

with job(snakemake.log[0], snakemake.params):
    take(snakemake.params.shipped, Path(snakemake.output.bundle).parent)
