"""Score one model. Input: bundle, test simulations, reference posteriors. Output: scores and cost (JSON)."""

from importlib import import_module
from pathlib import Path

from canopyflow.evaluation.score import Scoring
from canopyflow.inference.allocation import Allocation, spread
from canopyflow.jobs import job

if __name__ == "__main__":  # Dask's worker processes import this file again
    params = snakemake.params
    stores = [Path(path).parent for path in snakemake.input.references]
    allocation = Allocation(snakemake.threads, snakemake.resources.mem_mb)
    with job(snakemake.log[0], snakemake.params), spread(allocation) as over:
        # Of single dates or of seasons (canopyflow.campaigns.stages).
        import_module(params.by).score_seed(
            Path(snakemake.input.bundle).parent,
            Scoring(params.n, params.samples, params.seed),
            simulations=Path(snakemake.input.simulations).parent,
            references={store.stem: store for store in stores},
            out=Path(snakemake.output.scores),
            cost_out=Path(snakemake.output.cost),
            over=over,
        )
