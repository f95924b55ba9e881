"""Ask one model about the spectra of field plots. Output: the matchup table (Parquet)."""

from pathlib import Path

from canopyflow.evaluation.against.direct import match_model
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    match_model(
        Path(snakemake.input.spectra),
        Path(snakemake.input.bundle).parent,
        Path(snakemake.output[0]),
        model=snakemake.wildcards.model,
        samples=snakemake.params.samples,
        seed=snakemake.params.seed,
    )
