"""List all scenes of a campaign. Input: one table per tile-month (CSV). Output: a table, a page, a text."""

from pathlib import Path

from canopyflow.evaluation.pages.scenes import list_scenes
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    list_scenes([Path(path) for path in snakemake.input], *map(Path, snakemake.output))
