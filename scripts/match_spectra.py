"""Match field plots with the spectra of their pixels. Output: the table of labelled spectra (Parquet)."""

from pathlib import Path

from canopyflow.evaluation.against.spectra import match_spectra
from canopyflow.evaluation.label_error import LabelError
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    pairs = zip(snakemake.input.scenes, snakemake.input.masks, strict=True)
    match_spectra(
        Path(snakemake.input.plots),
        [(Path(scenes).parent, Path(masks).parent) for scenes, masks in pairs],
        Path(snakemake.output[0]),
        bands=snakemake.params.bands,
        max_days=snakemake.params.max_days,
        error=LabelError(*snakemake.params.label_error),
    )
