"""Write the page of a campaign. Input: all its tables and products. Output: HTML, verdict, table of flags."""

import json
from pathlib import Path

from canopyflow.evaluation.pages.page import Inputs, write_page
from canopyflow.evaluation.pages.verdict import read_tables
from canopyflow.jobs import job

params = snakemake.params
with job(snakemake.log[0], snakemake.params):
    out = {name: Path(path) for name, path in snakemake.output.items()}
    scores = {Path(path).parent.name: Path(path) for path in snakemake.input.scores}
    products = {}
    for path in map(Path, snakemake.input.products):
        products.setdefault(path.parents[2].name, []).append(path.parent)
    results = out["page"].parent
    runs = sorted(results.glob("runs/*/run.json"))
    write_page(
        Inputs(
            read_tables(results),
            params.asked,
            {name: scores[name] for name in params.asked["kinds"]},
            products,
            Path(params.truth) if params.truth else None,
            [Path(path) for path in snakemake.input.parcels],
            json.loads(runs[-1].read_text()) if runs else {},
        ),
        **out,
    )
