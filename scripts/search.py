"""Search a catalogue and pin the answer. Output: the items with the grid of each tile, and their index."""

from contextlib import nullcontext
from datetime import date
from pathlib import Path

from canopyflow.archive.pinned import index
from canopyflow.archive.search import search
from canopyflow.atomic import write_json
from canopyflow.demo.server import serve
from canopyflow.jobs import job

params = snakemake.params
with job(snakemake.log[0], snakemake.params):
    folder = Path(params.catalog).parent
    with serve(folder) if params.is_demo else nullcontext(str(params.catalog)) as catalog:
        pinned = search(
            catalog,
            collection=params.collection,
            areas=params.areas,
            start=date.fromisoformat(params.start),
            end=date.fromisoformat(params.end),
            bands=params.bands,
            resolution=params.resolution,
            max_cloud_cover=params.max_cloud_cover,
            asset_base=folder if params.is_demo else None,
        )
    items_file, index_file = snakemake.output
    write_json(items_file, pinned)
    write_json(index_file, index(pinned))
