"""Simulated spectra with the variables behind them; noise is drawn anew whenever they are used."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from canopyflow.cubes.simulations import open_simulations
from canopyflow.errors import DataError
from canopyflow.observations.observation import Observation, Sample, View
from canopyflow.observations.sources.contract import Source, check_bands, check_platforms


class Simulations(Source):
    """A simulations store, which the ``stage`` of this name makes. Every entry is valid: what clouds hide is
    drawn in training."""

    gives: ClassVar[frozenset[str]] = frozenset({"truth"})
    stage: ClassVar[str] = "simulate"

    def load(
        self,
        path: str | Path,
        bands: Sequence[str],
        platforms: Sequence[str],
        most: int | None = None,
        seed: int = 0,
    ) -> Sample:
        """As the contract says; ``truth`` (n, [date], variables). Raises DataError too for a store of pixels
        where seasons are wanted, and the other way round."""
        store = open_simulations(path)
        if ("day" in store) is not (self.view is View.SEASON):
            raise DataError(f"{path} holds {_held('day' in store)}, not {_held('day' not in store)}", _OTHER)
        check_bands(store["band"].values.tolist(), bands, path, f"run the {self.stage} stage again")
        check_platforms(np.unique(store["platform"].values).tolist(), platforms, path)
        if most is not None:
            total = store.sizes["sample"]
            store = store.isel(sample=np.sort(np.random.default_rng(seed).permutation(total)[:most]))
        # Contiguous: the order in which sums over bands are taken, and so their last bit, follows the layout.
        chosen = np.ascontiguousarray(store["reflectance"].sel(band=list(bands)).values)
        reflectance = torch.from_numpy(chosen)
        seen = Observation(
            reflectance=reflectance,
            valid=torch.ones_like(reflectance, dtype=torch.bool),
            geometry=torch.from_numpy(store["angles"].values),
            platform=torch.from_numpy(store["platform"].values.astype(np.int64)),
            bands=tuple(bands),
            view=self.view,
            day=torch.from_numpy(store["day"].values) if "day" in store else None,
        )
        truth = torch.from_numpy(store["variables"].values)
        return Sample(seen, truth, torch.ones(len(seen), dtype=torch.bool))


def _held(dates: bool) -> str:
    return "drawn seasons" if dates else "simulated pixels"


_OTHER = "pixels are the source simulations, seasons the source seasons_drawn"

SOURCE = Simulations
