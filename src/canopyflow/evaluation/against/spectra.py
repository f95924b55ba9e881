"""Field plots with the spectra of their pixels: what baselines are fitted to, and scored on without a map.

The pixel and the day are those that :mod:`canopyflow.evaluation.against.plots` finds in maps: a pixel is
clear here if a map has a posterior there.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray

from canopyflow.atomic import atomic_file
from canopyflow.cubes.stores import PixelAngles, open_masks, open_scenes
from canopyflow.evaluation.against.plots import NOT_ESTIMATED, OK, blank, locate, nearest
from canopyflow.evaluation.field_plots import read_plots
from canopyflow.evaluation.sites import sites_of
from canopyflow.inference.blocks import informing
from canopyflow.inference.summaries import DRAWN, Wanted, summarise
from canopyflow.models.bundle import load
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.runtime import one_thread
from canopyflow.observations.observation import pixels, platform_index
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import ANGLES, STATISTICS

log = logging.getLogger("canopyflow")

_FOUND = ("tile", "item", "acquired", "days")
"""What a match says of the acquisition."""

Stores = Sequence[tuple[Path, Path]]
"""Scene store and mask store of each tile and month."""


def match_spectra(
    plots: Path, stores: Stores, out: Path, *, bands: Sequence[str], max_days: float
) -> pd.DataFrame:
    """Match every measurement with one pixel of one acquisition and write its spectrum (Parquet).

    Parameters
    ----------
    plots: table of measurements, as :func:`canopyflow.evaluation.against.plots.match_plots` takes it.
    stores: scenes and masks of all tiles and months.
    out: the Parquet file; columns of a matchup table without a posterior, and ``site platform sun_zenith
        view_zenith relative_azimuth`` (degrees) and a column per band (reflectance); ``flags``: what the
        pixel inherits from its scene. Measurements without a match have a status that says why, and no
        spectrum.
    bands: those of the campaign; a pixel without one of them is not clear.
    max_days: how far an acquisition may be from the measurement, in days, inclusive.
    """
    measured = pd.read_parquet(plots) if plots.suffix == ".parquet" else read_plots(plots)
    table = blank(measured, "")
    table["site"] = sites_of(measured)
    table["platform"] = pd.Series(pd.NA, index=table.index, dtype="string")
    for column in (*ANGLES, *bands):
        table[column] = np.nan
    candidates = []
    for scenes, masks in sorted(stores):
        inside, pairs = _candidates(measured, scenes, masks, bands, max_days)
        table.loc[inside, "status"] = f"no clear acquisition within {max_days:g} days"
        candidates.append(pairs)
    if any(len(pairs) for pairs in candidates):
        chosen = nearest(pd.concat([pairs for pairs in candidates if len(pairs)], ignore_index=True))
        rows = chosen["row"].to_numpy()
        for column in (*_FOUND, "platform", *ANGLES, *bands, "flags"):
            table.loc[rows, column] = chosen[column].to_numpy()
        table.loc[rows, "status"] = OK
    table["flags"] = table["flags"].astype("UInt8")
    with atomic_file(out) as scratch:
        table.to_parquet(scratch, engine="pyarrow", index=False)
    matched = table["status"] == OK
    sites = table.loc[matched, "site"].nunique()
    log.info("%d of %d measurements have a spectrum, at %d sites", matched.sum(), len(table), sites)
    return table


def _candidates(
    measured: pd.DataFrame, scenes: Path, masks: Path, bands: Sequence[str], max_days: float
) -> tuple[NDArray[np.intp], pd.DataFrame]:
    """Of one tile and month: the measurements inside its grid, and all pairs with a clear, near acquisition:
    ``row days tile item acquired platform flags``, angles and bands."""
    with open_scenes(scenes) as store, open_masks(masks) as mask:
        row, column = locate(store, measured["lon"].to_numpy(), measured["lat"].to_numpy())
        inside = np.flatnonzero(row >= 0)
        acquired = pd.DatetimeIndex(store["time"].values)
        visits = measured["date"].dt.normalize().to_numpy()[inside]
        days = (acquired.normalize().to_numpy()[None, :] - visits[:, None]) / np.timedelta64(1, "D")
        which, when = np.nonzero(np.abs(days) <= max_days)
        if not len(which):
            return inside, pd.DataFrame()
        y, x = row[inside[which]], column[inside[which]]
        place = {
            axis: xr.DataArray(index, dims="pair") for axis, index in (("time", when), ("y", y), ("x", x))
        }
        spectra = store["reflectance"].sel(band=list(bands)).isel(place).transpose("pair", "band").values
        field = PixelAngles(store)
        angles = np.array([_at(field, int(t), int(i), int(j)) for t, i, j in zip(when, y, x, strict=True)])
        clear = mask["valid"].isel(place).values & np.isfinite(spectra).all(1) & np.isfinite(angles).all(1)
        quality, flags = mask["quality"].isel(place).values, np.zeros(len(which), np.uint8)
        for bit, flag in informing(mask["quality"].attrs).items():
            flags |= np.where(quality & bit, flag, 0).astype(np.uint8)
        pairs = pd.DataFrame(
            {
                "row": inside[which],
                "days": days[which, when],
                "tile": str(store.attrs["tile"]),
                "item": np.array(store["item"].values.tolist(), dtype=object)[when],
                "acquired": acquired[when],
                "platform": np.array(store["platform"].values.tolist(), dtype=object)[when],
                "flags": flags,
                **dict(zip(ANGLES, angles.T, strict=True)),
                **dict(zip(bands, spectra.T, strict=True)),
            }
        )
        return inside, pairs[clear]


def _at(field: PixelAngles, time: int, row: int, column: int) -> NDArray[np.float32]:
    """Angles (3,) of one pixel."""
    return field.at(time, slice(row, row + 1), slice(column, column + 1))[:, 0, 0]


def match_model(
    spectra: Path, bundle: Path, out: Path, *, model: str, samples: int, seed: int
) -> pd.DataFrame:
    """Matchups of one model from the spectra of :func:`match_spectra`, without maps, and write them as
    :func:`canopyflow.evaluation.against.plots.match_plots` does.

    A model that was fitted to the plots of a site has not seen that site where it is asked about it: its
    ``without(site)`` answers there. ``samples``: draws per pixel.
    """
    table, estimator = pd.read_parquet(spectra), load(bundle)
    table["model"] = model
    without = getattr(estimator, "without", None)
    matched = table["status"].to_numpy() == OK
    sites = table["site"].to_numpy(dtype=object)
    for site in sorted(set(sites[matched])) if without else [None]:
        rows = np.flatnonzero(matched if site is None else matched & (sites == site))
        answers: Estimator = estimator if without is None else without(site)
        with one_thread():
            _fill(table, rows, answers, samples, seed_of("plots", seed, site or ""))
    table = table.drop(columns=["platform", *ANGLES, *estimator.bands])
    with atomic_file(out) as scratch:
        table.to_parquet(scratch, engine="pyarrow", index=False)
    counts = table["status"].value_counts().sort_index()
    told = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none"
    log.info("matchups of %s: %d measurements: %s", model, len(table), told)
    return table


def _fill(table: pd.DataFrame, rows: NDArray[np.intp], estimator: Estimator, samples: int, seed: int) -> None:
    """Write the posterior of the matched ``rows`` of ``table`` into them."""
    estimated = [quantity.name for quantity in estimator.estimates]
    wanted = table["variable"].to_numpy(dtype=object)[rows]
    silent = rows[~np.isin(wanted.astype(str), estimated)]
    for column in (*_FOUND, "flags"):
        table.loc[silent, column] = pd.NaT if column == "acquired" else pd.NA
    table.loc[silent, "status"] = NOT_ESTIMATED
    rows, wanted = (each[np.isin(wanted.astype(str), estimated)] for each in (rows, wanted))
    if not len(rows):
        return
    part = table.iloc[rows]
    reflectance, geometry = (
        torch.from_numpy(part[list(names)].to_numpy(np.float32)) for names in (estimator.bands, ANGLES)
    )
    platform = torch.tensor([platform_index(name) for name in part["platform"]])
    seen = pixels(reflectance, geometry, platform, estimator.bands)
    outputs = sorted(set(wanted))
    summary = summarise(estimator, seen, Wanted(outputs, summaries=DRAWN, samples=samples), seed)
    own = [outputs.index(name) for name in wanted]
    table.loc[rows, list(STATISTICS)] = summary.stats[np.arange(len(rows)), own].astype(float)
    table.loc[rows, "fit"] = summary.fit.astype(float)
    table.loc[rows, "flags"] = part["flags"].to_numpy(np.uint8) | summary.flags
