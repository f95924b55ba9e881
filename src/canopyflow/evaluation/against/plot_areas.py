"""Plots that cover more than the pixel under them: the posterior of the mean over their footprint.

A footprint is a parcel (:mod:`canopyflow.inference.parcels`): the same draws, weights and coupling.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from canopyflow.errors import DataError
from canopyflow.evaluation.against.plots import (
    NEAREST,
    NOT_ESTIMATED,
    OK,
    OUTSIDE,
    blank,
    matched,
    with_pixels,
    written,
)
from canopyflow.evaluation.field_plots import plots_of
from canopyflow.evaluation.label_error import LabelError
from canopyflow.inference.parcels.columns import STATISTICS
from canopyflow.inference.parcels.command import Asked, estimator_of, read_correlation
from canopyflow.inference.parcels.extract import Month, extract
from canopyflow.inference.stored import open_product

FOOTPRINT = "footprint"
"""Column of a plot table: polygon of the plot (WKT, degrees), empty for a point."""

LEAST_CLEAR = 0.5
"""Share of a footprint that is clear at least: what the rest is like nobody saw."""

OF_PLOT = "plot"
"""The word for: the polygon that the plot table gives."""


@dataclass(frozen=True)
class Areas:
    """``radius``: metres around the points of plots without a polygon; None: these stay points. ``bundle``,
    ``stores`` (scenes and masks of each product store), ``correlation``, ``asked``: as for parcels."""

    radius: float | None
    bundle: Path
    stores: Mapping[Path, tuple[Path, Path]]
    correlation: Path
    asked: Asked = field(default_factory=Asked)


def match_areas(
    plots: Path,
    out: Path,
    areas: Areas,
    *,
    max_days: float,
    model: str,
    error: LabelError | None = None,
    time: str = NEAREST,
) -> pd.DataFrame:
    """Match every measurement with the mean over its footprint, as
    :func:`canopyflow.evaluation.against.plots.match_plots` matches it with a pixel; those without a footprint
    are matched with the pixel under them.

    An acquisition counts if :data:`LEAST_CLEAR` of the footprint is clear. The mean has no ``fit`` and no
    ``ess``.
    """
    measured, products = plots_of(plots), sorted(areas.stores)
    shapes = footprints_of(measured, areas.radius)
    has_area = np.array([shape is not None for shape in shapes], bool)
    table = with_pixels(blank(measured, model, error), measured, ~has_area, products, max_days, time)
    if has_area.any() and products:
        pairs = area_candidates(measured, shapes, products, max_days, areas)
        table = matched(table, pairs, time, _fill)
        with open_product(products[0]) as product:
            strange = ~measured["variable"].isin([str(name) for name in product.data_vars]).to_numpy()
        table.loc[has_area & strange & (table["status"] != OUTSIDE).to_numpy(), "status"] = NOT_ESTIMATED
    return written(table, out, model)


def _fill(table: pd.DataFrame, chosen: pd.DataFrame) -> None:
    """Copy the statistics of the ``chosen`` pairs into their rows of ``table``."""
    rows = chosen["row"].to_numpy()
    for column in ("tile", "item", "acquired", "days", "flags", *STATISTICS):
        table.loc[rows, column] = chosen[column].to_numpy()
    table.loc[rows, "status"] = OK


def footprints_of(measured: pd.DataFrame, radius: float | None) -> NDArray[np.object_]:
    """The polygon (degrees) of each measurement; None for one that has none. Raises DataError for a footprint
    that is no polygon."""
    out = np.full(len(measured), None, dtype=object)
    given = measured[FOOTPRINT] if FOOTPRINT in measured else pd.Series("", index=measured.index)
    known: dict[tuple[str, float, float], BaseGeometry | None] = {}
    places = zip(given.fillna(""), measured["lon"], measured["lat"], measured["plot_id"], strict=True)
    for i, (text, lon, lat, plot) in enumerate(places):
        if (text, lon, lat) not in known:
            known[text, lon, lat] = _polygon(text, lon, lat, str(plot), radius)
        out[i] = known[text, lon, lat]
    return out


def _polygon(text: str, lon: float, lat: float, plot: str, radius: float | None) -> BaseGeometry | None:
    if text:
        try:
            shape = shapely.from_wkt(text)
        except shapely.GEOSException:
            shape = None
        if shape is None or shape.geom_type not in ("Polygon", "MultiPolygon") or not shape.is_valid:
            raise DataError(f"the footprint of plot {plot} is no polygon", "mend it, or leave it empty")
        return shape
    if radius is None:
        return None
    local = CRS.from_proj4(f"+proj=aeqd +lat_0={lat} +lon_0={lon} +datum=WGS84 +units=m")
    disc = gpd.GeoSeries([shapely.Point(0, 0).buffer(radius, quad_segs=32)], crs=local)
    return disc.to_crs(4326).iloc[0]


def area_candidates(
    measured: pd.DataFrame, shapes: NDArray[np.object_], stores: Sequence[Path], max_days: float, areas: Areas
) -> pd.DataFrame:
    """All pairs of a measurement with a footprint (``row``) and an acquisition within ``max_days`` that shows
    :data:`LEAST_CLEAR` of it: ``row days tile item acquired flags`` and the statistics of its variable."""
    rows = np.flatnonzero(shapes != None)  # noqa: E711 (of each element)
    keys = {id(shapes[i]): f"{n:06d}" for n, i in reversed(list(enumerate(rows)))}
    named = pd.DataFrame(
        {
            "row": rows,
            "parcel": [keys[id(shapes[i])] for i in rows],
            "variable": measured["variable"].to_numpy()[rows],
            "visit": measured["date"].dt.normalize().to_numpy()[rows],
        }
    )
    by_name = {keys[id(shapes[i])]: shapes[i] for i in rows}
    parcels = gpd.GeoDataFrame({"parcel": list(by_name)}, geometry=list(by_name.values()), crs=4326)
    found = [_of_store(store, parcels, named, max_days, areas) for store in stores]
    pairs = pd.concat(
        [pd.DataFrame(columns=["row"]), *(part for part in found if len(part))], ignore_index=True
    )
    return pairs.astype({"row": int})


def _of_store(
    store: Path, parcels: gpd.GeoDataFrame, named: pd.DataFrame, max_days: float, areas: Areas
) -> pd.DataFrame:
    """The pairs of one tile and month."""
    with open_product(store) as product:
        acquired = pd.DatetimeIndex(product["time"].values).normalize().to_numpy()
    days = (acquired[:, None] - named["visit"].to_numpy()[None, :]) / np.timedelta64(1, "D")
    times = np.flatnonzero((np.abs(days) <= max_days).any(axis=1)).tolist()
    if not times:
        return pd.DataFrame()
    month = Month(store, *areas.stores[store])
    model = estimator_of(areas.bundle, store, areas.asked)
    table = extract(model, month, parcels, read_correlation(areas.correlation), areas.asked.options, times)
    pairs = named.merge(table[table["clear_share"] >= LEAST_CLEAR], on=["parcel", "variable"])
    pairs["acquired"] = pairs["time"].astype("datetime64[ns]")
    pairs["days"] = (pairs["acquired"].dt.normalize() - pairs["visit"]) / pd.Timedelta(days=1)
    pairs = pairs[pairs["days"].abs() <= max_days]
    return pairs[["row", "days", "tile", "item", "acquired", "flags", *STATISTICS]]
