"""Draw the trajectories of twelve pixels. Input: products of seasons, matchups. Output: the figure."""

from pathlib import Path

from canopyflow.evaluation.figures.trajectories import draw_trajectories
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    draw_trajectories(
        [Path(path).parent for path in snakemake.input.products],
        Path(snakemake.output[0]),
        model=snakemake.wildcards.model,
        matchups=Path(snakemake.input.matchups[0]) if snakemake.input.matchups else None,
        truth=Path(snakemake.params.truth) if snakemake.params.truth else None,
    )
