"""Read the scenes of a tile and month. Input: pinned items. Output: the store, and who is set aside."""

from pathlib import Path

from canopyflow.archive.pinned import read_pinned
from canopyflow.cubes.quarantine import note_quarantine
from canopyflow.cubes.scenes import fetch_scenes
from canopyflow.jobs import job

params, tile, month = snakemake.params, snakemake.wildcards.tile, snakemake.wildcards.window
with job(snakemake.log[0], params):
    records = fetch_scenes(
        read_pinned(snakemake.input[0]),
        tile,
        month,
        Path(snakemake.output[0]).parent,
        bands=params.bands,
        reader=params.reader,
        asset_base=params.asset_base,
        view_zenith_if_unknown=params.view_zenith_if_unknown,
        offset_contradicted=params.offset_contradicted,
        code=params.code,
    )
    note_quarantine(params.quarantine, tile, month, records)
