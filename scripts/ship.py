"""Put a model into the package. Input: bundle, scores. Output: bundle, scores and card in the package."""

import json
from pathlib import Path

from canopyflow.campaigns.rehearsal import rehearse
from canopyflow.jobs import job
from canopyflow.products.shipping import ship

with job(snakemake.log[0], snakemake.params):
    made_by = snakemake.params.made_by
    ship(
        Path(snakemake.input.bundle).parent,
        json.loads(Path(snakemake.input.scores).read_text()),
        made_by,
        rehearse(made_by, snakemake.wildcards.model),
        Path(snakemake.output[0]).parent,
    )
