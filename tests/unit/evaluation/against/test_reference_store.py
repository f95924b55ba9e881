"""The reference posterior and what is measured against it, on laws whose answers are known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from canopyflow.samplers.diagnosis import diagnose
from canopyflow.training.data import simulate

from canopyflow.errors import DataError
from canopyflow.evaluation.against import reference_store as reference
from canopyflow.evaluation.against.reference_store import (
    Pixels,
    load_reference,
    sample_posterior,
    write_reference,
)
from canopyflow.evaluation.scores.joint import energy_score, tarp
from canopyflow.evaluation.scores.two_sample import c2st, sliced_wasserstein
from canopyflow.physics import Prosail, prior
from canopyflow.physics.noise import NoiseModel
from canopyflow.samplers import hmc
from canopyflow.vocabulary import BANDS


def normals(covariance, mean):
    """A log density of several correlated normals at once, as a sampler's target."""
    precision = torch.linalg.inv(covariance)

    def target(x):
        d = x - mean
        return -0.5 * torch.einsum("cni,nij,cnj->cn", d, precision, d)

    return target


def test_the_chains_find_mean_and_covariance_of_a_linear_gaussian_posterior():
    g = torch.Generator().manual_seed(0)
    # Design, prior N(0, I) and noise of two regressions; posterior covariance (I + AᵀA/s²)⁻¹.
    design, noise = torch.randn(2, 5, 3, generator=g), torch.tensor([0.3, 1.0])[:, None, None]
    observed = torch.randn(2, 5, 1, generator=g)
    covariance = torch.linalg.inv(torch.eye(3) + design.mT @ design / noise**2)
    mean = (covariance @ design.mT @ observed / noise**2)[..., 0]
    target = normals(covariance, mean)
    chains = hmc.warm_up(target, 3.0 * torch.randn(8, 2, 3, generator=g), g)
    draws = hmc.run(target, chains, 500, g)
    found = diagnose(draws.numpy())
    assert found.rhat.max() < 1.02
    assert found.ess_bulk.min() > 1000
    flat = draws.flatten(0, 1)
    deviation = covariance.diagonal(dim1=1, dim2=2).sqrt()
    assert ((flat.mean(0) - mean) / deviation).abs().max() < 0.12
    for problem in range(2):
        measured = torch.from_numpy(np.cov(flat[:, problem].numpy().T)).float()
        scale = deviation[problem][:, None] * deviation[problem]
        assert ((measured - covariance[problem]) / scale).abs().max() < 0.12


def test_diagnoses_agree_with_theory_and_tell_stuck_chains():
    rng = np.random.default_rng(0)
    rho, noise = 0.9, rng.standard_normal((2000, 4, 20))
    draws = np.zeros_like(noise)
    for t in range(1, len(draws)):
        draws[t] = rho * draws[t - 1] + math.sqrt(1 - rho**2) * noise[t]
    draws[:, 0, 10:] += 2.0
    found = diagnose(draws)
    # A first-order autoregression of N draws is worth N (1 - ρ) / (1 + ρ).
    assert found.ess_bulk[:10].mean() == pytest.approx(8000 * (1 - rho) / (1 + rho), rel=0.1)
    assert found.rhat[:10].max() < 1.05 < 1.1 < found.rhat[10:].min()
    assert found.ess_bulk[10:].max() < 50


def test_diagnoses_measured_with_arviz_are_reproduced():
    rng, other = np.random.default_rng(0), np.random.default_rng(1)
    walk = rng.standard_normal((200, 4, 3)).cumsum(0) * np.array([0.0, 0.05, 0.2])
    found = diagnose(walk + other.standard_normal((200, 4, 3)))
    # arviz 0.23.4: rhat, ess(method="bulk"), ess(method="tail").
    assert found.rhat == pytest.approx([0.9996016, 1.1896869, 1.2791024], abs=1e-6)
    assert found.ess_bulk == pytest.approx([838.1122404, 15.2408936, 11.1323304], rel=0.05)
    assert found.ess_tail == pytest.approx([740.8659174, 96.6727313, 12.0356714], rel=0.05)


def test_classifiers_are_at_chance_between_equal_laws_and_never_beat_bayes():
    g = torch.Generator().manual_seed(0)
    p, q = torch.randn(8, 600, 4, generator=g), torch.randn(8, 600, 4, generator=g)
    assert float(c2st(p, q).mean()) == pytest.approx(0.5, abs=0.012)
    shift = torch.tensor([1.0, 0.0, 0.0, 0.0])
    bayes = 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))
    assert bayes - 0.015 < float(c2st(p, q + shift).mean()) < bayes + 0.012
    turned = q.clone()
    turned[..., 1] = 0.9 * q[..., 0] + math.sqrt(1 - 0.81) * q[..., 1]
    # Equal marginals: only the dependence tells the two apart.
    assert float(c2st(p, turned).mean()) > 0.68
    with torch.no_grad():
        again = c2st(p[:2, :200], q[:2, :200])
    assert torch.equal(c2st(p[:2, :200], q[:2, :200]), again)


def test_repeated_draws_of_the_same_law_are_not_told_from_it():
    g = torch.Generator().manual_seed(0)
    p, few = torch.randn(8, 600, 4, generator=g), torch.randn(8, 200, 4, generator=g)
    copies = few.repeat(1, 3, 1)[:, torch.randperm(600, generator=g)]
    assert float(c2st(p, copies).mean()) == pytest.approx(0.5, abs=0.02)


