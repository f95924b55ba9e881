"""Join the scores of one model. Input: scores of its seeds, maps, matchups. Output: scores (JSON, CSV)."""

from pathlib import Path

from canopyflow.evaluation.evaluate import Files, evaluate
from canopyflow.jobs import job

params = snakemake.params
with job(snakemake.log[0], snakemake.params):
    evaluate(
        snakemake.wildcards.model,
        seeds=[Path(path) for path in snakemake.input.seeds],
        products=[Path(path).parent for path in snakemake.input.products],
        matchups=Path(snakemake.input.matchups[0]) if snakemake.input.matchups else None,
        truth=Path(params.truth) if params.truth else None,
        corrections=params.corrections,
        out=Files(*(Path(snakemake.output[name]) for name in Files._fields)),
    )
