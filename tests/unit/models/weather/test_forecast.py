"""Draws of maps: whose errors they take, and how wide few known years make them."""

import pytest
import torch
from scipy import stats

from canopyflow.models.weather.autoencoder import WeatherAutoencoder, WeatherOptions
from canopyflow.models.weather.forecast import GAUSSIAN, SIMILAR, draw_maps, similar_days


def model(groups: int = 1) -> WeatherAutoencoder:
    """Of one driver, one latent, one value, all the same number; errors are ±1 below 0 and ±10 above."""
    found = WeatherAutoencoder(WeatherOptions(("rain",), 1, dim=1, encoder=(), decoder=())).eval()
    with torch.no_grad():
        for layer in (found.decoder.linear, found.encoder.linear):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
        found.latents.weight.fill_(1.0)
    found.day_predicted = torch.linspace(-1.0, 1.0, 200).unsqueeze(-1)
    sign = torch.where(torch.arange(200) % 2 == 0, 1.0, -1.0).unsqueeze(-1)
    found.day_errors = sign * torch.where(found.day_predicted < 0, 1.0, 10.0)
    found.day_left = torch.zeros(200, 1)
    found.groups.fill_(groups)
    return found


def test_errors_are_those_of_days_with_such_a_forecast() -> None:
    x = torch.tensor([-0.7, 0.7]).reshape(2, 1, 1)
    draws = draw_maps(model(), x, 500, torch.Generator().manual_seed(0), SIMILAR)[..., 0]
    assert sorted(set(draws[:, 0].tolist())) == pytest.approx([-1.7, 0.3])
    assert sorted(set(draws[:, 1].tolist())) == pytest.approx([-9.3, 10.7])
    near = similar_days(model(), torch.tensor([[0.7]]))
    assert near.shape == (1, 30)
    assert float((model().day_predicted[near[0]] - 0.7).abs().max()) < 0.2


@pytest.mark.parametrize("groups", [1, 4, 15])
def test_few_known_years_make_students_t(groups: int) -> None:
    x = torch.zeros(1, 1, 1)
    draws = draw_maps(model(groups), x, 20_000, torch.Generator().manual_seed(0), GAUSSIAN).ravel()
    law = stats.norm() if groups == 1 else stats.t(groups - 1)
    # Up to where errors are held.
    inside = draws[draws.abs() < 3.0].double().numpy()
    part = law.cdf(3.0) - law.cdf(-3.0)
    assert len(inside) / len(draws) == pytest.approx(part, abs=0.01)
    assert stats.kstest(inside, lambda v: (law.cdf(v) - law.cdf(-3.0)) / part).pvalue > 0.01