def test_sliced_wasserstein_of_a_shift_is_its_mean_projection():
    p = torch.randn(3, 4000, 2, generator=torch.Generator().manual_seed(0))
    q = p + torch.tensor([1.0, 0.0]) * p.std(1, keepdim=True)
    # E|cos φ| over directions of the plane is 2/π.
    assert sliced_wasserstein(p, q).mean() == pytest.approx(2 / math.pi, abs=0.06)
    assert sliced_wasserstein(p, p).max() == 0


def test_tarp_and_energy_score_prefer_the_honest_posterior():
    g = torch.Generator().manual_seed(0)
    truth = torch.randn(2000, 3, generator=g)
    observed = truth + torch.randn(2000, 3, generator=g)
    # The posterior of each is N(observed / 2, 1/2).
    noise = torch.randn(200, 2000, 3, generator=g) / math.sqrt(2)
    centres = torch.randn(2000, 3, generator=g)
    honest = observed / 2 + noise
    assert tarp(honest, truth, centres) < 0.02
    assert tarp(observed / 2 + 0.5 * noise, truth, centres) > 0.04
    assert tarp(observed / 2 + 0.5 + noise, truth, centres) > 0.04
    scores = [energy_score(d, truth) for d in (honest, observed / 2 + 0.5 * noise, honest + 0.5)]
    assert scores[0] < min(scores[1:])


def test_reference_of_prosail_pixels_agrees_with_brute_force(monkeypatch):
    """With very large noise the posterior is the prior, up to weights that importance sampling handles."""
    monkeypatch.setattr(hmc, "WINDOWS", (15, 15, 20))
    noise = {"additive_independent": 0.15, "additive_common": 0.05}
    law, model = prior("atbd"), NoiseModel(**noise)
    g = torch.Generator().manual_seed(3)
    truth, angles = law.sample(3, g), torch.tensor([[30.0, 5.0, 90.0]]).expand(3, 3)
    prosail = Prosail(("S2A",), BANDS)
    observed = model.sample(prosail(truth, angles), g)
    pixels = Pixels(observed, angles, torch.zeros(3, dtype=torch.long), ("S2A",), BANDS)
    found = sample_posterior(
        pixels, leaf="prospect-d", prior_name="atbd", noise=noise, draws=300, rounds=1, seed=1
    )
    many = law.sample(30_000, g)
    with torch.no_grad():
        spectra = prosail(many, angles[0])
        weights = torch.stack([model.log_prob(x, spectra) for x in observed], 1).softmax(0)
    exact = weights.T @ many
    spread = (weights.T @ many.square() - exact.square()).sqrt()
    assert ((found.draws.mean(1) - exact) / spread).abs().max() < 0.25
    assert (found.draws.std(1) / spread).sub(1).abs().max() < 0.2


def test_a_reference_comes_back_as_it_was_written(tmp_path, monkeypatch):
    # Too short to converge: this is about the store.
    monkeypatch.setattr(hmc, "WINDOWS", (4, 4, 4))
    simulate(
        tmp_path / "test.zarr", n=40, bands=BANDS, platforms=["S2A", "S2B"], leaf="prospect-d",
        prior_name="uniform", seed=0, sun_zenith=(20, 40), view_zenith=(0, 5),
    )  # fmt: skip
    options = {
        "observed": False, "n": 2, "draws": 100, "rounds": 1, "bands": BANDS, "platforms": ["S2A", "S2B"],
        "leaf": "prospect-d", "prior_name": "uniform", "noise": {"additive_independent": 0.2}, "seed": 0,
    }  # fmt: skip
    for name in "ab":
        write_reference(tmp_path / f"{name}.zarr", tmp_path / "test.zarr", **options)
    assert (tmp_path / "a.zarr/zarr.json").read_bytes() == (tmp_path / "b.zarr/zarr.json").read_bytes()
    pixels, found = load_reference(tmp_path / "a.zarr")
    assert found.draws.shape == (2, 100, 11)
    assert pixels.platforms == ("S2A", "S2B")
    assert pixels.variables.shape == (2, 11)


def test_an_observed_reference_takes_clear_pixels_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(hmc, "WINDOWS", (2, 2, 2))
    observed = np.linspace(0.02, 0.4, 30, dtype=np.float32).reshape(3, 10)
    # The cube knows its platforms in another order, and its bands too.
    cube = SimpleNamespace(
        reflectance=observed[:, ::-1].copy(),
        angles=np.full((3, 3), 20.0, np.float32),
        platform=np.array([0, 1, 1]),
        platforms=["S2B", "S2C"],
        bands=list(BANDS)[::-1],
    )
    monkeypatch.setattr(reference, "load_pixels", lambda path, max_pixels, seed: cube)
    options = {
        "observed": True, "n": 3, "draws": 50, "rounds": 1, "bands": BANDS, "leaf": "prospect-d",
        "prior_name": "uniform", "noise": {}, "seed": 0,
    }  # fmt: skip
    write_reference(tmp_path / "o.zarr", tmp_path, platforms=["S2A", "S2B", "S2C"], **options)
    pixels, found = load_reference(tmp_path / "o.zarr")
    assert pixels.variables is None
    assert pixels.platform.tolist() == [1, 2, 2]
    assert np.array_equal(pixels.reflectance.numpy(), observed)
    assert found.draws.shape == (3, 50, 11)
    with pytest.raises(DataError, match="platform S2C"):
        write_reference(tmp_path / "p.zarr", tmp_path, platforms=["S2A", "S2B"], **options)
    for name in ("reflectance", "angles", "platform"):
        setattr(cube, name, getattr(cube, name)[:0])
    with pytest.raises(DataError, match="no pixel"):
        write_reference(tmp_path / "p.zarr", tmp_path, platforms=["S2A", "S2B", "S2C"], **options)
