"""Matchups of a model without maps: it is asked about the spectra of the plots' pixels."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from canopyflow.atomic import atomic_file
from canopyflow.evaluation.against.plots import NOT_ESTIMATED, OK
from canopyflow.evaluation.against.spectra import FOUND
from canopyflow.inference.summaries import DRAWN, Wanted, summarise
from canopyflow.models.bundle import load
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.runtime import one_thread
from canopyflow.observations.observation import pixels, platform_index
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import ANGLES, STATISTICS

log = logging.getLogger("canopyflow")


def match_model(
    spectra: Path, bundle: Path, out: Path, *, model: str, samples: int, seed: int
) -> pd.DataFrame:
    """Matchups of one model from the spectra of
    :func:`canopyflow.evaluation.against.spectra.match_spectra`, without maps, and write them as
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
    for column in (*FOUND, "flags"):
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
