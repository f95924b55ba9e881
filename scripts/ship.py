"""Put a model into the package. Input: bundle, scores. Output: bundle, scores and card in the package."""

import json
from pathlib import Path

from canopyflow.jobs import job
from canopyflow.products.shipping import ship

with job(snakemake.log[0], snakemake.params):
    ship(
        Path(snakemake.input.bundle).parent,
        json.loads(Path(snakemake.input.scores).read_text()),
        snakemake.params.made_by,
        Path(snakemake.output[0]).parent,
    )
