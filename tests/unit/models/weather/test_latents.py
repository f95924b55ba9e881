"""Maps from weather to latents: what a refit finds, and what is refused."""

import math

import numpy as np
import pytest
import torch

from canopyflow.errors import ConfigError, DataError
from canopyflow.registry import WEATHER_LATENTS

DRIVERS = ("temperature", "radiation", "rain", "clock_2")
SPREAD = 80.0
"""Days that a standardised clock counts as one."""


def built(name: str, cells: int = 2):
    h = WEATHER_LATENTS.build(name, DRIVERS, 2, cells).double()
    shape = (cells, len(DRIVERS))
    h.standardised_by(torch.full(shape, 180.0), torch.full(shape, SPREAD))
    return h


def weather(n: int = 200, cells: int = 2) -> torch.Tensor:
    return torch.randn(n, cells, len(DRIVERS), generator=torch.Generator().manual_seed(0), dtype=torch.double)


def truth(name: str, x: torch.Tensor, rate: float = -0.6) -> torch.Tensor:
    """Latents (n, cells × 2) that an h of this name makes without error; cells differ."""
    t, r, p, c = x.unbind(-1)
    wave = torch.sin(2.0 * math.pi * (SPREAD * c + 180.0) / 365.25)
    extra = {"linear": c, "quadratic": r.square(), "exponential": torch.exp(rate * t), "seasonal": wave}.get(
        name, 0.0 * c
    )
    first = 0.4 + t - 2.0 * r + 0.5 * p + 1.5 * extra
    second = -1.0 + 0.3 * t + r + extra * torch.tensor([1.0, -1.0], dtype=x.dtype)[: x.shape[1]]
    return torch.stack([first, second], -1).flatten(-2)


PLAIN = sorted(set(WEATHER_LATENTS) - {"kernel"})
"""Those whose weights days can tell apart without a ridge."""


@pytest.mark.parametrize("name", PLAIN)
def test_a_refit_finds_what_h_can_say(name: str) -> None:
    x = weather()
    h = built(name)
    z = truth(name, x)
    h.refit(x, z)
    assert float((h(x) - z).detach().abs().max()) < 1e-6
    if name == "exponential":
        assert h.rate.detach().numpy() == pytest.approx([-0.6, -0.6], abs=1e-5)


@pytest.mark.parametrize("name", PLAIN)
def test_a_refit_is_least_squares_per_cell(name: str) -> None:
    """Against numpy on features that h itself gives, with noise; nothing is better nearby."""
    x = weather()
    z = truth(name, x) + torch.randn(200, 4, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    h = built(name)
    h.refit(x, z)
    features = h.features(x).detach().numpy()
    for cell in range(2):
        a = np.concatenate([np.ones((200, 1)), features[:, cell]], 1)
        known = np.linalg.lstsq(a, z.numpy()[:, 2 * cell : 2 * cell + 2], rcond=None)[0]
        assert h.bias[cell].detach().numpy() == pytest.approx(known[0], abs=1e-9)
        assert h.weight[cell].detach().numpy() == pytest.approx(known[1:], abs=1e-9)
    (h(x) - z).square().sum().backward()
    assert all(float(p.grad.abs().max()) < 2e-3 for p in h.parameters())


def test_a_ridge_shrinks_weights_and_leaves_the_bias_free() -> None:
    x = weather(cells=1)
    z = truth("linear", x)[:, :2] + 100.0
    h = WEATHER_LATENTS.build("linear", DRIVERS, 2).double()
    h.refit(x, z, ridge=1e9)
    assert float(h.weight.detach().abs().max()) < 1e-5
    assert h(x)[0].detach().numpy() == pytest.approx(z.mean(0).numpy(), abs=1e-3)


def test_the_curve_of_temperature_is_smooth_where_its_series_ends() -> None:
    h = WEATHER_LATENTS.build("exponential", ("temperature",), 1).double()
    x = torch.tensor([0.2 - 1e-9, 0.2 + 1e-9], dtype=torch.double).reshape(2, 1, 1) / 0.3
    curve = h.features(x).detach()[:, 0, 1]
    assert float(curve.diff().abs()) < 1e-7


def test_drivers_that_an_h_needs_are_named() -> None:
    with pytest.raises(ConfigError, match="no driver begins with 'radiation'"):
        WEATHER_LATENTS.build("quadratic", ("pressure",), 2)
    h = WEATHER_LATENTS.build("quadratic", ("pressure", "rain"), 2, of="pressure")
    assert h.count() == 3


def test_too_few_days_are_refused_without_a_ridge() -> None:
    h = WEATHER_LATENTS.build("linear", DRIVERS, 2).double()
    x = weather(3, 1)
    with pytest.raises(DataError, match="3 days for 4 features"):
        h.refit(x, torch.zeros(3, 2, dtype=torch.double))
    h.refit(x, torch.zeros(3, 2, dtype=torch.double), ridge=1.0)


def test_random_waves_make_the_kernel_that_is_told() -> None:
    """And a ridge on them is the posterior mean of that Gaussian process."""
    drivers = ("calendar", "sine_1", "clock_2", "rain")
    h = WEATHER_LATENTS.build("kernel", drivers, 2, size=3000).double()
    g = torch.Generator().manual_seed(0)
    x = torch.randn(40, 1, 4, generator=g, dtype=torch.double)
    scale = torch.tensor([[50.0, 1.0, 20.0, 3.0]])
    h.standardised_by(torch.full((1, 4), 150.0), scale)

    def squares(column: int, length: float) -> torch.Tensor:
        return ((x[:, None, 0, column] - x[None, :, 0, column]) / length).square()

    days = squares(0, 100.0 / 50.0) + squares(2, 30.0 / 20.0) + squares(3, 6.0)
    known = torch.exp(-0.5 * days) + 0.3 * torch.exp(-0.5 * squares(0, 25.0 / 50.0))
    features = h.features(x)[:, 0]
    assert float((features @ features.mT - known).abs().max()) < 0.2
    assert float((features @ features.mT - known).square().mean().sqrt()) < 0.05
    z = torch.randn(40, 2, generator=g, dtype=torch.double)
    z = z - z.mean(0)
    h.refit(x, z, ridge=0.5)
    own = features - features.mean(0)
    gram = own @ own.mT
    mean = gram @ torch.linalg.solve(gram + 0.5 * torch.eye(40, dtype=torch.double), z)
    assert float((h(x) - mean).detach().abs().max()) < 1e-6
