"""Read a table of field measurements and refuse what cannot be right.

A wrong unit makes a silent wrong score, so the unit column is not optional and
every value is checked against what a field can show.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from canopyflow.atomic import atomic_file
from canopyflow.errors import DataError
from canopyflow.evaluation.measurands import MEASURANDS, OBSERVED, Measurand, factor, find, listed, word

log = logging.getLogger("canopyflow")

REQUIRED = ("plot_id", "date", "lon", "lat", "variable", "value", "unit")
COLUMNS = (
    *("plot_id", "date", "lon", "lat", "variable", "measurand", "value", "uncertainty"),
    *("site", "group"),
)
"""Columns of the table that :func:`read_plots` returns, values in the units of ``MEASURANDS``; ``variable``
is that of the products, ``measurand`` the table's own word for it."""

_SEVERAL = 3  # fewer values than this say nothing about the unit of a whole column


def read_plots(path: Path, measurands: Mapping[str, str | None] | None = None) -> pd.DataFrame:
    """Field measurements from CSV or GeoJSON points, checked, in the units of the products.

    ``measurands``: what words of the table's column ``variable`` mean, where that is not what
    :func:`canopyflow.evaluation.measurands.find` takes them for: ``{"LAI": "gai"}``; None leaves the rows
    out.

    Returns a frame with :data:`COLUMNS`: ``date`` is datetime64 (UTC, without a zone), ``value`` and
    ``uncertainty`` float64 (uncertainty NaN where the table has none), ``site`` and ``group`` text, empty
    where the table has none. Rows of what nobody estimates (growth stage, height, biomass, yield), and rows
    without a value, are dropped with one log line.

    Raises
    ------
    DataError
        for a missing file or column, a date that is none, coordinates that are
        not longitude and latitude in degrees, an unknown variable or unit, and
        values which cannot be right in their unit.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"plot table {path} does not exist", "check the path of the plots in the campaign")
    table = _read_geojson(path) if path.suffix.lower() in (".geojson", ".json") else _read_csv(path)
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        raise DataError(
            f"plot table {path}: no column {', '.join(repr(m) for m in missing)}; "
            f"it has {', '.join(map(str, table.columns))}",
            "rename or add the column",
        )
    table = _estimated(table, measurands or {}, path)
    plots = pd.DataFrame(
        {
            "plot_id": table["plot_id"].astype(str),
            "date": _dates(table, path),
            "lon": _numbers(table, "lon", path),
            "lat": _numbers(table, "lat", path),
            "variable": table["variable"],
            "measurand": table["measurand"],
            "value": _numbers(table, "value", path),
            "uncertainty": _numbers(table, "uncertainty", path, optional=True),
            **{name: table[name].str.strip() if name in table else "" for name in ("site", "group")},
        },
    )
    _check_positions(plots, path)
    scale = _factors(table, path)
    plots["value"] *= scale
    plots["uncertainty"] *= scale
    _check_values(plots, table["unit"], path)
    order = ["plot_id", "date", "variable", "lon", "lat", "value"]
    return plots.sort_values(order, kind="stable", ignore_index=True)


def check_plots(
    path: Path,
    out: Path,
    measurands: Mapping[str, str | None] | None = None,
    area: BaseGeometry | None = None,
) -> pd.DataFrame:
    """Read a plot table as :func:`read_plots` does and keep it as Parquet, in the units of the products.

    A campaign does this first: a wrong unit then shows in its first minute and not after its last map, and so
    does a table whose plots lie all outside of the ``area`` (polygons in degrees, longitudes going on beyond
    180), which raises DataError too.
    """
    plots = read_plots(path, measurands)
    if area is not None and len(plots):
        _check_inside(plots, area, path)
    with atomic_file(out) as scratch:
        plots.to_parquet(scratch, engine="pyarrow", index=False)
    log.info("%s: %d measurements of %d plots", path.name, len(plots), plots["plot_id"].nunique())
    return plots


def _check_inside(plots: pd.DataFrame, area: BaseGeometry, path: Path) -> None:
    """Raise DataError unless a plot lies in ``area``; say how many do not."""
    lon, lat = plots["lon"].to_numpy(), plots["lat"].to_numpy()
    inside = _within(area, lon, lat)
    if not inside.any():
        west, south, east, north = area.bounds
        swapped = _within(area, lat, lon).any()
        raise DataError(
            f"plot table {path}: no plot lies in the campaign's area ({west:g} to {east:g} east, {south:g} "
            f"to {north:g} north); the first, {plots['plot_id'].iloc[0]!r}, is at lon {lon[0]:g}, lat "
            f"{lat[0]:g}",
            "lon and lat are swapped" if swapped else "check `area` and `evaluation.plots`",
        )
    if not inside.all():
        log.warning("%s: %d of %d measurements lie outside the area", path.name, (~inside).sum(), len(plots))


def _within(area: BaseGeometry, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether points lie in ``area``, whose longitudes go on beyond 180 degrees."""
    found = [shapely.intersects_xy(area, lon + turn, lat) for turn in (-360.0, 0.0, 360.0)]
    return np.logical_or.reduce(found)


