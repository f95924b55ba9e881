"""Read a table of field measurements and refuse what cannot be right.

A wrong unit makes a silent wrong score, so the unit column is not optional and
every value is checked against what a field can show. Formats, columns and places are read by
:mod:`canopyflow.archive.field_tables`.
"""

import difflib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import Geod
from shapely.geometry.base import BaseGeometry

from canopyflow.archive.field_tables import plots_named, positions, read_table, where_of
from canopyflow.archive.positions import missing, numbers_of, others
from canopyflow.atomic import atomic_file
from canopyflow.errors import DataError
from canopyflow.evaluation.measurands import (
    MEASURANDS,
    OBSERVED,
    WORDS,
    Measurand,
    factor,
    find,
    listed,
    word,
)
from canopyflow.evaluation.plot_dates import read_dates

log = logging.getLogger("canopyflow")

REQUIRED = ("plot_id", "date", "lon", "lat", "variable", "value", "unit")
_WORDS = ("site", "group", "land_cover")
COLUMNS = (
    *("plot_id", "date", "lon", "lat", "variable", "measurand", "value", "uncertainty"),
    *_WORDS,
    "footprint",
)
"""Columns of the table that :func:`read_plots` returns, values in the units of ``MEASURANDS``; ``variable``
is that of the products, ``measurand`` the table's own word for it; ``footprint`` is the plot's polygon (WKT
in degrees), "" where the table has a point."""

_SEVERAL = 3  # fewer values than this say nothing about the unit of a whole column

_FILLS = (-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0)
"""Numbers that stand for no value in somebody's tables."""

_APART = 1000.0
"""Metres between two places of one plot that are not those of one field."""

_FIRST_IMAGE = pd.Timestamp("2015-06-27")
"""Of Sentinel-2."""

_GEOD = Geod(ellps="WGS84")


def read_plots(path: Path, measurands: Mapping[str, str | None] | None = None) -> pd.DataFrame:
    """Field measurements of a local CSV, GeoJSON, GeoPackage, GeoParquet or Parquet file, checked, in the
    units of the products. docs/field_tables.md describes the files.

    ``measurands``: what words of the table's column ``variable`` mean, where that is not what
    :func:`canopyflow.evaluation.measurands.find` takes them for: ``{"LAI": "gai"}``; None leaves the rows
    out.

    Returns a frame with :data:`COLUMNS`: ``date`` is datetime64 (UTC, without a zone), ``lon`` and ``lat``
    degrees of WGS 84 (of a point inside, where there is a ``footprint``), ``value`` and ``uncertainty``
    float64 (uncertainty NaN where the table has none), ``site``, ``group``, ``land_cover`` and ``footprint``
    text, empty where the table has none. Rows of what nobody estimates (growth stage, height, biomass,
    yield), and rows without a value, are dropped with one log line. What may be wrong is warned of:
    coordinates that are rounded, one plot at places far apart, a measurement that is given twice, days before
    the first image.

    Raises
    ------
    DataError
        for a missing file or column, a file of another kind or with an unknown coordinate system, a date that
        is no day, coordinates that are no place, an unknown variable or unit, and
        values which cannot be right in their unit; with the row and the likely remedy.
    """
    path = Path(path)
    table = _estimated(read_table(path, REQUIRED), measurands or {}, path)
    where = where_of(table, path)
    plots = pd.DataFrame(
        {
            "plot_id": plots_named(table, path),
            "date": read_dates(table["date"], where),
            **positions(table, path),
            "variable": table["variable"],
            "measurand": table["measurand"],
            "value": numbers_of(table, "value", where),
            "uncertainty": numbers_of(table, "uncertainty", where, optional=True)
            if "uncertainty" in table
            else np.nan,
            **{name: table.get(name, "") for name in _WORDS},
        },
    )[list(COLUMNS)]
    scale = _factors(table, path)
    plots["value"] *= scale
    plots["uncertainty"] *= scale
    _check_values(plots, table["unit"], scale, where)
    _warn(plots, path)
    order = ["plot_id", "date", "variable", "lon", "lat", "value"]
    return plots.sort_values(order, kind="stable", ignore_index=True)


