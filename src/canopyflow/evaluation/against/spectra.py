"""Field plots with the spectra of their pixels: what models without maps are fitted to and asked about.

The pixel and the day are those that :mod:`canopyflow.evaluation.against.plots` finds in maps: a pixel is
clear here if a map has a posterior there.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from canopyflow.atomic import atomic_file
from canopyflow.cubes.stores import PixelAngles, open_masks, open_scenes
from canopyflow.evaluation.against.plots import OK, blank, nearest, pairs_near, pixels_of
from canopyflow.evaluation.field_plots import plots_of
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
    measured = plots_of(plots)
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
        inside, pairs = pairs_near(store, measured, max_days)
        if not len(pairs):
            return inside, pairs
        place, when = pixels_of(pairs), pairs["time"].to_numpy()
        spectra = store["reflectance"].sel(band=list(bands)).isel(place).transpose("pair", "band").values
        field = PixelAngles(store)
        angles = np.array([_at(field, *map(int, at)) for at in pairs[["time", "y", "x"]].to_numpy()])
        clear = mask["valid"].isel(place).values & np.isfinite(spectra).all(1) & np.isfinite(angles).all(1)
        quality, flags = mask["quality"].isel(place).values, np.zeros(len(pairs), np.uint8)
        for bit, flag in informing(mask["quality"].attrs).items():
            flags |= np.where(quality & bit, flag, 0).astype(np.uint8)
        pairs["platform"] = np.array(store["platform"].values.tolist(), dtype=object)[when]
        pairs["flags"] = flags
        for column, values in zip((*ANGLES, *bands), (*angles.T, *spectra.T), strict=True):
            pairs[column] = values
        return inside, pairs[clear]


def _at(field: PixelAngles, time: int, row: int, column: int) -> NDArray[np.float32]:
    """Angles (3,) of one pixel."""
    return field.at(time, slice(row, row + 1), slice(column, column + 1))[:, 0, 0]
