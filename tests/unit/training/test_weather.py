"""The alternation: where it must end, exactly, and that it learns what weather does."""

import copy

import numpy as np
import pytest
import torch

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.weather.autoencoder import WeatherAutoencoder, WeatherOptions
from canopyflow.models.weather.forecast import GAUSSIAN, SIMILAR, draw_maps, latent_law
from canopyflow.training.weather import (
    Days,
    WeatherTraining,
    alternate,
    chosen_ridge,
    fit_weather,
)

DRIVERS = ("temperature", "radiation", "rain")


def days(n: int = 240, values: int = 12, noise: float = 0.3, seed: int = 0) -> Days:
    """Maps of three patterns whose strengths are linear in weather, with noise; eight years."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 3, generator=g) * torch.tensor([5.0, 80.0, 2.0]) + torch.tensor([12.0, 200.0, 3.0])
    mix, patterns = torch.randn(3, 3, generator=g), torch.randn(3, values, generator=g)
    patterns = patterns * torch.tensor([[2.0], [1.2], [0.7]])
    strength = (x[:, 0] - x[:, 0].mean(0)) / x[:, 0].std(0) @ mix
    strength = strength + noise * torch.randn(n, 3, generator=g)
    y = 5.0 + strength @ patterns + 0.1 * torch.randn(n, values, generator=g)
    return Days(x, y, torch.arange(n) // 30)


def linear(values: int = 12, dim: int = 2, **more) -> WeatherOptions:
    return WeatherOptions(DRIVERS, values, dim=dim, encoder=(), decoder=(), **more)


def forgotten(model: WeatherAutoencoder) -> WeatherAutoencoder:
    """Encoder and decoder far from the components at which they start."""
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in (*model.encoder.parameters(), *model.decoder.parameters()):
            p.copy_(0.3 * torch.randn(p.shape, generator=g))
    return model


def test_h_ends_as_least_squares_of_the_latents() -> None:
    """Of a linear model with α and β: against a solver of its own, in double precision."""
    data = days()
    model = WeatherAutoencoder(linear())
    model.standardise(data.x, data.y)
    alternate(model, data, WeatherTraining(alpha=2.0, beta=1.0, steps=60, rate=5e-3))
    codes = model.encode(data.y).mean.detach().double()
    x = model.scaled_weather(data.x)[:, 0].double()
    a = torch.cat([torch.ones(len(x), 1, dtype=torch.double), x], 1)
    known = torch.linalg.lstsq(a, codes).solution
    assert torch.allclose(model.latents.bias[0].double(), known[0], atol=1e-5)
    assert torch.allclose(model.latents.weight[0].double(), known[1:], atol=1e-5)


def test_a_fixed_point_of_the_alternation_stays() -> None:
    """At the least squares fit the gradient of L2 is nothing, so steps of h alone do not leave it."""
    data = days()
    model = WeatherAutoencoder(linear())
    model.standardise(data.x, data.y)
    x = model.scaled_weather(data.x)
    codes = model.encode(data.y).mean.detach()
    model.latents.refit(x, codes)
    loss = (codes - model.latents(x)).square().sum(-1).mean()
    gradients = torch.autograd.grad(loss, list(model.latents.parameters()))
    assert max(float(g.abs().max()) for g in gradients) < 1e-5


@pytest.mark.slow
def test_without_weather_a_linear_model_ends_at_the_principal_components() -> None:
    data = days()
    model = WeatherAutoencoder(linear(alike=True))
    model.standardise(data.x, data.y)
    y = model.scaled_maps(data.y)[0]
    components = torch.linalg.svd(y, full_matrices=False)[2][:2]
    forgotten(model)

    def angle(weight: torch.Tensor) -> float:
        """Sine of the largest angle between the span of ``weight`` (values, 2) and that of the components."""
        span = torch.linalg.qr(weight.detach())[0]
        return float((span - components.mT @ (components @ span)).norm(2))

    assert angle(model.decoder.linear.weight) > 0.3
    training = WeatherTraining(alpha=0.0, beta=0.1, steps=1_600, batch=1_000, rate=0.02)
    alternate(model, data, training)
    assert angle(model.decoder.linear.weight) < 0.02


def test_maps_of_new_weather_are_nearer_than_the_mean_and_intervals_hold() -> None:
    data, model = days(n=420), None
    known = Days(data.x[:300], data.y[:300], data.group[:300])
    options = linear(dim=3)
    model, history = fit_weather(known, options, WeatherTraining(steps=300, rate=2e-3))
    x, y = data.x[300:], data.y[300:]
    error = (model.downscale(x) - y).square().mean()
    assert float(error) < 0.2 * float((known.y.mean(0) - y).square().mean())
    for errors in (SIMILAR, GAUSSIAN):
        draws = draw_maps(model, x, 200, torch.Generator().manual_seed(0), errors)
        low, high = np.quantile(draws.numpy(), [0.05, 0.95], axis=0, method="weibull")
        assert float(((y.numpy() >= low) & (y.numpy() <= high)).mean()) == pytest.approx(0.9, abs=0.06)
    mean, covariance = latent_law(model, x)
    left = model.encode(y).mean - mean
    standard = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), left.mT, upper=False)
    assert float(standard.square().mean()) == pytest.approx(1.0, abs=0.2)
    assert len(history) == 20


def test_errors_are_those_of_years_that_h_did_not_know() -> None:
    """With as many features as days allow, errors of known days would be far too small."""
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(60, 1, 20, generator=g), torch.randn(60, 6, generator=g)
    options = WeatherOptions(tuple(f"p{i}" for i in range(20)), 6, dim=2, encoder=(), decoder=())
    data = Days(x, y, torch.arange(60) // 10)
    model, _ = fit_weather(data, options, WeatherTraining(steps=2))
    own = (model.encode(y).mean - model.predict(x)).square().mean()
    assert float(model.day_errors.square().mean()) > 1.5 * float(own)
    alone, _ = fit_weather(Days(x, y, torch.zeros(60)), options, WeatherTraining(steps=2))
    assert float(alone.day_errors.square().mean()) == pytest.approx(float(own), rel=1e-3)


def test_the_penalty_is_large_where_weather_says_nothing() -> None:
    data, options = days(), linear()
    model = WeatherAutoencoder(options)
    model.standardise(data.x, data.y)
    assert chosen_ridge(model, data) <= 10.0
    shuffled = data.x[torch.randperm(len(data.x), generator=torch.Generator().manual_seed(0))]
    model.standardise(shuffled, data.y)
    assert chosen_ridge(model, Days(shuffled, data.y, data.group)) >= 100.0
    assert chosen_ridge(model, Days(data.x, data.y, torch.zeros(240))) == 3.0


def test_what_is_missing_counts_nothing() -> None:
    data = days()
    torn = data.y.clone()
    torn[::12, 4] = torch.nan
    first, _ = fit_weather(Days(data.x, torn, data.group), linear(), WeatherTraining(steps=60))
    assert all(bool(p.isfinite().all()) for p in (*first.parameters(), *first.buffers()))
    whole, _ = fit_weather(data, linear(), WeatherTraining(steps=60))
    far = (first.downscale(data.x) - whole.downscale(data.x)).abs().max()
    assert 0.0 < float(far) < 1.0


def test_the_same_seed_gives_the_same_model() -> None:
    data = days(n=120)
    options = WeatherOptions(DRIVERS, 12, dim=2, encoder=(8,), decoder=(8,), law="gev", dropout=0.2)
    runs = [fit_weather(data, options, WeatherTraining(steps=20, seed=seed))[0] for seed in (1, 1, 2)]
    first, same, other = (run.downscale(data.x) for run in runs)
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_no_value_is_below_the_lowest() -> None:
    data = days()
    model, _ = fit_weather(data, linear(lowest=5.0), WeatherTraining(steps=20))
    draws = draw_maps(model, data.x, 3, torch.Generator().manual_seed(0))
    assert float(model.downscale(data.x).min()) == float(draws.min()) == 5.0


def test_what_does_not_fit_is_refused() -> None:
    data = days()
    with pytest.raises(DataError, match="do not fit"):
        fit_weather(Days(data.x, data.y[:, 1:], data.group), linear(), WeatherTraining(steps=2))
    torn = copy.deepcopy(data.x)
    torn[3, 0, 1] = torch.nan
    with pytest.raises(DataError, match="weather has missing"):
        fit_weather(Days(torn, data.y, data.group), linear(), WeatherTraining(steps=2))
    never = data.y.clone()
    never[:, 2] = torch.nan
    with pytest.raises(DataError, match="1 values of the maps"):
        fit_weather(Days(data.x, never, data.group), linear(), WeatherTraining(steps=2))
    with pytest.raises(ConfigError, match="alpha is -1"):
        WeatherTraining(alpha=-1.0)
    with pytest.raises(ConfigError, match="dim is 0"):
        WeatherOptions(DRIVERS, 3, dim=0)
    model, _ = fit_weather(data, linear(), WeatherTraining(steps=2))
    with pytest.raises(ConfigError, match="unknown errors"):
        draw_maps(model, data.x, 2, errors="none")
