"""Field plots with the spectra of their pixels: what models without maps are fitted to and asked about.

The pixel and the day are those that :mod:`canopyflow.evaluation.against.plots` finds in maps: a pixel is
clear here if a map has a posterior there.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from canopyflow.atomic import atomic_file
from canopyflow.cubes.stores import PixelAngles, open_masks, open_scenes
from canopyflow.evaluation.against.plots import OK, blank, locate, nearest
from canopyflow.evaluation.field_plots import read_plots
from canopyflow.evaluation.label_error import LabelError
from canopyflow.evaluation.sites import sites_of
from canopyflow.inference.doubts import informing
from canopyflow.vocabulary import ANGLES

log = logging.getLogger("canopyflow")

FOUND = ("tile", "item", "acquired", "days")
"""What a match says of the acquisition."""

Stores = Sequence[tuple[Path, Path]]
"""Scene store and mask store of each tile and month."""


def match_spectra(
    plots: Path,
    stores: Stores,
    out: Path,
    *,
    bands: Sequence[str],
    max_days: float,
    error: LabelError | None = None,
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
    error: of labels without an uncertainty, as for matchups with maps.
    """
    measured = pd.read_parquet(plots) if plots.suffix == ".parquet" else read_plots(plots)
    table = blank(measured, "", error)
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
        for column in (*FOUND, "platform", *ANGLES, *bands, "flags"):
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
