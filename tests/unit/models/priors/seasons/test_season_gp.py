"""The Gaussian-process prior: its covariance, its draws, its density, and what it refuses."""

import math

import pytest
import torch
from linear_pixel import LinearPixel

from canopyflow.errors import ConfigError
from canopyflow.models.priors.seasons.season_gp import BEHAVIOUR, SeasonGP, behaviour
from canopyflow.registry import GENERATIVE
from canopyflow.vocabulary import BANDS, PLATFORMS

DAY = torch.tensor([[-20.0, 10.0, 14.0, 60.0, 200.0], [0.0, 5.0, 300.0, 120.0, 121.0]])


def test_covariance_is_a_constant_and_a_matern_process():
    prior = SeasonGP(LinearPixel(), constant={"lai": 0.3}, length={"lai": 20.0})
    found = prior.covariance(DAY)
    assert found.shape == (2, 3, 5, 5) and found.dtype == torch.float64
    r = math.sqrt(3.0) * 46.0 / 20.0
    assert found[0, 0, 2, 3] == pytest.approx(0.3 + 0.7 * (1 + r) * math.exp(-r), abs=1e-12)
    assert torch.equal(found, found.mT) and (found.diagonal(dim1=-2, dim2=-1) == 1.0).all()
    assert found[0, 2, 0, 4] == pytest.approx(behaviour("rsoil")[0], abs=1e-2)


def test_draws_have_this_covariance_and_each_date_the_law_of_the_pixel():
    prior = SeasonGP(LinearPixel())
    n = 40_000
    w = prior.sample(DAY[:1].expand(n, -1), torch.Generator().manual_seed(0))
    assert w.shape == (n, 5, 3) and w.dtype == torch.get_default_dtype()
    both = torch.cov(w.permute(2, 1, 0).reshape(15, n)).double()
    expected = torch.block_diag(*prior.covariance(DAY[:1])[0])
    assert (both - expected).abs().max() < 5.0 * math.sqrt(2.0 / n)


def test_density_is_that_of_the_normal_distribution():
    prior = SeasonGP(LinearPixel())
    g = torch.Generator().manual_seed(1)
    w = torch.stack([prior.sample(DAY, g) for _ in range(4)]).double()
    normal = torch.distributions.MultivariateNormal(torch.zeros(5).double(), prior.covariance(DAY))
    expected = normal.log_prob(w.movedim(-1, -2)).sum(-1)
    torch.testing.assert_close(prior.log_prob(w, DAY), expected, rtol=1e-6, atol=1e-4)
    assert prior.log_prob(w.float(), DAY).dtype == torch.float32


def test_variables_that_behave_alike_count_one_by_one():
    """They share a factor; its determinant is there once for each of them."""
    alike = {"constant": dict.fromkeys(("lai", "cab"), 0.3), "length": dict.fromkeys(("lai", "cab"), 20.0)}
    prior = SeasonGP(LinearPixel(), **alike)
    assert len(prior.shares) == 2
    w = prior.sample(DAY, torch.Generator().manual_seed(1)).double()
    normal = torch.distributions.MultivariateNormal(torch.zeros(5).double(), prior.covariance(DAY))
    expected = normal.log_prob(w.movedim(-1, -2)).sum(-1)
    torch.testing.assert_close(prior.log_prob(w, DAY), expected, rtol=1e-6, atol=1e-4)


def test_two_dates_on_one_day_have_one_value():
    day = torch.tensor([[10.0, 10.0, 40.0]])
    w = SeasonGP(LinearPixel()).sample(day, torch.Generator().manual_seed(0))
    assert (w[0, 0] - w[0, 1]).abs().max() < 1e-3 < (w[0, 0] - w[0, 2]).abs().max()


def test_order_of_days_changes_nothing():
    prior = SeasonGP(LinearPixel())
    w = prior.sample(DAY, torch.Generator().manual_seed(0)).double()
    turned = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(prior.log_prob(w[:, turned], DAY[:, turned]), prior.log_prob(w, DAY))


@pytest.mark.parametrize("name", ["prosail", "field"])
def test_every_variable_of_every_pixel_model_behaves_like_something(name):
    """Patterns that name a variable name one that exists; the others change like leaf contents."""
    names = set(GENERATIVE.build(name, BANDS, PLATFORMS).space.names)
    soil = [n for n in names if n.startswith("soil") or n == "rsoil"]
    assert soil and all(behaviour(n)[0] >= 0.95 for n in soil if n != "soil_moisture")
    assert all(behaviour(n) == (0.5, 35.0) for n in names & {"cab", "car", "cw", "cbrown", "green"})
    known = set().union(*(GENERATIVE.build(n, BANDS, PLATFORMS).space.names for n in ("prosail", "field")))
    assert all(pattern in known for pattern in BEHAVIOUR if "*" not in pattern)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"constant": {"lia": 0.5}}, r"season_gp: constant\.lia: unknown name; did you mean 'lai'"),
        ({"constant": {"lai": 1.5}}, r"constant\.lai: must be a number from 0 to 1 \(got 1\.5\)"),
        ({"constant": {"lai": "3e-1"}}, r"constant\.lai: must .*'3e-1'\); YAML .* write 0\.3"),
        ({"constant": 0.5}, r"constant: must be a table \{name: value\} \(got 0\.5\)"),
        ({"length": {"lai": 0.0}}, r"length\.lai: must be a number above 0 \(got 0\.0\)"),
        ({"length": {"lai": math.nan}}, r"length\.lai: must"),
        ({"length": {"lai": True}}, r"length\.lai: must"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        SeasonGP(LinearPixel(), **options)
