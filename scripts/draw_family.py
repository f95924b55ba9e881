"""Draw the figures of one family. Input: maps, matchups, scores, training histories."""

from pathlib import Path

from canopyflow.evaluation.figures.calibration_curves import draw_coverage, draw_ranks
from canopyflow.evaluation.figures.learning import draw_learning
from canopyflow.evaluation.figures.matchups import draw_matchups
from canopyflow.evaluation.figures.retrieval_maps import draw_maps
from canopyflow.jobs import job

family = snakemake.wildcards.family
out = {name: Path(path) for name, path in snakemake.output.items()}
with job(snakemake.log[0], snakemake.params):
    scores = Path(snakemake.input.scores)
    matchups = Path(snakemake.input.matchups[0]) if snakemake.input.matchups else None
    draw_maps([Path(path).parent for path in snakemake.input.products], out["maps"], family=family)
    draw_matchups(matchups, out["matchups"], family=family)
    draw_coverage(scores, out["coverage"])
    draw_ranks(scores, out["ranks"])
    draw_learning([Path(path) for path in snakemake.input.histories], out["learning"], family=family)