def plots_of(path: Path) -> pd.DataFrame:
    """The measurements of a table, or of the Parquet file that :func:`check_plots` made of one."""
    if path.suffix == ".parquet" and path.is_file():
        with path.open("rb") as file:
            is_parquet = file.read(4) == b"PAR1"
        # A column of units is of a table that nobody has checked yet.
        if is_parquet:
            names = set(pq.read_schema(path).names)
            if set(COLUMNS) <= names and "unit" not in names:
                return pd.read_parquet(path)
    return read_plots(path)


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
    log.info(
        "%s: %d measurements of %d plots, at %g to %g east, %g to %g north",
        path.name, len(plots), plots["plot_id"].nunique(),
        *(round(float(end), 3) for axis in ("lon", "lat") for end in (plots[axis].min(), plots[axis].max())),
    )  # fmt: skip
    return plots


def _check_inside(plots: pd.DataFrame, area: BaseGeometry, path: Path) -> None:
    """Raise DataError unless a plot lies in ``area``; say how many do not."""
    lon, lat = plots["lon"].to_numpy(), plots["lat"].to_numpy()
    inside: NDArray[np.bool_] = _within(area, lon, lat)
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
        mirrored = np.asarray(~inside & _within(area, lat, lon), bool)
        if mirrored.any():
            first = int(np.flatnonzero(mirrored)[0])
            log.warning(
                "%s: plot %s, at lon %g, lat %g, would lie inside with lon and lat swapped%s",
                path.name, plots["plot_id"].iloc[first], lon[first], lat[first], others(int(mirrored.sum())),
            )  # fmt: skip


