"""Write the STAC catalogue. Input: provenance of all tile-months, bundles. Output: root, collections."""

from pathlib import Path

from canopyflow.jobs import job
from canopyflow.products.catalog import Series, write_catalog

params = snakemake.params
with job(snakemake.log[0], snakemake.params):
    published = Path(snakemake.output.root).parent
    # published/{model}/{tile}/{window}/provenance.json
    found = [(path.relative_to(published).parts[0], path) for path in map(Path, snakemake.input.months)]
    write_catalog(
        published,
        {model: [path for name, path in found if name == model] for model in params.models},
        dict(zip(params.models, (Path(bundle).parent for bundle in snakemake.input.bundles), strict=True)),
        Series(params.campaign, params.start, params.end, params.simulated),
    )
