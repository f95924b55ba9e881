"""Trajectories for a page: the posterior of plots and of parcels through the season."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from canopyflow.evaluation.against.plots import OK, locate, pixels_of
from canopyflow.evaluation.measurands import MEASURANDS
from canopyflow.evaluation.pages.maps_data import Products
from canopyflow.inference.stored import open_product, statistics_of
from canopyflow.progress import track
from canopyflow.vocabulary import MASKED

PLOTS, PARCELS, VARIABLES = 40, 60, 3
"""Of these, as many are shown."""

POINTS = 20_000
"""Points of all lines of a kind at most: they take a megabyte."""

FLAGGED, CLEAR = 0.1, 0.5
"""A parcel is marked from this share of its clear pixels with a flag, and below this share of it that is
clear: one pixel of a hundred says nothing against a mean, and a corner of a field is not the field."""

BAND = ("q05", "q50", "q95")

Rows = pd.DataFrame
"""``name model variable date q05 q50 q95`` and ``doubtful``, one row per point of a line."""


def plots_to_show(matchups: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Measurements of the plots that were matched most often: ``plot_id date lon lat variable value error``.

    Plots without a match come last; all tables of a campaign hold the same measurements.
    """
    if not matchups:
        return pd.DataFrame(columns=["plot_id", "date", "lon", "lat", "variable", "value", "error"])
    table = next(iter(matchups.values())).copy()
    table["plot_id"] = table["plot_id"].astype(str)
    matched = pd.concat([each["status"] == OK for each in matchups.values()], axis=1).any(axis=1)
    count = matched.groupby(table["plot_id"]).sum().sort_index().sort_values(ascending=False, kind="stable")
    plots = list(count.index[:PLOTS])
    order = ["lai", "gai", "ccc", "fapar", *MEASURANDS, *sorted(set(table["variable"]))]
    variables = sorted(set(table["variable"]), key=order.index)[:VARIABLES]
    keep = table["plot_id"].isin(plots) & table["variable"].isin(variables)
    return table.loc[keep, ["plot_id", "date", "lon", "lat", "variable", "value", "error"]]


def plot_series(measured: pd.DataFrame, products: Products, doubtful: int) -> Rows:
    """Posterior of the pixel around each plot on every clear date.

    Args:
        measured: of :func:`plots_to_show`.
        products: product stores of each model.
        doubtful: flags that mark a point.
    """
    places = measured.groupby("plot_id", sort=False)[["lon", "lat"]].first()
    variables = list(dict.fromkeys(measured["variable"]))
    parts = [
        rows
        for model, stores in products.items()
        for store in track(sorted(stores), f"plots in the maps of {model}")
        for rows in _of_store(store, places, variables, model, doubtful)
    ]
    return _joined(parts)


def _joined(parts: Sequence[Rows]) -> Rows:
    """One table; of what lies in two tiles, and so is seen twice on a day, the row that comes first."""
    columns = ["name", "model", "variable", "date", *BAND, "doubtful"]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return rows.drop_duplicates(["name", "model", "variable", "date"], ignore_index=True)


def _of_store(
    store: Path, places: pd.DataFrame, variables: Sequence[str], model: str, doubtful: int
) -> Iterable[Rows]:
    with open_product(store) as product:
        y, x = locate(product, places["lon"].to_numpy(), places["lat"].to_numpy())
        inside = np.flatnonzero(y >= 0)
        there = statistics_of(product)
        if not len(inside) or not set(BAND) <= set(there):
            return
        which, when = (each.ravel() for each in np.meshgrid(inside, np.arange(product.sizes["time"])))
        pixel = pixels_of(pd.DataFrame({"time": when, "y": y[which], "x": x[which]}))
        flags = product["flags"].reset_coords(drop=True).isel(pixel).values.astype(int)
        clear = (flags & MASKED) == 0
        dates = pd.DatetimeIndex(product["time"].values).strftime("%Y-%m-%d").to_numpy()
        for variable in variables:
            if variable not in product:
                continue
            values = (
                product[variable]
                .reset_coords(drop=True)
                .isel(pixel)
                .sel(statistic=list(BAND))
                .transpose("pair", "statistic")
            )
            low, middle, high = values.values[clear].T
            yield pd.DataFrame(
                {
                    "name": places.index.to_numpy()[which][clear],
                    "model": model,
                    "variable": variable,
                    "date": dates[when][clear],
                    "q05": low,
                    "q50": middle,
                    "q95": high,
                    "doubtful": (flags[clear] & doubtful) > 0,
                }
            )