def _read_csv(path: Path) -> pd.DataFrame:
    """All columns as text, indexed by line number, so that a complaint can name the line."""
    try:
        # A comma at the end of each row is no column; with cells beyond the header pandas warns of a loss.
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
    except (
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
    ) as error:
        raise DataError(
            f"plot table {path} is not CSV: {error}", "save it as comma-separated UTF-8"
        ) from error
    table.columns = table.columns.str.strip()
    table.index += 2
    return table


def _read_geojson(path: Path) -> pd.DataFrame:
    """Point features: properties as columns, coordinates as lon and lat; indexed by feature, from 1."""
    try:
        features = json.loads(path.read_text())["features"]
        records = [dict(feature.get("properties") or {}) for feature in features]
        points = [feature["geometry"]["coordinates"][:2] for feature in features]
        positions = [(float(lon), float(lat)) for lon, lat in points]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"plot table {path} is not a GeoJSON collection of points: {error!r}", "export points"
        ) from error
    table = pd.DataFrame.from_records(records)
    table["lon"] = [lon for lon, _ in positions]
    table["lat"] = [lat for _, lat in positions]
    table = table.astype(object).where(table.notna(), "").astype(str)
    table.index += 1
    return table


def _estimated(table: pd.DataFrame, measurands: Mapping[str, str | None], path: Path) -> pd.DataFrame:
    """Rows of variables that are estimated, under the product's name, and with a value."""
    meant = _meant(table, measurands, path)
    known: dict[str, str | None] = {}
    dropped = {}
    for name, rows in table.groupby("variable", sort=True):
        text = str(name)
        if word(text) in meant:
            known[text] = meant[word(text)]
        elif (measurand := find(text)) is not None:
            known[text] = measurand.name
        elif word(text) in OBSERVED:
            known[text] = None
        else:
            raise DataError(
                f"{_where(table, rows.index[0], path)}: variable {text!r} is unknown{_more(rows.index)}",
                f"use one of {listed()}; or say in evaluation.measurands what it is, null to leave it out",
            )
        if known[text] is None:
            dropped[text] = len(rows)
    table = table.assign(variable=table["variable"].map(known), measurand=table["variable"].str.strip())
    table = table[table["variable"].notna()]
    empty = table["value"].str.strip().str.lower().isin(["", "nan", "na"])
    if dropped or empty.any():
        named = ", ".join(f"{name} ({count})" for name, count in dropped.items()) or "none"
        log.info(
            "%s: dropped rows of variables that are not estimated: %s; rows without a value: %d",
            path.name,
            named,
            int(empty.sum()),
        )
    return table[~empty]


def _meant(table: pd.DataFrame, measurands: Mapping[str, str | None], path: Path) -> dict[str, str | None]:
    """By word of the table, the product's variable that the campaign says it is; None: left out."""
    there = {word(name) for name in table["variable"]}
    out: dict[str, str | None] = {}
    for name, meaning in measurands.items():
        if word(name) not in there:
            raise DataError(
                f"plot table {path} has no variable {name!r}, which evaluation.measurands names",
                f"it has {', '.join(sorted(set(table['variable'])))}",
            )
        measurand: Measurand | None = None if meaning is None else find(meaning)
        if meaning is not None and measurand is None:
            raise DataError(
                f"evaluation.measurands: {name!r} cannot be {meaning!r}, which nobody estimates",
                f"use one of {listed()}, or null to leave it out",
            )
        out[word(name)] = None if measurand is None else measurand.name
    return out


