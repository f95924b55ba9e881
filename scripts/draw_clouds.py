"""Draw the cloud statistics of a campaign. Input: one table per tile-month (CSV). Output: a figure."""

from pathlib import Path

from canopyflow.evaluation.figures.clouds import draw_clouds
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    draw_clouds([Path(path) for path in snakemake.input], Path(snakemake.output[0]))
