"""Draw the maps of one model. Input: products, matchups, reference maps. Output: two figures."""

from pathlib import Path

from canopyflow.evaluation.figures.matchups import draw_matchups
from canopyflow.evaluation.figures.retrieval_maps import draw_maps
from canopyflow.jobs import job

model = snakemake.wildcards.model
out = {name: Path(path) for name, path in snakemake.output.items()}
with job(snakemake.log[0], snakemake.params):
    matchups = Path(snakemake.input.matchups[0]) if snakemake.input.matchups else None
    truth = Path(snakemake.params.truth) if snakemake.params.truth else None
    products = [Path(path).parent for path in snakemake.input.products]
    draw_maps(products, out["maps"], model=model, truth=truth)
    draw_matchups(matchups, out["matchups"], model=model)
