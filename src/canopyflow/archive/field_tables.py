"""The one reader of tables of plots: whatever the format, the same columns of text, in degrees of WGS 84.

What a campaign looks at (``area.plots``) and what it is scored on (``evaluation.plots``) are read here. What
the values mean is said by :mod:`canopyflow.evaluation.field_plots`. docs/field_tables.md is for users.
"""

import difflib
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from shapely.errors import ShapelyError

from canopyflow.archive.positions import (
    check_degrees,
    footprint_of,
    missing,
    numbers_of,
    others,
    place_of,
    warn_of_rounding,
)
from canopyflow.archive.text_tables import MISSING, read_text, with_points
from canopyflow.archive.vector_tables import KINDS, PLACE, read_vectors
from canopyflow.errors import DataError

log = logging.getLogger("canopyflow")

NUMBERS = ("lon", "lat", "value", "uncertainty")
TEXT = ("plot_id", "date", "variable", "unit", "site", "group", "land_cover", "footprint")

CLASSES = ("land_cover", "class", "crop")
"""Headings of the kind of plot, the best first: the first that a table has is its column ``land_cover``."""

_ALSO = {"longitude": "lon", "latitude": "lat", "long": "lon", "lng": "lon"}

_OFTEN = {
    "plot_id": ("plot", "id", "name", "plot_name", "plotid", "site_id", "point_id", "station"),
    "date": ("day", "datetime", "time", "timestamp", "sampling_date", "datum", "acquired"),
    "lon": ("x", "lon_wgs84", "easting", "east", "e", "x_coord", "utm_x"),
    "lat": ("y", "lat_wgs84", "northing", "north", "n", "y_coord", "utm_y"),
    "variable": ("parameter", "trait", "measurand", "quantity"),
    "value": ("measurement", "measured", "mean", "result"),
    "unit": ("units", "uom"),
}
"""Headings that people use and that could mean something else: named in a remedy, never taken."""

_PROJECTED = ("x", "y", "easting", "northing", "east", "north", "e", "n", "utm_x", "utm_y")

_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt"), lambda path: read_text(path, column_of, NUMBERS)),
    **dict.fromkeys(KINDS, read_vectors),
}

_REMEDIES = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods"), "save the sheet as CSV (UTF-8)"),
    **dict.fromkeys((".shp", ".kml", ".kmz", ".gml", ".fgb", ".gdb", ".sqlite"), "export it as GeoPackage"),
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst"), "unpack it"),
}


def column_of(heading: str) -> str | None:
    """The column that a heading stands for, in any case; None for one of no meaning here."""
    name = heading.strip().lower().replace(" ", "_").replace("-", "_")
    name = _ALSO.get(name, name)
    return name if name in (*NUMBERS, *TEXT, *CLASSES) else None


def read_table(path: Path, required: Sequence[str]) -> pd.DataFrame:
    """All columns of a table as text, without spaces around, indexed by row.

    A row's number is that of its line in a text file, and is counted from 1 in any other.

    Parameters
    ----------
    path: a local CSV (also with semicolons or tabs), GeoJSON, GeoPackage, GeoParquet or Parquet file.
    required: columns that must be there; the place may be ``lon`` and ``lat``, or ``footprint``.

    Raises
    ------
    DataError
        for a file of another kind or that is not there, and for a missing column, naming the likely one.
    """
    text = str(path)
    if "://" in text or text.startswith(("/vsi", "http:", "https:", "s3:")):
        raise DataError(f"plot table {path} is no local file", "download it first")
    if not path.is_file():
        raise DataError(f"plot table {path} does not exist", "check the path of the plots in the campaign")
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise DataError(
            f"plot table {path}: tables of this kind are not read",
            _REMEDIES.get(suffix, f"use one of {', '.join(_READERS)}"),
        )
    try:
        table = _READERS[suffix](path)
    except DataError as error:
        raise DataError(f"plot table {error.problem}", error.remedy) from None
    if suffix not in (".csv", ".tsv", ".tab", ".txt"):
        table = _renamed(table, path)
        # The places of a geometry are numbers already.
        texts = [name for name in NUMBERS if name in table and not ("footprint" in table and name in PLACE)]
        table = with_points(path, table, texts, ";")
    table = _classed(table)
    _check_columns(table, path, required)
    return table.apply(lambda column: column.str.strip()) if len(table) else table


