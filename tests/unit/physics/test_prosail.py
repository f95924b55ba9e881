"""Bands, derivatives and parts of PROSAIL; its oracles, limits and domain have files of their own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.physics import VARIABLES, Prosail
from canopyflow.physics.bands import WAVELENGTHS, spectral_data
from canopyflow.physics.exponential import e1, plate
from canopyflow.physics.sail import campbell
from canopyflow.vocabulary import BANDS, PLATFORMS

LOWER = torch.tensor([v.lower for v in VARIABLES], dtype=torch.float64)
UPPER = torch.tensor([v.upper for v in VARIABLES], dtype=torch.float64)
PUBLISHED_CENTROIDS = {
    "S2A": (492.4, 559.9, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 1613.7, 2202.4),
    "S2B": (492.1, 559.0, 664.9, 703.8, 739.1, 779.7, 833.0, 864.0, 1610.4, 2185.7),
    "S2C": (489.0, 560.6, 666.5, 707.1, 741.1, 784.7, 834.6, 865.6, 1612.0, 2191.3),
}


def draws(n: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    variables = LOWER + (UPPER - LOWER) * torch.rand(n, 11, generator=g, dtype=torch.float64)
    spread = torch.tensor([75.0, 20.0, 180.0], dtype=torch.float64)
    return variables.to(dtype), (spread * torch.rand(n, 3, generator=g, dtype=torch.float64)).to(dtype)


def test_exact_bands_are_the_weighted_spectrum() -> None:
    variables, angles = draws(5, 4)
    want = Prosail().spectrum(variables, angles) @ torch.from_numpy(spectral_data().response[0].T.copy())
    torch.testing.assert_close(Prosail(exact=True)(variables, angles), want)


@pytest.mark.parametrize("exact", [False, True])
def test_any_subset_of_bands_in_any_order(exact: bool) -> None:
    variables, angles = draws(4, 12)
    every = Prosail("S2B", exact=exact)(variables, angles)
    some = ["B12", "B03", "B8A", "B04"]
    got = Prosail("S2B", bands=some, exact=exact)(variables, angles)
    torch.testing.assert_close(got, every[:, [BANDS.index(name) for name in some]])


def test_responses_have_the_published_centroids() -> None:
    data = spectral_data()
    for row, platform in zip(data.response, PLATFORMS, strict=True):
        assert (row @ WAVELENGTHS).tolist() == pytest.approx(PUBLISHED_CENTROIDS[platform], abs=0.15)


def test_mixed_platforms_equal_each_alone() -> None:
    variables, angles = draws(6, 5)
    index = torch.tensor([0, 1, 2, 0, 2, 1])
    mixed = Prosail(PLATFORMS, bands=["B04", "B08"])(variables.expand(2, 6, 11), angles, platform=index)
    for i, k in enumerate(index.tolist()):
        alone = Prosail(PLATFORMS[k], bands=["B04", "B08"])(variables[i], angles[i])
        torch.testing.assert_close(mixed[:, i], alone.expand(2, 2))
    with pytest.raises(DataError, match="platform per sample"):
        Prosail(PLATFORMS)(variables, angles)


def test_gradient_equals_finite_differences() -> None:
    variables, angles = draws(3, 6)
    variables[:, 10] *= 0.4
    model = Prosail(check=False)
    unit = ((variables - LOWER) / (UPPER - LOWER)).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: model(LOWER + (UPPER - LOWER) * u, angles), unit, atol=1e-6)


def test_second_derivative_equals_finite_differences() -> None:
    """Families that follow the curvature of the target need it."""
    variables, angles = draws(1, 7)
    variables[:, 10] *= 0.4
    model = Prosail(bands=["B04", "B08", "B11"], check=False)
    unit = ((variables - LOWER) / (UPPER - LOWER)).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda u: model(LOWER + (UPPER - LOWER) * u, angles), unit, atol=1e-5)


def test_reflectance_is_smooth_through_the_sphere() -> None:
    """Campbell's two closed forms meet at eccentricity one without a step."""
    angle = torch.linspace(58.0, 59.0, 2001, dtype=torch.float64)
    shares = campbell(angle)
    torch.testing.assert_close(shares.sum(0), torch.ones(2001, dtype=torch.float64))
    assert shares.diff(dim=1).diff(dim=1).abs().max() < 1e-8


def test_exponential_integral() -> None:
    special = pytest.importorskip("scipy.special", reason="scipy is the reference here")
    k = torch.logspace(-7, 1.8, 3000, dtype=torch.float64)
    want = torch.from_numpy(special.exp1(k.numpy()))
    torch.testing.assert_close(e1(k), want, atol=1e-14, rtol=1e-11)
    torch.testing.assert_close(e1(k.float()).double(), want, atol=3e-7, rtol=3e-6)
    transmitted, absorbed = plate(k)
    torch.testing.assert_close(
        transmitted, torch.from_numpy(2 * special.expn(3, k.numpy())), atol=1e-14, rtol=1e-9
    )
    torch.testing.assert_close(absorbed, 1 - transmitted, atol=1e-14, rtol=0.0)
