"""Mask the scenes of a tile and month. Input: scene store. Output: mask store and statistics (CSV)."""

from pathlib import Path

from canopyflow.cubes.masks import mask_clouds
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    mask_clouds(
        Path(snakemake.input[0]).parent,
        Path(snakemake.output.store).parent,
        Path(snakemake.output.statistics),
        **snakemake.params.options,
    )
