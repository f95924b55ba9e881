"""Sample reference posteriors. Input: simulations or patches. Output: draws and their diagnosis."""

from pathlib import Path

from canopyflow.evaluation.against.reference_posterior import Pixels, ReferenceOptions, write_reference
from canopyflow.inference.allocation import Allocation, spread
from canopyflow.jobs import job

SOURCES = {"simulated": "simulations", "observed": "patches"}

if __name__ == "__main__":  # Dask's worker processes import this file again
    params = snakemake.params
    allocation = Allocation(snakemake.threads, snakemake.resources.mem_mb)
    source = SOURCES[snakemake.wildcards.source]
    with job(snakemake.log[0], snakemake.params), spread(allocation) as over:
        write_reference(
            Path(snakemake.output[0]).parent,
            Pixels(source, Path(snakemake.input[0]).parent, params.n),
            ReferenceOptions(params.draws, params.rounds, params.seed),
            bands=params.bands,
            platforms=params.platforms,
            generative=params.generative,
            generative_options=params.physics,
            over=over,
        )
