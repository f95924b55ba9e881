"""Independent and correlated families against other people's formulas for the same distributions."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from canopyflow.errors import ConfigError
from canopyflow.posteriors import build
from canopyflow.posteriors._copula import FullCorrelation, IndependentPosterior, correlation_factor
from canopyflow.posteriors._marginals import TruncatedNormalMarginal
from canopyflow.posteriors.contract import Box
from canopyflow.posteriors.gev import GeneralisedExtremeValueMarginal
from canopyflow.posteriors.kumaraswamy import KumaraswamyMarginal
from canopyflow.posteriors.low_rank import FactorCorrelation
from canopyflow.posteriors.mixture import MixturePosterior, mixture_quantile
from canopyflow.posteriors.truncated_mvn import SequentialPosterior


def of(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def cube(dim: int) -> Box:
    return Box(torch.zeros(dim, dtype=torch.float64), torch.ones(dim, dtype=torch.float64))


def factor(dim: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return correlation_factor(torch.randn(dim * (dim - 1) // 2, generator=g, dtype=torch.float64), dim)


UNIT = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
SCORE = torch.linspace(-3.0, 3.0, 61, dtype=torch.float64)


@pytest.mark.parametrize("xi", [-0.5, -0.28, -1e-9, 0.0, 1e-4, 0.03, 0.5])
@pytest.mark.parametrize(("loc", "scale"), [(0.3, 0.15), (0.9, 0.05), (0.0, 0.6)])
def test_gev_is_scipys_truncated_to_the_bounds(xi: float, loc: float, scale: float) -> None:
    distribution = scipy.stats.genextreme(-xi, loc=loc, scale=scale)
    below, above = distribution.cdf(0.0), distribution.cdf(1.0)
    marginal = GeneralisedExtremeValueMarginal(of(loc), of(scale), of(xi))
    # Up to the seam, beyond which ours goes on although a GEV ends.
    inside = torch.tensor(1.0 + xi * (UNIT.numpy() - loc) / scale > 0.0101) if xi else UNIT > 0.0
    want = torch.tensor(distribution.logpdf(UNIT) - math.log(above - below))
    likely = inside & (want > -1000.0)
    got = marginal.log_density(UNIT.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(got[likely], want[likely], atol=2e-4, rtol=1e-3)
    assert (got[~likely] < -3.0).all()
    level = torch.special.ndtr(SCORE)
    quantile = torch.tensor(distribution.ppf(below + level * (above - below)))
    seen = (1.0 + xi * (quantile - loc) / scale) > 0.0101
    torch.testing.assert_close(
        marginal.quantile(SCORE.unsqueeze(-1)).squeeze(-1)[seen],
        quantile[seen].clamp(1e-6, 1 - 1e-6),
        atol=1e-4,
        rtol=0.0,
    )


def test_gev_beyond_its_end_is_a_distribution_still() -> None:
    """ξ = −0.5 ends at loc + 2 scale = 0.5: the tail beyond is thin, decreasing and counted."""
    marginal = GeneralisedExtremeValueMarginal(of(0.3), of(0.1), of(-0.5))
    unit = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    density = marginal.log_density(unit.unsqueeze(-1)).squeeze(-1).exp()
    assert density.mean().item() == pytest.approx(1.0, abs=1e-6)
    assert density[unit > 0.499].mean().item() * 0.501 < 2e-4
    tail = marginal.log_density(of(0.52, 0.56, 0.6).unsqueeze(-1)).squeeze(-1)
    assert (tail.diff() < -1.0).all() and tail.isfinite().all()


def test_gev_of_a_shape_it_does_not_have() -> None:
    with pytest.raises(ConfigError, match=r"shape 0\.7.*within ±0\.5"):
        build("gev", 2, 3, [0.0, 0.0], [1.0, 1.0], shape=0.7)
    family = build("gev", 2, 3, [0.0, 0.0], [1.0, 1.0], shape=-0.28)
    assert family(torch.zeros(4, 3)).rsample((5,)).shape == (5, 4, 2)


@pytest.mark.parametrize(("location", "power"), [(0.5, 1.0), (0.3, 4.0), (0.95, 30.0), (0.02, 1.5)])
def test_kumaraswamy_is_its_textbook_formula(location: float, power: float) -> None:
    marginal = KumaraswamyMarginal(of(location).log(), of(power))
    b = location**-power
    want = math.log(power * b) + (power - 1) * UNIT.log() + (b - 1) * torch.log1p(-(UNIT**power))
    likely = want > -1000.0
    got = marginal.log_density(UNIT.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(got[likely], want[likely], atol=1e-8, rtol=1e-8)
    level = torch.special.ndtr(SCORE)
    quantile = (1.0 - (1.0 - level) ** (1.0 / b)) ** (1.0 / power)
    torch.testing.assert_close(
        marginal.quantile(SCORE.unsqueeze(-1)).squeeze(-1), quantile, atol=1e-8, rtol=1e-6
    )


@pytest.mark.parametrize(("loc", "scale"), [(0.5, 0.1), (0.0, 0.3), (1.0, 0.002), (0.4, 1.4), (-0.2, 0.1)])
def test_truncated_normal_is_scipys(loc: float, scale: float) -> None:
    distribution = scipy.stats.truncnorm(-loc / scale, (1.0 - loc) / scale, loc=loc, scale=scale)
    marginal = TruncatedNormalMarginal(of(loc), of(scale))
    quantile = marginal.quantile(SCORE.unsqueeze(-1))
    want = torch.tensor(distribution.ppf(torch.special.ndtr(SCORE)))
    torch.testing.assert_close(quantile.squeeze(-1), want.clamp(1e-6, 1 - 1e-6), atol=1e-9, rtol=1e-6)
    moved = (want > 1e-6) & (want < 1 - 1e-6)
    torch.testing.assert_close(
        marginal.score(quantile).squeeze(-1)[moved], SCORE[moved], atol=1e-5, rtol=1e-5
    )
    assert marginal.kl_uniform().item() == pytest.approx(-distribution.entropy(), abs=1e-6)
    assert IndependentPosterior(marginal, Box(of(2.0), of(7.0))).kl_uniform() is not None


def test_scores_keep_their_digits_at_the_bounds_in_single_precision() -> None:
    """Next to a bound Φ(s) − Φ(a) cancels: the score would be off by tenths."""
    for loc, unit in ((0.0, [1e-6, 1e-5, 3e-4]), (1.0, [1 - 1e-5, 1 - 3e-4])):
        fine, coarse = (
            TruncatedNormalMarginal(torch.tensor([loc], dtype=t), torch.tensor([0.3], dtype=t))
            for t in (torch.float64, torch.float32)
        )
        value = torch.tensor(unit)
        error = coarse.score(value.unsqueeze(-1)) - fine.score(value.double().unsqueeze(-1))
        assert error.abs().max() < 2e-3


def test_dependence_is_the_multivariate_normal() -> None:
    score = torch.randn(50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    lower = factor(4)
    correlation = lower @ lower.mT
    torch.testing.assert_close(correlation.diagonal(), torch.ones(4, dtype=torch.float64))
    want = MultivariateNormal(torch.zeros(4).double(), correlation).log_prob(score)
    torch.testing.assert_close(FullCorrelation(lower).log_density(score), want)
    few = FactorCorrelation(torch.randn(4, 2, generator=torch.Generator().manual_seed(2)).double())
    dense = few.loading @ few.loading.mT + torch.diag(few.own.square())
    want = MultivariateNormal(torch.zeros(4).double(), dense).log_prob(score)
    torch.testing.assert_close(few.log_density(score), want)
    for dependence, matrix in ((FullCorrelation(lower), correlation), (few, dense)):
        draws = dependence.draw((100_000, 4), torch.Generator().manual_seed(3))
        assert (draws.T.corrcoef() - matrix).abs().max() < 0.015
        assert (draws.std(0) - 1.0).abs().max() < 0.015


def test_sequential_conditionals_are_the_normal_over_the_conditional_masses() -> None:
    """The formula of truncated_mvn's first lines, term by term, against torch's normal."""
    loc, scale, lower = of(0.3, 0.6, 0.5), of(0.2, 0.3, 0.25), factor(3)
    q = SequentialPosterior(loc, scale, lower, cube(3))
    unit = torch.rand(20, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    unit = unit[(unit[:, 0] - unit[:, 1]).abs() < 0.4]
    triangle = scale.unsqueeze(-1) * lower
    noise = torch.linalg.solve_triangular(triangle, (unit - loc).mT, upper=False).mT
    mean = unit - noise * triangle.diagonal()
    first, last = -mean / triangle.diagonal(), (1.0 - mean) / triangle.diagonal()
    assert (first < 3.0).all() and (last > -3.0).all(), "no conditional is held back here"
    masses = (torch.special.ndtr(last) - torch.special.ndtr(first)).log().sum(-1)
    want = MultivariateNormal(loc, scale_tril=triangle).log_prob(unit) - masses
    torch.testing.assert_close(q.log_prob(unit), want)


def mixture(weight: Tensor, dim: int = 2, components: int = 3) -> MixturePosterior:
    g = torch.Generator().manual_seed(4)
    return MixturePosterior(
        weight.log_softmax(-1),
        # Near each other: across a gap the gradient in the weights is right, but of large variance.
        0.7 * torch.randn(components, dim, generator=g, dtype=torch.float64),
        0.5 + torch.rand(components, dim, generator=g, dtype=torch.float64),
        torch.stack([factor(dim, seed) for seed in range(components)]),
        cube(dim),
    )


def test_mixture_draws_alike_with_and_without_gradients() -> None:
    q = mixture(of(0.5, -0.5, 1.0))
    smooth = q.rsample((50_000,), torch.Generator().manual_seed(5))
    with torch.no_grad():
        picked = q.rsample((50_000,), torch.Generator().manual_seed(6))
    for j in range(2):
        assert scipy.stats.ks_2samp(smooth[:, j], picked[:, j]).pvalue > 1e-3
    both = scipy.stats.ks_2samp(smooth.prod(-1), picked.prod(-1))
    assert both.pvalue > 1e-3 and smooth.T.corrcoef()[0, 1] == pytest.approx(
        picked.T.corrcoef()[0, 1].item(), abs=0.02
    )


def test_mixture_gradient_in_the_weights_is_unbiased() -> None:
    """d/dw E[f(z)] of draws against the derivative of the mean over the components, which is exact."""

    def f(z: Tensor) -> Tensor:
        return (z * torch.tensor([1.0, -2.0])).sum(-1).sin() + z[..., 0] * z[..., 1]

    weight = of(0.5, -0.5, 1.0).requires_grad_()
    generator = torch.Generator().manual_seed(7)
    gradients = torch.stack(
        [
            torch.autograd.grad(f(mixture(weight).rsample((4_000,), generator)).mean(), weight)[0]
            for _ in range(20)
        ]
    )
    error = gradients.std(0) / math.sqrt(20)
    with torch.no_grad():
        means = [
            f(mixture(torch.where(torch.arange(3) == k, 0.0, -1e4).double()).rsample((400_000,))).mean()
            for k in range(3)
        ]
    exact = torch.autograd.grad((weight.softmax(-1) * torch.stack(means)).sum(), weight)[0]
    assert (error < 0.03 * exact.abs().max()).all()
    assert ((gradients.mean(0) - exact).abs() < 4.5 * error).all()


def test_mixture_quantile_across_a_gap_and_of_one_component() -> None:
    weight, mean, scale = of(0.25, 0.75), of(-5.0, 5.0), of(0.1, 0.2)
    score = torch.special.ndtri(of(1e-6, 0.1, 0.2499, 0.2501, 0.6, 1 - 1e-6))
    value = mixture_quantile(weight, mean, scale, score)
    back = (weight * torch.special.ndtr((value.unsqueeze(-1) - mean) / scale)).sum(-1)
    torch.testing.assert_close(torch.special.ndtri(back), score, atol=1e-6, rtol=1e-6)
    same = mixture_quantile(of(1.0), of(0.7), of(0.3), score)
    torch.testing.assert_close(same, 0.7 + 0.3 * score)


@pytest.mark.parametrize(
    ("name", "option", "match"),
    [("mixture", {"components": 0}, "0 components"), ("low_rank", {"rank": 0}, "rank 0")],
)
def test_options_that_mean_nothing(name: str, option: dict[str, int], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build(name, 2, 3, [0.0, 0.0], [1.0, 1.0], **option)


@pytest.mark.parametrize(
    "name", ["gaussian_copula", "multivariate_logit_normal", "low_rank", "truncated_mvn"]
)
def test_correlated_families_can_say_that_variables_trade_off(name: str) -> None:
    """Fitted to a ridge, they find its correlation; independent ones have none by construction."""
    torch.manual_seed(0)
    family = build(name, 2, 3, [0.0, 0.0], [1.0, 1.0])
    h = torch.ones(3)
    optimiser = torch.optim.Adam(family.parameters(), lr=3e-2)
    truth = 0.5 + 0.12 * torch.randn(4_000, 2) @ torch.tensor([[1.0, -0.8], [0.0, 0.6]])
    for _ in range(200):
        loss = -family(h).log_prob(truth.clamp(0.0, 1.0)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        draws = family(h).rsample((20_000,), torch.Generator().manual_seed(0))
    assert draws.T.corrcoef()[0, 1] == pytest.approx(-0.8, abs=0.04)
