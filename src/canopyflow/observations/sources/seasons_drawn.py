"""Drawn seasons with the trajectories behind them; noise is drawn anew whenever they are used."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from canopyflow.cubes.simulations import open_simulations
from canopyflow.errors import DataError
from canopyflow.observations.observation import Observation, Sample, View
from canopyflow.observations.sources.contract import Source, check_bands, check_platforms


class SeasonsDrawn(Source):
    """A simulations store whose samples have dates. Every entry is valid: what clouds hide is drawn in
    training."""

    gives: ClassVar[frozenset[str]] = frozenset({"truth"})
    view: ClassVar[View] = View.SEASON

    def load(
        self,
        path: str | Path,
        bands: Sequence[str],
        platforms: Sequence[str],
        most: int | None = None,
        seed: int = 0,
    ) -> Sample:
        """As the contract says; ``truth`` (n, date, variables). A store of pixels is a DataError too."""
        store = open_simulations(path)
        if "day" not in store:
            raise DataError(f"{path} holds simulated pixels, not seasons", "give a store of drawn seasons")
        check_bands(store["band"].values.tolist(), bands, path, "run the simulate_seasons stage again")
        check_platforms(np.unique(store["platform"].values).tolist(), platforms, path)
        if most is not None:
            total = store.sizes["sample"]
            store = store.isel(sample=np.sort(np.random.default_rng(seed).permutation(total)[:most]))
        reflectance = torch.from_numpy(
            np.ascontiguousarray(store["reflectance"].sel(band=list(bands)).values)
        )
        angles, truth, day = (torch.from_numpy(store[name].values) for name in ("angles", "variables", "day"))
        seen = Observation(
            reflectance=reflectance,
            valid=torch.ones_like(reflectance, dtype=torch.bool),
            geometry=angles,
            platform=torch.from_numpy(store["platform"].values.astype(np.int64)),
            bands=tuple(bands),
            view=View.SEASON,
            day=day,
        )
        return Sample(seen, truth, torch.ones(len(seen), dtype=torch.bool))


SOURCE = SeasonsDrawn
