"""The parcel table of one model. Input: parcels, rows of each tile and month. Output: GeoParquet, CSV."""

from pathlib import Path

from canopyflow.inference.parcels.tables import gather
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    parts = [Path(path) for path in snakemake.input.get("parts", [])]
    out = [Path(snakemake.output.table), Path(snakemake.output.text)]
    gather(parts, Path(snakemake.input.parcels), out)
