"""Seasons as they were seen, with the noise and the clouds that they were observed with."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from canopyflow.cubes.seasons import open_seasons
from canopyflow.observations.observation import APART, Observation, Sample, View
from canopyflow.observations.sources.contract import Source, check_bands, check_platforms

WITHIN = 1.0 / 3.0
"""Days between passes on one day; there are three satellites."""


class Seasons(Source):
    """A season cube."""

    view: ClassVar[View] = View.SEASON

    def load(
        self,
        path: str | Path,
        bands: Sequence[str],
        platforms: Sequence[str],
        most: int | None = None,
        seed: int = 0,
    ) -> Sample:
        """As the contract says; a cube without a season gives a sample of length 0.

        Dates that only fill up a season come after all others, each a few days after the one before. Passes
        of several satellites on one day count as a third of a day apart: a prior that takes a day for one
        value would weigh the least difference between them beyond all measure.
        """
        store = open_seasons(Path(path))
        check_bands(store["band"].values.tolist(), bands, path, "run the cut_seasons stage again")
        valid, numbering = store["valid"].values, store["platform"].values.astype(np.int64)
        check_platforms(np.unique(numbering[valid]).tolist(), platforms, path)
        if most is not None:
            chosen = np.sort(np.random.default_rng(seed).permutation(len(valid))[:most])
            store, valid, numbering = store.isel(season=chosen), valid[chosen], numbering[chosen]
        values = np.ascontiguousarray(store["reflectance"].sel(band=list(bands)).values)
        # What is valid has all of its bands, and what is not is no number in the store.
        there = torch.from_numpy(valid).unsqueeze(-1).expand(values.shape)
        seen = Observation(
            reflectance=torch.from_numpy(np.nan_to_num(values)),
            valid=there.clone(),
            geometry=torch.from_numpy(store["angles"].values),
            platform=torch.from_numpy(numbering),
            bands=tuple(bands),
            view=View.SEASON,
            day=torch.from_numpy(_filled_up(store["day"].values.astype(np.float32))),
        )
        return Sample(seen, None, torch.zeros(len(seen), dtype=torch.bool))


def _filled_up(day: NDArray[np.float32]) -> NDArray[np.float32]:
    """Days (n, date) that rise up to the last pass of a season, with those behind it rising on."""
    if not day.size:
        return day
    # Two satellites may have passed on the last day.
    last = day.shape[1] - 1 - day[:, ::-1].argmax(1)[:, None]
    behind = np.maximum(np.arange(day.shape[1]) - last, 0)
    rising = np.where(behind > 0, day.max(1)[:, None] + APART * behind, day)
    same = np.zeros(day.shape, np.float32)
    for date in range(1, day.shape[1]):
        again = rising[:, date] == rising[:, date - 1]
        same[:, date] = np.where(again, same[:, date - 1] + WITHIN, 0.0)
    return (rising + same).astype(np.float32)


SOURCE = Seasons
