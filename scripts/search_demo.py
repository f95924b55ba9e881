"""Serve the demo's catalogue, search it and pin the answer. Output: as of search.py."""

from pathlib import Path

from canopyflow.demo.search import pin_demo
from canopyflow.jobs import job

params = snakemake.params
with job(snakemake.log[0], params):
    pin_demo(Path(params.catalog), params.query, Path(snakemake.output[0]))
