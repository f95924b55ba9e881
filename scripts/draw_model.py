"""Draw the calibration of one model. Input: scores, training histories. Output: figures."""

from pathlib import Path

from canopyflow.evaluation.figures.calibration_curves import draw_coverage, draw_ranks
from canopyflow.evaluation.figures.learning import draw_learning
from canopyflow.jobs import job

model = snakemake.wildcards.model
out = {name: Path(path) for name, path in snakemake.output.items()}
with job(snakemake.log[0], snakemake.params):
    scores = Path(snakemake.input.scores)
    draw_coverage(scores, out["coverage"])
    draw_ranks(scores, out["ranks"])
    draw_learning([Path(path) for path in snakemake.input.histories], out["learning"], model=model)
