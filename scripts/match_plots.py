"""Match field plots with the maps of one model. Output: the matchup table (Parquet)."""

from pathlib import Path

from canopyflow.evaluation.against.plots import match_plots
from canopyflow.evaluation.label_error import LabelError
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    match_plots(
        Path(snakemake.input.plots),
        [Path(path).parent for path in snakemake.input.products],
        Path(snakemake.output[0]),
        max_days=snakemake.params.max_days,
        model=snakemake.wildcards.model,
        error=LabelError(*snakemake.params.label_error),
        time=snakemake.params.time,
    )
