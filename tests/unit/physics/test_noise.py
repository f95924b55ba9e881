"""The correlated noise against torch's dense multivariate normal and against its own samples."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from canopyflow.errors import ConfigError
from canopyflow.physics.noise import NoiseModel

deviation = st.floats(0.0, 0.2)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.002, 0.2), deviation, deviation, deviation, st.integers(1, 12), st.integers(0, 2**31))
def test_density_equals_the_dense_one(
    ai: float, ac: float, mi: float, mc: float, bands: int, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    reflectance = torch.rand(3, bands, generator=g, dtype=torch.float64)
    observed = torch.rand(2, 3, bands, generator=g, dtype=torch.float64)
    noise = NoiseModel(ai, ac, mi, mc)
    dense = MultivariateNormal(reflectance, noise.covariance(reflectance))
    torch.testing.assert_close(
        noise.log_prob(observed, reflectance), dense.log_prob(observed), rtol=1e-6, atol=1e-6
    )
    whitened = torch.linalg.solve(
        noise.covariance(reflectance), (observed - reflectance).unsqueeze(-1)
    ).squeeze(-1)
    want = (whitened * (observed - reflectance)).sum(-1)
    torch.testing.assert_close(noise.distance2(observed, reflectance), want, rtol=1e-6, atol=1e-6)


def test_samples_have_the_covariance() -> None:
    noise = NoiseModel()
    reflectance = torch.linspace(0.02, 0.5, 10, dtype=torch.float64)
    g = torch.Generator().manual_seed(0)
    draws = noise.sample(reflectance.expand(200_000, 10), g)
    want = noise.covariance(reflectance)
    assert (torch.cov(draws.T) - want).abs().max() < 0.02 * want.max()
    assert (draws.mean(0) - reflectance).abs().max() < 2e-4
    assert noise.distance2(draws, reflectance).mean().item() == pytest.approx(10.0, abs=0.05)


def test_gradient() -> None:
    g = torch.Generator().manual_seed(1)
    observed, reflectance = (
        torch.rand(4, 10, generator=g, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    assert torch.autograd.gradcheck(NoiseModel().log_prob, (observed, reflectance))


def test_float32_keeps_the_digits() -> None:
    g = torch.Generator().manual_seed(2)
    reflectance = torch.rand(1000, 10, generator=g, dtype=torch.float64)
    observed = NoiseModel().sample(reflectance, g)
    low = NoiseModel().log_prob(observed.float(), reflectance.float())
    assert (low - NoiseModel().log_prob(observed, reflectance)).abs().max() < 1e-3


def test_bad_deviation_is_named() -> None:
    with pytest.raises(ConfigError, match="multiplicative_common is -1"):
        NoiseModel(multiplicative_common=-1.0)
    with pytest.raises(ConfigError, match="additive_independent"):
        NoiseModel(additive_independent=0.0)