def _dates(table: pd.DataFrame, path: Path) -> pd.Series:
    dates = pd.to_datetime(table["date"].str.strip(), format="ISO8601", errors="coerce", utc=True)
    # Of "2021-04" pandas makes the first of the month, which nobody wrote.
    bad = table.index[dates.isna() | (table["date"].str.strip().str.len() < len("20210401"))]
    if len(bad):
        raise DataError(
            f"{_where(table, bad[0], path)}: date {table.at[bad[0], 'date']!r} is not a date{_more(bad)}",
            "write dates as YYYY-MM-DD",
        )
    return dates.dt.tz_localize(None).astype("datetime64[ns]")


def _numbers(table: pd.DataFrame, column: str, path: Path, optional: bool = False) -> pd.Series:
    if optional and column not in table.columns:
        return pd.Series(np.nan, index=table.index)
    text = table[column].str.strip()
    numbers = pd.to_numeric(text.where(~text.str.lower().isin(["", "nan", "na"])), errors="coerce")
    wrong = ~np.isfinite(numbers.astype(float))
    if optional:
        wrong &= ~text.str.lower().isin(["", "nan", "na"])
    bad = table.index[wrong]
    if len(bad):
        found = table.at[bad[0], column]
        raise DataError(
            f"{_where(table, bad[0], path)}: {column} {found!r} is not a number{_more(bad)}",
            "correct the row or leave it out",
        )
    return numbers.astype(float)


def _check_positions(plots: pd.DataFrame, path: Path) -> None:
    for column, limit in (("lon", 180.0), ("lat", 90.0)):
        bad = plots.index[plots[column].abs() > limit]
        if len(bad):
            raise DataError(
                f"{_where(plots, bad[0], path)}: {column} {plots[column][bad[0]]:g} is outside "
                f"±{limit:g} degrees{_more(bad)}",
                "give WGS 84 longitude and latitude in degrees, not projected metres",
            )


def _factors(table: pd.DataFrame, path: Path) -> pd.Series:
    """Per row, what its value is multiplied by; raises for a unit that the variable does not have."""
    scale = pd.Series(1.0, index=table.index)
    for name, unit, rows in _groups(table["variable"], table["unit"]):
        measurand = MEASURANDS[name]
        known = factor(measurand, unit)
        if known is None:
            raise DataError(
                f"{_where(table, rows[0], path)}: unit {unit!r} of {name} = {table['value'][rows[0]]} "
                f"is not a unit of {measurand.long_name}{_more(rows)}",
                f"use one of {', '.join(repr(u) for u in measurand.factors)}"
                + (f", per {measurand.basis} area" if measurand.basis else ""),
            )
        scale[rows] = known
    return scale


def _check_values(plots: pd.DataFrame, units: pd.Series, path: Path) -> None:
    """Raise for single values and for whole groups of values that cannot be right in their unit, and for a
    negative uncertainty."""
    uncertainty = plots["uncertainty"]
    negative = plots.index[uncertainty < 0]
    if len(negative):
        raise DataError(
            f"{_where(plots, negative[0], path)}: uncertainty {uncertainty[negative[0]]:g} is below zero"
            f"{_more(negative)}",
            "give one standard deviation, empty where it is unknown",
        )
    for name, unit, rows in _groups(plots["variable"], units):
        measurand, values = MEASURANDS[name], plots.loc[rows, "value"]
        bad = rows[(values < measurand.lower) | (values > measurand.upper)]
        if len(bad):
            raise DataError(
                f"{_where(plots, bad[0], path)}: {name} = {values[bad[0]]:g} {measurand.unit} "
                f"(unit given: {unit!r}) cannot be right, "
                f"it lies outside {measurand.lower:g} to {measurand.upper:g}{_more(bad)}",
                "check the unit and the value",
            )
        if len(values) >= _SEVERAL and values.max() < measurand.largest:
            raise DataError(
                f"{_where(plots, rows[0], path)}: all {len(rows)} values of {name} in unit {unit!r} "
                f"are at most {values.max():g} {measurand.unit}, which cannot be right "
                f"for {measurand.long_name} (first: {values[rows[0]]:g})",
                "check the unit",
            )


def _groups(variables: pd.Series, units: pd.Series) -> Iterator[tuple[str, str, pd.Index]]:
    """Every combination of variable and unit, in order, with the index of its rows."""
    for name, unit in sorted(set(zip(variables, units, strict=True))):
        yield name, unit, variables.index[(variables == name) & (units == unit)]


def _where(table: pd.DataFrame, row: int, path: Path) -> str:
    return f"plot table {path}, row {row} (plot {table['plot_id'][row]})"


def _more(rows: pd.Index) -> str:
    return f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
