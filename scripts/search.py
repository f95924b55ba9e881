"""Search a catalogue and pin the answer. Output: the index of tile-months, and files of items beside it."""

from pathlib import Path

from canopyflow.archive.search import pin
from canopyflow.jobs import job

params = snakemake.params
with job(snakemake.log[0], params):
    pin(snakemake.config["archive"]["catalog"], params.query, Path(snakemake.output[0]))
