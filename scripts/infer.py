"""Map one tile and month. Input: bundle, scenes, masks. Output: the product store."""

from pathlib import Path

from canopyflow.inference.maps import infer
from canopyflow.jobs import job

if __name__ == "__main__":  # Dask's worker processes import this file again
    with job(snakemake.log[0], snakemake.params):
        infer(
            Path(snakemake.input.bundle).parent,
            Path(snakemake.input.scenes).parent,
            Path(snakemake.input.masks).parent,
            Path(snakemake.output[0]).parent,
            seed=snakemake.params.seed,
            workers=snakemake.threads,
            memory_mb=snakemake.resources.mem_mb,
            nodes=snakemake.resources.get("nodes", 1),
            **snakemake.params.options,
        )
