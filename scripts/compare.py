"""Put all models into tables and a figure. Input: scores and costs of each model (JSON)."""

from pathlib import Path

from canopyflow.evaluation.figures.comparison import draw_comparison
from canopyflow.evaluation.pages.comparison import compare
from canopyflow.evaluation.pages.models import compare_models
from canopyflow.jobs import job

out = {name: Path(path) for name, path in snakemake.output.items()}
scores = [Path(path) for path in snakemake.input.scores]
with job(snakemake.log[0], snakemake.params):
    compare(scores, out["table"], out["page"])
    costs = [Path(path) for path in snakemake.input.costs]
    compare_models(scores, costs, out["models"], out["models_page"])
    draw_comparison(out["table"], out["figure"], models=out["models"])
