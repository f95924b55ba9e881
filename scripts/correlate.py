"""How alike errors of pixels of a parcel are. Input: bundle. Output: a correlation per output (JSON)."""

from pathlib import Path

from canopyflow.inference.parcels.command import Asked, correlate
from canopyflow.inference.parcels.extract import ExtractOptions
from canopyflow.jobs import job

params = snakemake.params
how = params.options
with job(snakemake.log[0], params):
    options = ExtractOptions(how["samples"], how["pixels"], params.seed)
    correlate(
        Path(snakemake.input[0]).parent,
        Path(snakemake.output[0]),
        how["outputs"],
        how["refine"],
        Asked(None, how["proposals"], how["least_ess"], options, how["device"]),
    )
