"""The correlation of posterior errors within simulated parcels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from untrained import untrained

from canopyflow.errors import DataError
from canopyflow.inference.parcels import law
from canopyflow.inference.parcels.law import Design, alike, correlations, read_correlations, simulate_parcels
from canopyflow.models.generative.field import FieldPixel
from canopyflow.vocabulary import BANDS, NAMES

SMALL = Design(parcels=40, pixels=5, draws=50)


@pytest.mark.parametrize("rho", [0.0, 0.35, 0.9])
def test_the_correlation_of_scores_is_found_within_its_error(rho):
    rng = np.random.default_rng(0)
    scores = np.sqrt(rho) * rng.standard_normal((2000, 1)) + np.sqrt(1 - rho) * rng.standard_normal((2000, 8))
    found, error = alike(scores)
    assert found == pytest.approx(rho, abs=3 * error + 1e-3)
    assert 0.0 < error < 0.03


def test_each_pixel_of_a_parcel_follows_the_law_of_pixels():
    model = untrained()
    z, _ = simulate_parcels(model.generative, _angles(model), Design(parcels=15_000, pixels=1, draws=20))
    usual = model.generative.prior().sample(15_000, torch.Generator().manual_seed(1))
    levels = torch.tensor([0.1, 0.5, 0.9])
    spread = usual.std(0)
    for name in ("lai", "cab", "rsoil"):
        k = NAMES.index(name)
        assert torch.allclose(
            z[:, k].quantile(levels), usual[:, k].quantile(levels), atol=0.08 * float(spread[k])
        )


def test_pixels_of_a_parcel_have_in_common_what_the_table_says():
    model = untrained()
    design = Design(parcels=2000, pixels=2, draws=20)
    z, seen = simulate_parcels(model.generative, _angles(model), design)
    pairs = model.generative.prior().to_base(z).reshape(2000, 2, -1)
    for name in ("psoil", "lidfa"):
        # Of a uniform variable the correlation of ranks: (6/π) asin(c/2).
        a, b = (pairs[:, k, NAMES.index(name)].argsort().argsort().double() for k in (0, 1))
        common = law.COMMON.get(name, law.ALIKE)
        expected = 6 / np.pi * np.arcsin(common / 2)
        assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) == pytest.approx(expected, abs=0.02)
    assert torch.equal(seen.geometry[0::2], seen.geometry[1::2])
    assert torch.equal(seen.platform[0::2], seen.platform[1::2])


def test_half_of_the_noise_is_that_of_the_parcel_and_all_of_it_the_models():
    model = untrained()
    z, seen = simulate_parcels(model.generative, _angles(model), Design(parcels=4000, pixels=2, draws=20))
    clean, noise = model.generative.render(z, seen).seen.reflectance[:, 0], model.generative.noise
    variance = noise.additive_independent**2 + noise.additive_common**2
    relative = noise.multiplicative_independent**2 + noise.multiplicative_common**2
    error = (seen.reflectance[:, 0] - clean) / (variance + relative * clean.square()).sqrt()
    assert float(error.var()) == pytest.approx(1.0, abs=0.06)
    assert float(torch.corrcoef(error.reshape(-1, 2).T)[0, 1]) == pytest.approx(law.NOISE_COMMON, abs=0.05)


def test_correlations_are_the_same_twice_and_are_read_as_written(tmp_path):
    import json

    first = correlations(untrained(), ["lai", "ccc"], SMALL, "abc")
    assert first == correlations(untrained(), ["lai", "ccc"], SMALL, "abc")
    assert first != correlations(untrained(), ["lai", "ccc"], replace(SMALL, seed=1), "abc")
    law.write_correlations(first, tmp_path / "c.json")
    assert read_correlations(json.loads((tmp_path / "c.json").read_text())) == first
    with pytest.raises(DataError, match="no correlation of 'fapar'"):
        first.of("fapar")
    with pytest.raises(DataError, match="no correlations of parcels"):
        read_correlations({"rho": {}})


def test_every_name_of_the_table_is_a_variable_of_some_law():
    known = set(NAMES) | set(FieldPixel(BANDS, ("S2A",)).space.names)
    assert law.COMMON.keys() <= known


def _angles(model):
    return model.meta["angle_range"]
