"""Cut the seasons of one split. Input: all scene and mask stores. Output: the season cube."""

from pathlib import Path

from canopyflow.cubes.seasons import SeasonRule, cut_seasons
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    cut_seasons(
        [Path(path).parent for path in snakemake.input.scenes],
        [Path(path).parent for path in snakemake.input.masks],
        Path(snakemake.output[0]).parent,
        SeasonRule(snakemake.wildcards.split, seed=snakemake.params.seed, **snakemake.params.options),
    )
