"""Match field plots with the means over their footprints. Output: the matchup table (Parquet)."""

from pathlib import Path

from canopyflow.evaluation.against.plot_areas import OF_PLOT, Areas, match_areas
from canopyflow.evaluation.label_error import LabelError
from canopyflow.inference.parcels.command import Asked
from canopyflow.inference.parcels.extract import ExtractOptions
from canopyflow.jobs import job

params, files = snakemake.params, snakemake.input
how = params.options
with job(snakemake.log[0], params):
    products, scenes, masks = (
        [Path(path).parent for path in files.get(name, [])] for name in ("products", "scenes", "masks")
    )
    options = ExtractOptions(how["samples"], how["pixels"], params.seed)
    areas = Areas(
        None if params.footprint == OF_PLOT else params.footprint,
        Path(files.bundle).parent,
        dict(zip(products, zip(scenes, masks, strict=True), strict=True)),
        Path(files.correlation),
        Asked(None, how["proposals"], how["least_ess"], options, how["device"]),
    )
    match_areas(
        Path(files.plots),
        Path(snakemake.output[0]),
        areas,
        max_days=params.max_days,
        model=snakemake.wildcards.model,
        error=LabelError(*params.label_error),
        time=params.time,
    )
