"""Drawing simulations: determinism, the store, and tables for other people's scripts."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from training_runs import BANDS, make

from canopyflow.atomic import content_digest
from canopyflow.config.physics import Physics
from canopyflow.config.simulations import Simulations as SimulationsBlock
from canopyflow.models.simulate import Survey, simulate_table
from canopyflow.observations.sources.simulations import Simulations
from canopyflow.physics import Prosail
from canopyflow.vocabulary import NAMES


def test_simulations_are_deterministic_and_follow_the_contract(tmp_path: Path) -> None:
    one, two, other = (make(tmp_path / f"{i}.zarr", 100, seed) for i, seed in enumerate((1, 1, 2)))
    assert content_digest(one) == content_digest(two) != content_digest(other)
    with xr.open_zarr(one, consolidated=False) as store:
        assert dict(store.sizes) == {"sample": 100, "variable": 11, "angle": 3, "band": 5}
        assert store.attrs["bands"] == list(BANDS) and store.attrs["platforms"] == ["S2A", "S2B"]
        assert {str(store[name].dtype) for name in ("variables", "angles", "reflectance")} == {"float32"}
        assert store["platform"].dtype == np.uint8 and set(store["platform"].values) == {0, 1}
        assert ((store["reflectance"] > 0) & (store["reflectance"] < 2)).all()


def test_a_store_numbers_platforms_as_everybody_does(tmp_path: Path) -> None:
    with xr.open_zarr(make(tmp_path / "s.zarr", 60, platforms=("S2C", "S2B")), consolidated=False) as store:
        assert set(store["platform"].values) == {1, 2}


def test_simulations_hold_no_noise(simulations: dict[str, Path]) -> None:
    sample = Simulations().load(simulations["train"], BANDS, ["S2A", "S2B"])
    assert sample.truth is not None and sample.noise_free.all()
    prosail = Prosail(sensor=["S2A", "S2B"], bands=BANDS)
    again = prosail(sample.truth, sample.seen.geometry, platform=sample.seen.platform)
    torch.testing.assert_close(sample.seen.reflectance, again, rtol=1e-4, atol=1e-5)


def test_a_table_of_simulations_can_be_predicted_from(tmp_path: Path) -> None:
    simulate_table(tmp_path / "out.parquet", n=20, sensor="S2B", seed=1, prior="atbd")
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert {"id", "platform", "sun_zenith", "B02", "B12", "B8A_noise_free", "lai"} <= set(table.columns)
    assert 0.003 < (table["B03"] - table["B03_noise_free"]).std() < 0.05
    prosail = Prosail(sensor="S2B", bands=["B03"])
    angles = table[["sun_zenith", "view_zenith", "relative_azimuth"]]
    again = prosail(*(torch.tensor(part.to_numpy()) for part in (table[list(NAMES)], angles)))[:, 0]
    np.testing.assert_allclose(table["B03_noise_free"], again, atol=1e-5)


def test_a_table_of_simulations_follows_the_campaign_defaults(tmp_path: Path) -> None:
    asked = SimulationsBlock()
    assert Survey() == Survey(sun_zenith=asked.sun_zenith, view_zenith=asked.view_zenith)
    for name, options in (("default", {}), ("asked", {"prior": Physics().prior})):
        simulate_table(tmp_path / f"{name}.parquet", n=300, sensor="S2A", seed=1, **options)
    default, same = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("default", "asked"))
    pd.testing.assert_frame_equal(default, same)
    for name, (lower, upper) in {"sun_zenith": asked.sun_zenith, "view_zenith": asked.view_zenith}.items():
        assert default[name].between(lower, upper).all() and default[name].max() > 0.95 * upper
