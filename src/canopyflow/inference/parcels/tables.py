"""Parcel tables: CSV, and GeoParquet with the outline of each parcel; a part per tile and month, and all."""

import csv
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyproj import CRS

from canopyflow.atomic import atomic_file
from canopyflow.errors import DataError
from canopyflow.inference.parcels.columns import COLUMNS

log = logging.getLogger("canopyflow")

CSV, PARQUET = (".csv",), (".parquet", ".pq", ".geoparquet")

_TEXT = ("parcel", "tile", "item", "variable")
_WHOLE = {"pixels": pa.int32(), "flags": pa.uint8()}
SCHEMA = pa.schema(
    [
        pa.field(
            name,
            pa.timestamp("us")
            if name == "time"
            else pa.string()
            if name in _TEXT
            else _WHOLE.get(name, pa.float64()),
        )
        for name in COLUMNS
    ]
)
"""Of a parcel table, without the geometry."""


def check_targets(out: Iterable[Path]) -> None:
    """Raise DataError for a table of a kind that is not written."""
    for path in out:
        if path.suffix.lower() not in CSV + PARQUET:
            raise DataError(f"{path} is of no kind that is written", "end it in .csv or .parquet")


def write_part(table: pd.DataFrame, out: Path) -> None:
    """Write the rows of one tile and month, without geometry."""
    with atomic_file(out) as scratch:
        pq.write_table(pa.Table.from_pandas(table, SCHEMA, preserve_index=False), scratch)


def read_part(path: Path) -> pd.DataFrame:
    """What :func:`write_part` wrote."""
    return pq.read_table(path, schema=SCHEMA).to_pandas()


def write_tables(parts: Iterable[pd.DataFrame], parcels: gpd.GeoDataFrame, out: Sequence[Path]) -> int:
    """Write the rows of all ``parts``, one after the other, to each of ``out`` by its suffix: CSV, or
    GeoParquet with the outlines of ``parcels``; rows.

    Of one part after the other there is no more in memory than that. Parcels that no row is about are named
    in a warning. Raises DataError for another suffix.
    """
    check_targets(out)
    seen: set[str] = set()
    rows = 0
    with ExitStack() as stack:
        sinks = [_sink(stack, path, parcels) for path in out]
        for part in parts:
            seen.update(part["parcel"])
            rows += len(part)
            for sink in sinks:
                sink(part)
    silent = [name for name in parcels["parcel"] if name not in seen]
    if silent:
        log.warning(
            "%d of %d parcels have no clear pixel in any acquisition: %s%s",
            *(len(silent), len(parcels), ", ".join(silent[:5]), ", ..." if len(silent) > 5 else ""),
        )
    log.info("%s: %d rows of %d parcels", ", ".join(map(str, out)), rows, len(seen))
    return rows


def _sink(stack: ExitStack, path: Path, parcels: gpd.GeoDataFrame) -> Callable[[pd.DataFrame], None]:
    """What appends rows to a table."""
    scratch = stack.enter_context(atomic_file(path))
    if path.suffix.lower() in CSV:
        file = stack.enter_context(scratch.open("w", newline="", encoding="utf-8"))
        csv.writer(file, lineterminator="\n").writerow(COLUMNS)

        def append(part: pd.DataFrame) -> None:
            times = part["time"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
            part.assign(time=times).to_csv(
                file,
                columns=list(COLUMNS),
                header=False,
                index=False,
                float_format="%.6g",
                lineterminator="\n",
            )

        return append
    outlines = dict(zip(parcels["parcel"], parcels.geometry.to_wkb(), strict=True))
    schema = SCHEMA.append(pa.field("geometry", pa.binary())).with_metadata({"geo": _geo(parcels)})
    writer = stack.enter_context(pq.ParquetWriter(scratch, schema))

    def append_with_outlines(part: pd.DataFrame) -> None:
        table = pa.Table.from_pandas(part, SCHEMA, preserve_index=False)
        shapes = pa.array([outlines[name] for name in part["parcel"]], pa.binary())
        writer.write_table(table.append_column("geometry", shapes).cast(schema))

    return append_with_outlines


def _geo(parcels: gpd.GeoDataFrame) -> str:
    """Metadata of GeoParquet 1.0."""
    column = {
        "encoding": "WKB",
        "geometry_types": sorted(set(parcels.geometry.geom_type)),
        "crs": CRS.from_epsg(4326).to_json_dict(),
        "bbox": np.round(parcels.total_bounds, 7).tolist(),
    }
    return json.dumps({"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": column}})


def gather(parts: Sequence[Path], parcels: Path, out: Sequence[Path]) -> None:
    """Write the tables of all parts."""
    write_tables(map(read_part, parts), gpd.read_parquet(parcels), out)
