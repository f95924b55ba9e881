"""A store of simulations as a sample."""

from pathlib import Path

import numpy as np
import xarray as xr
from training_runs import BANDS

from canopyflow.observations.sources.simulations import Simulations

PLATFORMS = ("S2A", "S2B")


def test_simulations_are_free_of_noise_and_know_their_states(simulations: dict[str, Path]) -> None:
    sample = Simulations().load(simulations["validation"], BANDS, PLATFORMS, 20, 1)
    with xr.open_zarr(simulations["validation"], consolidated=False) as store:
        at = [store["reflectance"].values.tolist().index(row) for row in sample.seen.reflectance.tolist()]
        assert sample.truth is not None
        assert np.array_equal(sample.truth, store["variables"].values[at])
        assert np.array_equal(sample.seen.geometry, store["angles"].values[at])
        assert np.array_equal(sample.seen.platform, store["platform"].values[at])
    assert sample.noise_free.all() and sample.seen.complete
