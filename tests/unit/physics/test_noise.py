"""The correlated noise against torch's dense multivariate normal and against its own samples."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
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


def partly_seen(seed: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Observations (2, 6, 10), reflectance (6, 10), and which entries count (6, 10): none to all of them."""
    g = torch.Generator().manual_seed(seed)
    reflectance = 0.6 * torch.rand(6, 10, generator=g, dtype=torch.float64)
    observed = NoiseModel().sample(reflectance.expand(2, 6, 10), g)
    valid = torch.rand(6, 10, generator=g) < torch.tensor([[0.0], [0.3], [0.5], [0.7], [0.9], [1.1]])
    return observed, reflectance, valid


def test_invalid_entries_are_dropped_from_the_dense_normal() -> None:
    observed, reflectance, valid = partly_seen()
    assert valid.sum(-1)[0] == 0 and valid.sum(-1)[-1] == 10
    noise = NoiseModel(0.01, 0.02, 0.03, 0.04)
    got, distance2 = (f(observed, reflectance, valid) for f in (noise.log_prob, noise.distance2))
    assert got.shape == distance2.shape == (2, 6)
    assert (got[:, 0] == 0).all() and (distance2[:, 0] == 0).all()
    for i in range(1, 6):
        kept = valid[i].nonzero().squeeze(-1)
        covariance = noise.covariance(reflectance[i])[kept][:, kept]
        dense = MultivariateNormal(reflectance[i, kept], covariance)
        torch.testing.assert_close(got[:, i], dense.log_prob(observed[:, i, kept]), rtol=1e-9, atol=1e-9)
        residual = observed[:, i, kept] - reflectance[i, kept]
        want = (residual * torch.linalg.solve(covariance, residual.T).T).sum(-1)
        torch.testing.assert_close(distance2[:, i], want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_all_is_valid_no_bit_changes(dtype: torch.dtype) -> None:
    observed, reflectance = (x.to(dtype).requires_grad_() for x in partly_seen()[:2])
    both = []
    for valid in (None, torch.ones(6, 10, dtype=torch.bool)):
        value, distance2 = (
            f(observed, reflectance, valid) for f in (NoiseModel().log_prob, NoiseModel().distance2)
        )
        both.append((value, distance2, *torch.autograd.grad(value.sum(), (observed, reflectance))))
    assert all(torch.equal(a, b) for a, b in zip(*both, strict=True))


@pytest.mark.parametrize("junk", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_what_stands_under_an_invalid_entry_changes_nothing(junk: float) -> None:
    observed, reflectance, valid = partly_seen()
    both = []
    for filling in (0.3, junk):
        seen, model = (torch.where(valid, x, filling).requires_grad_() for x in (observed, reflectance))
        value, distance2 = (f(seen, model, valid) for f in (NoiseModel().log_prob, NoiseModel().distance2))
        slopes = torch.autograd.grad(value.sum() + distance2.sum(), (seen, model))
        assert all((slope.masked_select(~valid) == 0).all() for slope in slopes)
        both.append((value, distance2, *slopes))
    assert all(a.isfinite().all() and torch.equal(a, b) for a, b in zip(*both, strict=True))


def test_bad_deviation_is_named() -> None:
    with pytest.raises(ConfigError, match="multiplicative_common is -1"):
        NoiseModel(multiplicative_common=-1.0)
    with pytest.raises(ConfigError, match="additive_independent"):
        NoiseModel(additive_independent=0.0)


def test_a_smooth_error_is_that_of_its_covariance() -> None:
    """The likelihood against scipy, whole and in part, and draws against the covariance."""
    from scipy.stats import multivariate_normal

    noise = NoiseModel(multiplicative_smooth=0.06, smooth_length=250.0)
    g = torch.Generator().manual_seed(0)
    reflectance = 0.05 + 0.4 * torch.rand(4, 10, generator=g, dtype=torch.float64)
    observed = noise.sample(reflectance, g)
    covariance = noise.covariance(reflectance)
    valid = torch.rand(4, 10, generator=g) < 0.7
    whole, part = noise.log_prob(observed, reflectance), noise.log_prob(observed, reflectance, valid)
    for i in range(4):
        law = multivariate_normal(reflectance[i], covariance[i])
        assert float(whole[i]) == pytest.approx(law.logpdf(observed[i]))
        k = valid[i]
        law = multivariate_normal(reflectance[i][k], covariance[i][k][:, k])
        assert float(part[i]) == pytest.approx(law.logpdf(observed[i][k]))
    drawn = noise.sample(reflectance[:1].expand(200_000, 10), g)
    torch.testing.assert_close(torch.cov(drawn.T), covariance[0], rtol=0.05, atol=2e-6)


def test_the_smooth_error_of_neighbours_is_shared_and_that_of_far_bands_is_not() -> None:
    k = NoiseModel(multiplicative_smooth=0.06).correlation()
    assert k[0, 0] == 1 and k[6, 7] > 0.99 and k[0, 9] < 1e-6 and torch.equal(k, k.T)
    some = NoiseModel(multiplicative_smooth=0.06, bands=("B12", "B02")).correlation()
    assert torch.equal(some, k[[9, 0]][:, [9, 0]])
