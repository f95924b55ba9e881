"""Map one tile and month, or year. Input: bundle, scenes, masks. Output: the product store."""

from importlib import import_module
from pathlib import Path

from canopyflow.inference.allocation import Allocation
from canopyflow.inference.blocks import MapOptions
from canopyflow.jobs import job

if __name__ == "__main__":  # Dask's worker processes import this file again
    resources, params = snakemake.resources, snakemake.params
    scenes = [Path(path).parent for path in snakemake.input.scenes]
    masks = [Path(path).parent for path in snakemake.input.masks]
    with job(snakemake.log[0], params):
        # Maps of a month or of a season (canopyflow.campaigns.stages): neither counts for the other's code.
        of = import_module(params.by)
        season = {"window": of.Window.from_text(**params.window)} if params.window else {}
        of.infer(
            Path(snakemake.input.bundle).parent,
            *((scenes, masks) if season else (scenes[0], masks[0])),
            Path(snakemake.output[0]).parent,
            MapOptions(seed=params.seed, **params.options),
            Allocation(snakemake.threads, resources.mem_mb, resources.get("nodes", 1)),
            **season,
        )
