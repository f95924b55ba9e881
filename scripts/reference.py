"""Sample reference posteriors. Input: simulations or patches. Output: draws and their diagnosis."""

from pathlib import Path

from canopyflow.evaluation.against.reference_store import write_reference
from canopyflow.inference.allocation import Allocation, spread
from canopyflow.jobs import job

if __name__ == "__main__":  # Dask's worker processes import this file again
    params = snakemake.params
    allocation = Allocation(snakemake.threads, snakemake.resources.mem_mb)
    with job(snakemake.log[0], snakemake.params), spread(allocation) as over:
        write_reference(
            Path(snakemake.output[0]).parent,
            Path(snakemake.input[0]).parent,
            observed=snakemake.wildcards.source == "observed",
            n=params.n,
            draws=params.draws,
            rounds=params.rounds,
            bands=params.bands,
            platforms=params.platforms,
            leaf=params.leaf,
            prior_name=params.prior,
            noise=params.noise,
            seed=params.seed,
            over=over,
        )
