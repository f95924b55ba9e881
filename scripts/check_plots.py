"""Check the table of field plots. Output: the table in the units of the products (Parquet)."""

from pathlib import Path

from shapely import union_all

from canopyflow.archive.areas import areas_of
from canopyflow.evaluation.field_plots import check_plots
from canopyflow.jobs import job

with job(snakemake.log[0], snakemake.params):
    area = snakemake.params.area
    check_plots(
        Path(snakemake.input[0]),
        Path(snakemake.output[0]),
        snakemake.params.measurands,
        union_all(list(areas_of(area).polygons.values())) if area else None,
    )
