"""The reference posterior against brute force, and its store."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from untrained import untrained

from canopyflow.errors import DataError
from canopyflow.evaluation.against import reference_posterior
from canopyflow.evaluation.against.reference_posterior import (
    Pixels,
    ReferenceOptions,
    sample_posterior,
    write_reference,
)
from canopyflow.evaluation.against.reference_store import load_reference
from canopyflow.models.simulate import Survey, simulate
from canopyflow.observations.observation import Sample, pixels
from canopyflow.observations.sources.contract import Source
from canopyflow.registry import GENERATIVE
from canopyflow.samplers import hmc
from canopyflow.vocabulary import BANDS

WIDE = {"prior": "uniform", "noise": {"additive_independent": 0.2}}
"""Noise so large that even the shortest chains go somewhere."""


@pytest.mark.slow
def test_reference_of_prosail_pixels_agrees_with_brute_force(monkeypatch):
    """With very large noise the posterior is the prior, up to weights that importance sampling handles."""
    monkeypatch.setattr(hmc, "WINDOWS", (15, 15, 20))
    monkeypatch.setattr(hmc, "JUMPING_WINDOWS", (10, 20))
    noise = {"additive_independent": 0.15, "additive_common": 0.05}
    model = GENERATIVE.build("prosail", BANDS, ("S2A",), noise=noise)
    g = torch.Generator().manual_seed(3)
    angles = torch.tensor([[30.0, 5.0, 90.0]]).expand(3, 3)
    given = pixels(torch.zeros(3, len(BANDS)), angles, "S2A", BANDS)
    seen = model.observe(model.simulate(given, g), g)
    found = sample_posterior(model, seen, ReferenceOptions(draws=300, rounds=1, seed=1))
    many = model.prior().sample(30_000, g)
    with torch.no_grad():
        spectra = model.decode(many, given.rows(torch.zeros(30_000, dtype=torch.long)))
        weights = torch.stack([model.noise.log_prob(x, spectra) for x in seen.reflectance], 1).softmax(0)
    exact = weights.T @ many
    spread = (weights.T @ many.square() - exact.square()).sqrt()
    assert ((found.draws.mean(1) - exact) / spread).abs().max() < 0.25
    assert (found.draws.std(1) / spread).sub(1).abs().max() < 0.2


@pytest.fixture
def hasty(monkeypatch):
    """Chains too short to converge: for tests of the store."""
    monkeypatch.setattr(hmc, "WINDOWS", (2, 2, 2))
    monkeypatch.setattr(hmc, "JUMPING_WINDOWS", (2,))


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_a_reference_comes_back_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(reference_posterior, "_GROUP", 1)
    platforms = ["S2A", "S2B"]
    survey = Survey((20, 40), (0, 5))
    simulate(tmp_path / "test.zarr", survey, n=40, bands=BANDS, platforms=platforms, seed=0, options=WIDE)
    taken = Pixels("simulations", tmp_path / "test.zarr", 2)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_reference(
            tmp_path / name, taken, ReferenceOptions(50, 1, seed),
            bands=BANDS, platforms=platforms, generative_options=WIDE,
        )  # fmt: skip
    a, b, c = ((tmp_path / name / "zarr.json").read_bytes() for name in "abc")
    assert a == b != c
    sample, found = load_reference(tmp_path / "a")
    assert found.draws.shape == (2, 50, 11)
    assert sample.seen.bands == BANDS and sample.truth.shape == (2, 11)
    # The noise is in, and its random numbers are no other's.
    model = untrained().generative
    clean = model.decode(sample.truth, sample.seen)
    assert not sample.noise_free.any()
    assert ((sample.seen.reflectance - clean).std() / 0.2).item() == pytest.approx(1.0, abs=0.5)
    assert not torch.equal(found.draws[0], found.draws[1])


class Observed(Source):
    """Three clear pixels of two platforms."""

    spectra = np.linspace(0.02, 0.4, 30, dtype=np.float32).reshape(3, 10)

    def load(self, path, bands, platforms, most, seed):
        spectra, platform = torch.from_numpy(self.spectra[:most]), torch.tensor([1, 2, 2])[:most]
        seen = pixels(spectra, torch.full((most, 3), 20.0), platform, bands)
        return Sample(seen, None, torch.zeros(most, dtype=torch.bool))


@pytest.mark.usefixtures("hasty")
def test_an_observed_reference_takes_clear_pixels_as_they_are(tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(
        reference_posterior,
        "SOURCES",
        SimpleNamespace(build=lambda name: (built.append(name), Observed())[1]),
    )

    def write(most):
        write_reference(
            tmp_path / "o.zarr", Pixels("patches", tmp_path, most), ReferenceOptions(50, 1),
            bands=BANDS, platforms=["S2A", "S2B", "S2C"], generative_options={"prior": "uniform"},
        )  # fmt: skip

    with pytest.raises(DataError, match="no pixel"):
        write(0)
    write(3)
    sample, found = load_reference(tmp_path / "o.zarr")
    assert sample.truth is None
    assert sample.seen.platform.tolist() == [1, 2, 2]
    assert np.array_equal(sample.seen.reflectance.numpy(), Observed.spectra)
    assert found.draws.shape == (3, 50, 11)
