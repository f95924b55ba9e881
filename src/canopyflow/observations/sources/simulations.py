"""Simulated spectra with the variables behind them; noise is drawn anew whenever they are used."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from canopyflow.cubes.simulations import open_simulations
from canopyflow.errors import DataError
from canopyflow.observations.observation import Sample, complete_pixels
from canopyflow.observations.sources.contract import Source, check_bands, check_platforms


class Simulations(Source):
    """A simulations store."""

    gives: ClassVar[frozenset[str]] = frozenset({"truth"})

    def load(
        self,
        path: str | Path,
        bands: Sequence[str],
        platforms: Sequence[str],
        most: int | None = None,
        seed: int = 0,
    ) -> Sample:
        store = open_simulations(path)
        if "day" in store:
            raise DataError(f"{path} holds drawn seasons, not pixels", "take the source seasons_drawn")
        check_bands(store["band"].values.tolist(), bands, path, "run the simulate stage again")
        check_platforms(np.unique(store["platform"].values).tolist(), platforms, path)
        if most is not None:
            total = store.sizes["sample"]
            store = store.isel(sample=np.sort(np.random.default_rng(seed).permutation(total)[:most]))
        # Contiguous: the order in which sums over bands are taken, and so their last bit, follows the layout.
        chosen = np.ascontiguousarray(store["reflectance"].sel(band=list(bands)).values)
        reflectance = torch.from_numpy(chosen)
        angles, truth = (torch.from_numpy(store[name].values) for name in ("angles", "variables"))
        platform = torch.from_numpy(store["platform"].values.astype(np.int64))
        seen = complete_pixels(reflectance, angles, platform, bands)
        return Sample(seen, truth, torch.ones(len(reflectance), dtype=torch.bool))


SOURCE = Simulations
