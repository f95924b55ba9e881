"""Map one tile and month. Input: bundle, scenes, masks. Output: the product store."""

from pathlib import Path

from canopyflow.inference.allocation import Allocation
from canopyflow.inference.maps import MapOptions, infer
from canopyflow.jobs import job

if __name__ == "__main__":  # Dask's worker processes import this file again
    resources = snakemake.resources
    with job(snakemake.log[0], snakemake.params):
        infer(
            Path(snakemake.input.bundle).parent,
            Path(snakemake.input.scenes).parent,
            Path(snakemake.input.masks).parent,
            Path(snakemake.output[0]).parent,
            MapOptions(seed=snakemake.params.seed, **snakemake.params.options),
            Allocation(snakemake.threads, resources.mem_mb, resources.get("nodes", 1)),
        )
