"""Check the parcels. Input: a file of polygons. Output: the parcels in degrees, by name (GeoParquet)."""

from pathlib import Path

import shapely

from canopyflow.archive.areas import areas_of
from canopyflow.inference.parcels.files import check_parcels
from canopyflow.jobs import job

params = snakemake.params
with job(snakemake.log[0], params):
    area = shapely.union_all(list(areas_of(params.area).polygons.values())) if params.area else None
    check_parcels(Path(snakemake.input[0]), Path(snakemake.output[0]), params.name, area)
