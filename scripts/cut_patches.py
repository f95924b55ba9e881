"""Cut the patches of one split. Input: all scene and mask stores. Output: the patch cube."""

from pathlib import Path

from canopyflow.cubes.patches import SplitRule, cut_patches
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    cut_patches(
        [Path(path).parent for path in snakemake.input.scenes],
        [Path(path).parent for path in snakemake.input.masks],
        Path(snakemake.output[0]).parent,
        SplitRule(snakemake.wildcards.split, seed=snakemake.params.seed, **snakemake.params.options),
    )