def _renamed(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Columns under our names."""
    names = [column_of(str(name)) or str(name) for name in table.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        same = [repr(c) for c, name in zip(table.columns, names, strict=True) if name == twice[0]]
        raise DataError(
            f"plot table {path}: two columns say {twice[0]!r}: {', '.join(same)}", "rename or remove one"
        )
    return table.set_axis(pd.Index(names, dtype=object), axis=1)


def _classed(table: pd.DataFrame) -> pd.DataFrame:
    found = next((name for name in CLASSES if name in table), None)
    return table if found is None else table.assign(land_cover=table[found])


def _check_columns(table: pd.DataFrame, path: Path, required: Sequence[str]) -> None:
    """Raise DataError for required columns that are not there."""
    placed = "footprint" in table and not {"lon", "lat"} & set(table.columns)
    lacking = [n for n in required if n not in table.columns and not (placed and n in ("lon", "lat"))]
    if not lacking:
        return
    there = [str(name) for name in table.columns]
    plain = {name.strip().lower().replace(" ", "_").replace("-", "_"): name for name in there}
    hints = []
    for name in lacking:
        likely = [plain[word] for word in _OFTEN.get(name, ()) if word in plain]
        likely += [
            heading for word, heading in plain.items() if re.match(rf"{name}\W", word.replace("_", " "))
        ]
        likely += [plain[word] for word in difflib.get_close_matches(name, list(plain), 1, 0.6)]
        free = [each for each in likely if column_of(each) is None]
        if free and free[0].lower() in _PROJECTED:
            hints.append(
                f"if {free[0]!r} is in metres, give a GeoJSON, GeoPackage or GeoParquet that names its "
                "system, which is transformed"
            )
        elif free:
            hints.append(f"rename {free[0]!r} to {name!r}")
    if {"variable", "value"} <= set(lacking):
        hints.append("give one row per measurement: its variable, value and unit")
    raise DataError(
        f"plot table {path}: no column {', '.join(map(repr, lacking))}; it has {', '.join(there) or 'none'}",
        "; ".join(dict.fromkeys(hints)) or "rename or add the column",
    )


def where_of(table: pd.DataFrame, path: Path) -> Callable[[int], str]:
    """From a row of a table to the words that name it in a message."""

    def where(row: int) -> str:
        plot = str(table.at[row, "plot_id"]) if "plot_id" in table else ""
        return f"plot table {path}, row {row}" + (f" (plot {plot})" if plot else "")

    return where


def positions(table: pd.DataFrame, path: Path, *, warn: bool = True) -> pd.DataFrame:
    """``lon`` and ``lat`` (float64, degrees) and ``footprint`` (WKT in degrees, "" of a point) of each row.

    The place of a footprint without one is a point inside of it. Raises DataError for what is no such place,
    and for a place outside of its footprint; warns of rounded coordinates unless told not to.
    """
    where = where_of(table, path)
    nothing = pd.Series("", index=table.index, dtype=object)
    cells = table.get("footprint", nothing)
    shapes = pd.Series(
        [_polygon(cell, row, where) for row, cell in zip(table.index, cells, strict=True)],
        table.index,
        dtype=object,
    )
    given = pd.DataFrame({name: table.get(name, nothing) for name in ("lon", "lat")}, dtype=object)
    inside = shapes.notna() & missing(given["lon"]) & missing(given["lat"])
    for row in table.index[inside]:
        given.loc[row] = [repr(each) for each in place_of(shapes[row])]
    lon, lat = (numbers_of(given, name, where) for name in ("lon", "lat"))
    check_degrees(lon, lat, where)
    for row in table.index[shapes.notna() & ~inside]:
        west, south, east, north = shapes[row].bounds
        if not (west <= lon[row] <= east and south <= lat[row] <= north):
            raise DataError(
                f"{where(row)}: lon {lon[row]:g}, lat {lat[row]:g} lies outside of its footprint",
                "leave lon and lat empty where there is a footprint, or correct one of them",
            )
    points = shapes.isna()
    if warn:
        warn_of_rounding(
            given.loc[points, "lon"].tolist(), given.loc[points, "lat"].tolist(), lat[points].to_numpy(), path
        )
    footprints = ["" if each is None else footprint_of(each) for each in shapes]
    return pd.DataFrame(
        {"lon": lon, "lat": lat, "footprint": pd.Series(footprints, table.index, dtype=object)}
    )


def _polygon(cell: str, row: int, where: Callable[[int], str]) -> shapely.Geometry | None:
    """The polygon of a cell of WKT; None of an empty one."""
    if cell.lower() in MISSING:
        return None
    try:
        found = shapely.from_wkt(cell)
        footprint_of(found)
    except (ShapelyError, ValueError) as error:
        raise DataError(
            f"{where(row)}: footprint {cell[:60]!r} {error}",
            "give a polygon as WKT, lon before lat, in degrees",
        ) from None
    lon, lat = shapely.get_coordinates(found).T
    coordinates = pd.DataFrame({"lon": lon, "lat": lat})
    check_degrees(coordinates["lon"], coordinates["lat"], lambda _: f"{where(row)}, footprint")
    return found


def read_places(path: Path) -> dict[str, tuple[float, float, float, float]]:
    """West, south, east and north (degrees) of all rows of each plot of a table. Raises DataError for what is
    no table with plots and their places."""
    table = read_table(path, ("plot_id", "lon", "lat"))
    if not len(table):
        raise DataError(f"plot table {path} has no row", "give a row per plot")
    named = plots_named(table, path)
    found = positions(table, path, warn=False)
    bounds = np.array(
        [
            shapely.from_wkt(cell).bounds if cell else (lon, lat, lon, lat)
            for lon, lat, cell in found.itertuples(index=False)
        ]
    )
    places: dict[str, tuple[float, float, float, float]] = {}
    for name in sorted(set(named)):
        own = bounds[(named == name).to_numpy()]
        west, south = own[:, :2].min(0).tolist()
        east, north = own[:, 2:].max(0).tolist()
        places[name] = (west, south, east, north)
    return places


def plots_named(table: pd.DataFrame, path: Path) -> pd.Series:
    """The names of the plots. Raises DataError for a row without one."""
    empty = table.index[table["plot_id"] == ""]
    if len(empty):
        raise DataError(
            f"plot table {path}, row {empty[0]} has no plot_id{others(len(empty))}", "name each plot"
        )
    return table["plot_id"]
