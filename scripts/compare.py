"""Put all families into one table and one figure. Input: scores of each family (JSON)."""

from pathlib import Path

from canopyflow.evaluation.compare import compare
from canopyflow.evaluation.figures.comparison import draw_comparison
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    table = Path(snakemake.output.table)
    compare([Path(path) for path in snakemake.input], table, Path(snakemake.output.page))
    draw_comparison(table, Path(snakemake.output.figure))
