"""Laws of latents against scipy's, and their moments."""

import math

import pytest
import torch
from scipy import stats

from canopyflow.errors import ConfigError
from canopyflow.models.weather.laws import LAWS, ExtremeValue, Gaussian, law_of

SHAPES = (-0.45, -0.2, -0.01, 0.0, 1e-4, 0.06, 0.2, 0.45)


def extreme(xi: float, loc: float = 0.4, scale: float = 0.7) -> ExtremeValue:
    loc_, scale_, xi_ = (torch.tensor([v], dtype=torch.double) for v in (loc, scale, xi))
    return ExtremeValue(loc_, scale_, xi_)


@pytest.mark.parametrize("xi", SHAPES)
def test_draws_of_a_gev_are_scipys(xi: float) -> None:
    draws = extreme(xi).rsample((20_000,), torch.Generator().manual_seed(1)).ravel().numpy()
    assert stats.kstest(draws, stats.genextreme(c=-xi, loc=0.4, scale=0.7).cdf).pvalue > 0.01


@pytest.mark.parametrize("xi", SHAPES)
def test_moments_of_a_gev_are_scipys(xi: float) -> None:
    law = extreme(xi)
    mean, variance = stats.genextreme(c=-xi, loc=0.4, scale=0.7).stats("mv")
    if abs(xi) < 1e-3:
        # scipy's own lose digits about zero; these are the series to first order.
        euler, zeta = 0.5772156649, math.pi**2 / 6.0
        mean = 0.4 + 0.7 * (euler + 0.5 * (euler**2 + zeta) * xi)
        variance = 0.49 * (zeta + 2.0 * (1.2020569 + euler * zeta) * xi)
    assert float(law.mean) == pytest.approx(float(mean), rel=2e-6)
    assert float(law.variance) == pytest.approx(float(variance), rel=1e-5)


@pytest.mark.parametrize("xi", SHAPES)
def test_density_of_a_gev_is_scipys_and_draws_have_its_moments(xi: float) -> None:
    law, known = extreme(xi), stats.genextreme(c=-xi, loc=0.4, scale=0.7)
    z = torch.tensor(known.ppf([0.01, 0.2, 0.5, 0.9, 0.99])).unsqueeze(-1)
    assert law.log_prob(z).numpy() == pytest.approx(known.logpdf(z.ravel().numpy()), abs=1e-6)
    draws = law.rsample((400_000,), torch.Generator().manual_seed(2))
    spread = float(law.variance.sqrt())
    assert float(draws.mean()) == pytest.approx(float(law.mean), abs=0.01 * spread)
    if xi < 0.25:  # beyond, the fourth moment does not exist, and a sample's variance does not settle
        assert float(draws.var()) == pytest.approx(float(law.variance), rel=0.02)


@pytest.mark.parametrize("name", sorted(LAWS))
def test_the_divergence_is_that_of_quadrature(name: str) -> None:
    law = {"gaussian": Gaussian(torch.tensor([0.3]), torch.tensor([0.6])), "gev": extreme(0.15, 0.3, 0.6)}[
        name
    ]
    grid = torch.linspace(-8.0, 40.0, 200_001, dtype=torch.double).unsqueeze(-1)
    log_q = law.log_prob(grid)
    log_p = stats.norm.logpdf(grid.ravel().numpy())
    exact = torch.trapezoid(log_q.exp() * (log_q - torch.as_tensor(log_p)), grid.ravel())
    g = torch.Generator().manual_seed(3)
    estimate = torch.stack([law.kl(g) for _ in range(1_500)]).mean()
    assert float(estimate) == pytest.approx(float(exact), abs=0.03)


@pytest.mark.parametrize("name", sorted(LAWS))
def test_gradients_are_finite_at_zero_shape_and_in_the_tails(name: str) -> None:
    law_class = law_of(name)
    raw = torch.zeros(3, law_class.numbers * 2, requires_grad=True)
    law = law_class.of(raw)
    z = torch.tensor([-30.0, 0.0, 30.0]).unsqueeze(-1).expand(3, 2)
    (law.log_prob(z).sum() + law.mean.sum() + law.variance.sum() + law.kl().sum()).backward()
    assert raw.grad is not None and bool(raw.grad.isfinite().all())
    assert float(law.scale.detach()[0, 0]) == pytest.approx(0.3)


def test_an_unknown_law_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'gev'"):
        law_of("gevv")
