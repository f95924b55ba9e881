"""Check the table of field plots. Output: the table in the units of the products (Parquet)."""

from pathlib import Path

from canopyflow.evaluation.field_plots import check_plots
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    check_plots(Path(snakemake.input[0]), Path(snakemake.output[0]), snakemake.params.measurands)