def parcel_series(tables: Sequence[Path], doubtful: int) -> Rows:
    """The same of parcels, from the tables of ``canopyflow extract`` (Parquet), one per model.

    What marks a pixel marks a parcel from a share of it (:data:`FLAGGED`, :data:`CLEAR`). Of a parcel in two
    tiles that one is taken where more of it is clear.
    """
    wanted = ["parcel", "time", "tile", "variable", *BAND, "clear_share", "flags", "flagged_share"]
    parts = []
    for path in sorted(tables):
        table = pd.read_parquet(path, columns=wanted).dropna(subset=list(BAND))
        names = list(dict.fromkeys(table["parcel"].astype(str)))[:PARCELS]
        order = ["lai", "gai", "ccc", "fapar", *sorted(set(table["variable"]))]
        variables = sorted(set(table["variable"]), key=order.index)[:VARIABLES]
        table = table[table["parcel"].astype(str).isin(names) & table["variable"].isin(variables)]
        # Names keep their order, and of two tiles the clearer comes first.
        order_of = table["parcel"].astype(str).map(names.index)
        table = table.assign(order=order_of, hidden=-table["clear_share"])
        table = table.sort_values(["order", "hidden", "tile"], kind="stable")
        parts.append(
            pd.DataFrame(
                {
                    "name": table["parcel"].astype(str),
                    "model": path.stem,
                    "variable": table["variable"],
                    "date": pd.DatetimeIndex(table["time"]).strftime("%Y-%m-%d"),
                    **{name: table[name] for name in BAND},
                    "doubtful": (
                        ((table["flags"].astype(int) & doubtful) > 0) & (table["flagged_share"] >= FLAGGED)
                    )
                    | (table["clear_share"] < CLEAR),
                }
            )
        )
    return _joined(parts)


def told(rows: Rows, measured: pd.DataFrame | None = None) -> dict[str, Any] | None:
    """Lines as plain values for a page; None if there are none.

    ``{"names", "variables", "models", "lines": {name: {variable: {model: [[date, q05, q50, q95, doubtful],
    ...]}}}, "measured": {name: {variable: [[date, value, error], ...]}}, "left_out"}``, dates as ISO text.
    """
    if rows.empty:
        return None
    kept = rows
    names = list(dict.fromkeys(rows["name"]))
    while len(kept) > POINTS and len(names) > 1:
        names = names[: max(1, len(names) // 2)]
        kept = rows[rows["name"].isin(names)]
    if measured is not None:
        # In the order of the plots: those with most matches first.
        names = [name for name in dict.fromkeys(measured["plot_id"]) if name in set(names)]
    kept = kept.sort_values(["name", "variable", "model", "date"], kind="stable")
    lines: dict[str, Any] = {}
    for (name, variable, model), group in kept.groupby(["name", "variable", "model"], sort=False):
        points = [
            [date, _short(low), _short(middle), _short(high), int(doubt)]
            for date, low, middle, high, doubt in zip(
                group["date"], group["q05"], group["q50"], group["q95"], group["doubtful"], strict=True
            )
        ]
        lines.setdefault(str(name), {}).setdefault(str(variable), {})[str(model)] = points
    count = rows["name"].nunique()
    return {
        "names": names,
        "variables": list(dict.fromkeys(rows["variable"])),
        "models": list(dict.fromkeys(rows["model"])),
        "lines": lines,
        "measured": _measured(measured, names) if measured is not None else {},
        "left_out": [f"{len(names)} of {count}"] if len(names) < count else [],
    }


def _measured(measured: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    rows = measured[measured["plot_id"].isin(names)].sort_values(["plot_id", "variable", "date"])
    dates = pd.DatetimeIndex(rows["date"]).strftime("%Y-%m-%d")
    columns = (rows[name] for name in ("plot_id", "variable", "value", "error"))
    for date, name, variable, value, error in zip(dates, *columns, strict=True):
        of = out.setdefault(str(name), {}).setdefault(str(variable), [])
        of.append([date, _short(value), _short(error)])
    return out


def _short(value: Any) -> float | None:
    """Four digits are enough to draw; None for what is not finite."""
    return float(f"{float(value):.4g}") if np.isfinite(float(value)) else None
