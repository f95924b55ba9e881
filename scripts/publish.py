"""Publish one tile and month. Input: product, scenes, bundle. Output: COGs, STAC items, provenance."""

import json
from importlib.metadata import version
from pathlib import Path

from canopyflow import __version__
from canopyflow.jobs import job
from canopyflow.products.publish import publish

params = snakemake.params
with job(snakemake.log[0], snakemake.params):
    bundle = json.loads(Path(snakemake.input.bundle).read_text())
    publish(
        Path(snakemake.input.product).parent,
        Path(snakemake.output[0]).parent,
        campaign=params.campaign,
        model=snakemake.wildcards.model,
        variables=params.variables,
        scenes=[Path(path).parent for path in snakemake.input.scenes],
        simulated=params.simulated,
        provenance={
            "campaign": params.campaign,
            "bundle": bundle,
            "code": {"publish": params.code, "infer": params.infer_code},
            "versions": {
                "canopyflow": __version__,
                **{name: version(name) for name in ("torch", "zuko", "snakemake")},
            },
        },
    )
