"""Read the scenes of a tile and month. Input: pinned items. Output: the scene store."""

from pathlib import Path

from canopyflow.archive.pinned import read_pinned
from canopyflow.cubes.scenes import fetch_scenes
from canopyflow.jobs import job

params = snakemake.params
with job(snakemake.log[0], snakemake.params):
    fetch_scenes(
        read_pinned(snakemake.input[0]),
        snakemake.wildcards.tile,
        snakemake.wildcards.window,
        Path(snakemake.output[0]).parent,
        bands=params.bands,
        reader=params.reader,
        asset_base=params.asset_base,
        view_zenith_if_unknown=params.view_zenith_if_unknown,
    )
