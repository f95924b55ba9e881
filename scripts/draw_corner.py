"""Draw posteriors over the reference. Input: bundle, reference posterior. Output: figure."""

from pathlib import Path

from canopyflow.evaluation.figures.corner import draw_corner
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    draw_corner(
        Path(snakemake.input.bundle).parent,
        Path(snakemake.input.reference).parent,
        Path(snakemake.output[0]),
        model=snakemake.wildcards.model,
        seed=snakemake.params.seed,
    )
