"""Search a catalogue and pin the answer. Output: the items with the grid of each tile, and their index."""

from pathlib import Path

from canopyflow.archive.search import pin
from canopyflow.jobs import job

params = snakemake.params
with job(snakemake.log[0], params):
    pin(str(params.catalog), params.query, *map(Path, snakemake.output))
