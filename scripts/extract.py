"""Parcels of one tile and month. Input: parcels, correlation, bundle, stores. Output: rows (Parquet)."""

from pathlib import Path

from canopyflow.inference.parcels.command import Asked, extract_month
from canopyflow.inference.parcels.extract import ExtractOptions, Month
from canopyflow.jobs import job

params, files = snakemake.params, snakemake.input
how = params.options
with job(snakemake.log[0], params):
    options = ExtractOptions(how["samples"], how["pixels"], params.seed)
    extract_month(
        Path(files.bundle).parent,
        Month(*(Path(files[name]).parent for name in ("product", "scenes", "masks"))),
        Path(files.parcels),
        Path(files.correlation),
        Path(snakemake.output[0]),
        Asked(None, how["proposals"], how["least_ess"], options, how["device"]),
    )
