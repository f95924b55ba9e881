"""Cut the patches of one split. Input: all scene and mask stores. Output: the patch cube."""

from pathlib import Path

from canopyflow.cubes.patches import cut_patches
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    cut_patches(
        [Path(path).parent for path in snakemake.input.scenes],
        [Path(path).parent for path in snakemake.input.masks],
        snakemake.wildcards.split,
        Path(snakemake.output[0]).parent,
        seed=snakemake.params.seed,
        **snakemake.params.options,
    )
