"""Priors: samples, exact densities and the co-distribution map."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from canopyflow.errors import ConfigError
from canopyflow.physics import VARIABLES, prior, priors
from canopyflow.physics.priors import PRIORS

NAMES = [v.name for v in VARIABLES]

# Zérah et al. 2024, table 1, and Weiss & Baret 2016; written down here, for a test that reads the table which
# it checks would follow every slip of it.
PUBLISHED = {
    "N": (1.5, 0.3),
    "cab": (45.0, 30.0),
    "car": (11.0, 5.0),
    "cbrown": (0.0, 0.3),
    "cw": (0.025, 0.02),
    "cm": (0.005, 0.005),
    "lai": (2.0, 3.0),
    "lidfa": (60.0, 30.0),
    "hspot": (0.2, 0.5),
    "rsoil": (1.2, 2.0),
}
"""Location and scale of the truncated normals; psoil is uniform."""

PUBLISHED_AT_LARGEST_LAI = {
    "N": (1.3, 1.8),
    "cab": (45.0, 90.0),
    "cbrown": (0.0, 0.2),
    "cw": (0.015, 0.055),
    "lidfa": (55.0, 65.0),
    "hspot": (0.1, 0.5),
    "rsoil": (0.5, 1.2),
}
"""Bounds at the largest leaf area index; the others keep theirs."""


def test_the_tables_are_the_published_ones() -> None:
    assert priors.TRUNCATED_NORMALS == PUBLISHED
    assert priors.BOUNDS_AT_LARGEST_LAI == PUBLISHED_AT_LARGEST_LAI


@pytest.mark.parametrize("name", PRIORS)
def test_samples_have_density_and_repeat(name: str) -> None:
    p = prior(name)
    z = p.sample(5000, torch.Generator().manual_seed(1))
    assert z.shape == (5000, 11) and z.dtype == torch.get_default_dtype()
    assert p.log_prob(z).isfinite().all()
    assert torch.equal(z, p.sample(5000, torch.Generator().manual_seed(1)))
    assert (p.log_prob(p.upper + 0.1 * (p.upper - p.lower)) == -torch.inf).all()


@pytest.mark.parametrize("name", PRIORS)
def test_density_integrates_to_one(name: str) -> None:
    """Importance sampling from the bounding box: the mean of p(z)/uniform is one."""
    p = prior(name)
    lower, upper = p.lower.double(), p.upper.double()
    g = torch.Generator().manual_seed(2)
    z = lower + (upper - lower) * torch.rand(400_000, 11, generator=g, dtype=torch.float64)
    ratio = torch.exp(p.log_prob(z) + (upper - lower).log().sum())
    assert abs(ratio.mean() - 1.0) < 5 * ratio.std() / len(z) ** 0.5 + 1e-6  # the bounds come in float32
    assert ratio.std() / len(z) ** 0.5 < 0.1


def test_marginal_moments_are_those_of_the_truncated_normal() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is the reference here")
    z = prior("prosail-vae").sample(200_000, torch.Generator().manual_seed(3)).double()
    distribution = stats.truncnorm((0 - 2) / 3, (10 - 2) / 3, loc=2, scale=3)
    lai = z[:, NAMES.index("lai")]
    assert lai.mean() == pytest.approx(distribution.mean(), abs=0.02)
    assert lai.std() == pytest.approx(distribution.std(), abs=0.02)
    assert z[:, NAMES.index("psoil")].mean() == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("name", PRIORS)
def test_map_inverse_and_jacobian(name: str) -> None:
    p = prior(name)
    g = torch.Generator().manual_seed(4)
    u = p.lower + (p.upper - p.lower) * torch.rand(20, 11, generator=g)
    u = u.double()
    torch.testing.assert_close(p.to_base(p.to_physical(u)), u)
    for point in u[:5]:
        jacobian = torch.autograd.functional.jacobian(p.to_physical, point)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], p.log_abs_det(point))
    torch.testing.assert_close(p.log_prob(p.to_physical(u)), p.log_prob_base(u) - p.log_abs_det(u))


def test_bounds_shrink_to_the_published_ones() -> None:
    p = prior("atbd")
    lower, upper = p.lower.double().clone(), p.upper.double().clone()
    lower[NAMES.index("lai")] = upper[NAMES.index("lai")]
    low, high = p.to_physical(lower), p.to_physical(upper)
    for i, v in enumerate(VARIABLES):
        if v.name != "lai":
            wanted = PUBLISHED_AT_LARGEST_LAI.get(v.name, (v.lower, v.upper))
            assert (low[i].item(), high[i].item()) == pytest.approx(wanted, rel=1e-6)
    lower[NAMES.index("lai")] = 0.0
    torch.testing.assert_close(p.to_physical(lower), lower)


@pytest.mark.parametrize("name", PRIORS)
def test_gradients_are_finite_and_right(name: str) -> None:
    p = prior(name)
    z = p.sample(50, torch.Generator().manual_seed(5)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: p.log_prob(x), z[:2].detach().requires_grad_(), atol=1e-5)
    outside = (p.upper + 1.0).double().requires_grad_()
    torch.where(p.log_prob(outside).isfinite(), p.log_prob(outside), torch.zeros(())).sum().backward()
    assert outside.grad is not None and outside.grad.isfinite().all()


def test_unknown_prior_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'atbd'"):
        prior("atdb")


def scipy_distributions(name: str) -> list[Any]:
    """The eleven distributions on the base box, as scipy has them."""
    stats = pytest.importorskip("scipy.stats", reason="scipy is the reference here")
    distributions = []
    for v in VARIABLES:
        if name == "uniform" or v.name == "psoil":
            distributions.append(stats.uniform(v.lower, v.upper - v.lower))
        else:
            loc, scale = PUBLISHED[v.name]
            distributions.append(
                stats.truncnorm((v.lower - loc) / scale, (v.upper - loc) / scale, loc=loc, scale=scale)
            )
    return distributions


@pytest.mark.parametrize("name", PRIORS)
def test_samples_follow_the_density(name: str) -> None:
    """On the base box variables are independent and follow their distributions (Kolmogorov-Smirnov)."""
    stats = pytest.importorskip("scipy.stats", reason="scipy is the reference here")
    p = prior(name)
    base = p.to_base(p.sample(20_000, torch.Generator().manual_seed(6)).double())
    for column, distribution in zip(base.T.numpy(), scipy_distributions(name), strict=True):
        assert stats.kstest(column, distribution.cdf).pvalue > 1e-4
    correlation = torch.corrcoef(base.T) - torch.eye(11, dtype=torch.float64)
    assert correlation.abs().max() < 5 / 20_000**0.5


@pytest.mark.parametrize("name", PRIORS)
@settings(max_examples=30, deadline=None)
@given(share=st.lists(st.floats(0.0, 1.0), min_size=11, max_size=11))
def test_density_is_that_of_scipy_through_the_jacobian(name: str, share: list[float]) -> None:
    """log p(z) = log p(u) − log |det ∂z/∂u|, the Jacobian by autograd, the distributions by scipy."""
    p = prior(name)
    lower, upper = (
        torch.tensor([getattr(v, e) for v in VARIABLES], dtype=torch.float64) for e in ("lower", "upper")
    )
    u = lower + (upper - lower) * torch.tensor(share, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(p.to_physical, u)
    want = sum(
        float(distribution.logpdf(x))
        for distribution, x in zip(scipy_distributions(name), u.clamp(lower, upper).tolist(), strict=True)
    )
    want -= float(torch.linalg.slogdet(jacobian)[1])
    assert float(p.log_prob(p.to_physical(u))) == pytest.approx(want, abs=1e-9)


def test_co_distribution_leaves_dense_canopies_no_pale_leaves() -> None:
    """At the largest leaf area chlorophyll is squeezed into [45, 90]; below there is none."""
    p = prior("atbd")
    z = p.sample(50_000, torch.Generator().manual_seed(7)).double()
    lai, cab = z[:, NAMES.index("lai")], z[:, NAMES.index("cab")]
    assert (cab >= 20 + 2.5 * lai - 1e-3).all()
    below = p.to_physical(p.lower.double())
    below[NAMES.index("lai")], below[NAMES.index("cab")] = 8.0, 30.0
    assert p.log_prob(below) == -torch.inf
    assert prior("prosail-vae").log_prob(below).isfinite()