def _within(area: BaseGeometry, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether points lie in ``area``, whose longitudes go on beyond 180 degrees."""
    found = [shapely.intersects_xy(area, lon + turn, lat) for turn in (-360.0, 0.0, 360.0)]
    return np.asarray(np.logical_or.reduce(found), bool)


def _estimated(table: pd.DataFrame, measurands: Mapping[str, str | None], path: Path) -> pd.DataFrame:
    """Rows of variables that are estimated, under the product's name, and with a value."""
    meant = _meant(table, measurands, path)
    where = where_of(table, path)
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
            close = _near(word(text))
            raise DataError(
                f"{where(rows.index[0])}: variable {text!r} is unknown{others(len(rows))}",
                (f"did you mean {close[0]!r}? " if close else "")
                + f"use one of {listed()}; or say in evaluation.measurands what it is, null to leave it out",
            )
        if known[text] is None:
            dropped[text] = len(rows)
    table = table.assign(variable=table["variable"].map(known), measurand=table["variable"].str.strip())
    table = table[table["variable"].notna()]
    empty = missing(table["value"]) if len(table) else pd.Series(False, index=table.index)
    if dropped or empty.any():
        named = ", ".join(f"{name} ({count})" for name, count in dropped.items()) or "none"
        log.info(
            "%s: dropped rows of variables that are not estimated: %s; rows without a value: %d",
            path.name,
            named,
            int(empty.sum()),
        )
    return table[~empty]


def _near(text: str) -> list[str]:
    """The word that somebody may have meant, if there is one: of the same letters, or nearly the same."""
    same = [known for known in WORDS if sorted(known) == sorted(text)]
    return same[:1] or difflib.get_close_matches(text, WORDS, 1, 0.75)


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


def _factors(table: pd.DataFrame, path: Path) -> pd.Series:
    """Per row, what its value is multiplied by; raises for a unit that the variable does not have."""
    scale = pd.Series(1.0, index=table.index)
    where = where_of(table, path)
    for name, unit, rows in _groups(table["variable"], table["unit"]):
        measurand = MEASURANDS[name]
        known = factor(measurand, unit)
        if known is None:
            close = difflib.get_close_matches(unit, [each for each in measurand.factors if each], 1)
            raise DataError(
                f"{where(rows[0])}: unit {unit!r} of {name} = {table['value'][rows[0]]} "
                f"is not a unit of {measurand.long_name}{others(len(rows))}",
                (f"did you mean {close[0]!r}? " if close else "")
                + f"use one of {', '.join(repr(u) for u in measurand.factors)}"
                + (f", per {measurand.basis} area" if measurand.basis else ""),
            )
        scale[rows] = known
    return scale


def _check_values(
    plots: pd.DataFrame, units: pd.Series, scale: pd.Series, where: Callable[[int], str]
) -> None:
    """Raise for single values and for whole groups of values that cannot be right in their unit, and for a
    negative uncertainty."""
    uncertainty = plots["uncertainty"]
    negative = plots.index[uncertainty < 0]
    if len(negative):
        raise DataError(
            f"{where(negative[0])}: uncertainty {uncertainty[negative[0]]:g} is below zero"
            f"{others(len(negative))}",
            "give one standard deviation, empty where it is unknown",
        )
    for name, unit, rows in _groups(plots["variable"], units):
        measurand, values = MEASURANDS[name], plots.loc[rows, "value"]
        bad = rows[(values < measurand.lower) | (values > measurand.upper)]
        if len(bad):
            raise DataError(
                f"{where(bad[0])}: {name} = {values[bad[0]]:g} {measurand.unit} "
                f"(unit given: {unit!r}) cannot be right, "
                f"it lies outside {measurand.lower:g} to {measurand.upper:g}{others(len(bad))}",
                _value_remedy(measurand, values[bad[0]] / scale[bad[0]], scale[bad[0]]),
            )
        shares = "%" in measurand.factors and scale[rows[0]] != 1.0
        if len(values) >= _SEVERAL and (
            values.max() < measurand.largest or (shares and 0 < values.max() <= 0.01)
        ):
            raise DataError(
                f"{where(rows[0])}: all {len(rows)} values of {name} in unit {unit!r} "
                f"are at most {values.max():g} {measurand.unit}, which cannot be right "
                f"for {measurand.long_name} (first: {values[rows[0]]:g})",
                "check the unit: these look like parts of 1" if shares else "check the unit",
            )


def _value_remedy(measurand: Measurand, written: float, known: float) -> str:
    """What a value that cannot be right may be: no value, or one in another unit of its variable."""
    if written in _FILLS:
        return "leave the field empty where nothing was measured"
    fits = [
        unit
        for unit, other in measurand.factors.items()
        if unit and other != known and measurand.lower <= written * other <= measurand.upper
    ]
    return "check the unit and the value" + (f": is it in {' or '.join(map(repr, fits))}?" if fits else "")


def _warn(plots: pd.DataFrame, path: Path) -> None:
    """Say what may be wrong with a table, once for each kind."""
    keys = ["plot_id", "date", "variable", "measurand", "value", "lon", "lat", "site"]
    again = plots.duplicated(keys)
    if again.any():
        row = plots.index[again][0]
        log.warning(
            "%s, row %d (plot %s): the same measurement stands in a row before%s; it will count twice",
            path.name, row, plots.at[row, "plot_id"], others(int(again.sum())),
        )  # fmt: skip
    early = plots["date"] < _FIRST_IMAGE
    if early.any():
        row = plots.index[early][0]
        log.warning(
            "%s, row %d (plot %s): %s is before the first image of Sentinel-2%s",
            path.name, row, plots.at[row, "plot_id"], str(plots.at[row, "date"])[:10],
            others(int(early.sum())),
        )  # fmt: skip
    first = plots.groupby(["plot_id", "site"], sort=False)[["lon", "lat"]].transform("first")
    a, b = (each[["lon", "lat"]].to_numpy(np.float64).T for each in (first, plots))
    away: pd.Series[float] = pd.Series(np.asarray(_GEOD.inv(*a, *b)[2], np.float64), index=plots.index)
    if (away > _APART).any():
        row = away.index[away > _APART][0]
        log.warning(
            "%s, row %d: plot %s lies %.1f km from where another row has it%s; "
            "is it a mistake, or two plots of one name?",
            path.name, row, plots.at[row, "plot_id"], away[row] / 1000.0, others(int((away > _APART).sum())),
        )  # fmt: skip


def _groups(variables: pd.Series, units: pd.Series) -> Iterator[tuple[str, str, pd.Index]]:
    """Every combination of variable and unit, in order, with the index of its rows."""
    for name, unit in sorted(set(zip(variables, units, strict=True))):
        yield name, unit, variables.index[(variables == name) & (units == unit)]
