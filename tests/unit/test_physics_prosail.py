"""PROSAIL against the independent implementation, its derivatives, and its corners."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.physics import VARIABLES, Prosail
from canopyflow.physics.bands import BANDS, PLATFORMS, WAVELENGTHS, spectral_data
from canopyflow.physics.exponential import e1, plate
from canopyflow.physics.prosail import Optics
from canopyflow.physics.sail import campbell
from canopyflow.physics.variables import DERIVED, derived

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


def oracle(variables: Tensor, angles: Tensor, version: str) -> np.ndarray:
    prosail = pytest.importorskip("prosail", reason="the oracle of PyPI is a test dependency")
    rows = []
    for v, a in zip(variables.tolist(), angles.tolist(), strict=True):
        rows.append(prosail.run_prosail(*v[:9], *a, prospect_version=version, psoil=v[9], rsoil=v[10]))
    return np.array(rows)


@pytest.mark.parametrize("version", ["5", "D"])
def test_equations_equal_the_oracle(version: str) -> None:
    """With the oracle's own coefficients the two codes are the same function, to rounding."""
    prosail = pytest.importorskip("prosail", reason="the oracle of PyPI is a test dependency")
    table = prosail.spectral_lib.prospect5 if version == "5" else prosail.spectral_lib.prospectd
    soil = prosail.spectral_lib.soil
    optics = Optics(
        np.stack([table.nr, table.kab, table.kcar, table.kbrown, table.kw, table.km]),
        np.stack([soil.rsoil1, soil.rsoil2]),
    )
    variables, angles = draws(200, 0)
    variables[0, 6] = 0.0  # no canopy
    variables[:, 10] *= 0.4  # soils darker than white: beyond, the oracle divides by nearly nothing
    angles[1] = torch.tensor([35.0, 0.0, 0.0])
    error = np.abs(optics(variables, angles).T.numpy() - oracle(variables, angles, version)).max()
    assert error < 1e-11


@pytest.mark.parametrize(
    ("leaf", "version", "digits"), [("prospect-5b", "5", 1e-6), ("prospect-d", "D", 5e-5)]
)
def test_shipped_constants_equal_the_oracle_to_print(leaf: str, version: str, digits: float) -> None:
    """Our PROSPECT-D table is printed with fewer digits than the oracle's."""
    variables, angles = draws(30, 1)
    variables[:, 10] *= 0.4
    error = np.abs(
        Prosail(leaf=leaf).spectrum(variables, angles).numpy() - oracle(variables, angles, version)
    ).max()
    assert error < digits


def test_published_spectrum() -> None:
    variables = torch.tensor([1.5, 40, 8, 0, 0.015, 0.006, 3, 57, 0.2, 0.3, 1], dtype=torch.float64)
    angles = torch.tensor([30.0, 5.0, 90.0], dtype=torch.float64)
    got = Prosail(leaf="prospect-5b").spectrum(variables, angles)
    at = torch.tensor([450, 550, 670, 705, 740, 783, 865, 1610, 2190]) - 400
    want = [0.021529, 0.056194, 0.021811, 0.092286, 0.342150, 0.412285, 0.415987, 0.201871, 0.086310]
    assert got[at].tolist() == pytest.approx(want, abs=1.5e-6)


def test_soil_is_brightness_times_the_mixture() -> None:
    """psoil and rsoil swapped is a known mistake: with no leaves the soil is seen as it is."""
    variables, angles = draws(4, 2)
    variables[:, 6] = 0.0
    dry, wet = torch.from_numpy(spectral_data().soil)
    share, brightness = variables[:, 9:10], variables[:, 10:11]
    want = brightness * (share * dry + (1 - share) * wet)
    torch.testing.assert_close(Prosail().spectrum(variables, angles), want)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_few_wavelengths_stand_for_the_convolution(platform: str) -> None:
    variables, angles = draws(1000, 3)
    fast, exact = Prosail(platform), Prosail(platform, exact=True)
    assert fast.wavelengths.size <= 50
    error = (fast(variables, angles) - exact(variables, angles)).abs().amax(0)
    assert error.max() < 3e-4, dict(zip(BANDS, error.tolist(), strict=True))


def test_exact_bands_are_the_weighted_spectrum() -> None:
    variables, angles = draws(5, 4)
    want = Prosail().spectrum(variables, angles) @ torch.from_numpy(spectral_data().response[0].T.copy())
    torch.testing.assert_close(Prosail(exact=True)(variables, angles), want)


def test_responses_have_the_published_centroids() -> None:
    data = spectral_data()
    for row, platform in zip(data.response, PLATFORMS, strict=True):
        assert (row @ WAVELENGTHS).tolist() == pytest.approx(PUBLISHED_CENTROIDS[platform], abs=0.15)
    torch.testing.assert_close(torch.from_numpy(data.weights.sum(-1)), torch.ones(3, 10, dtype=torch.float64))
    assert data.weights.min() >= 0.0


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
    model = Prosail()
    unit = ((variables - LOWER) / (UPPER - LOWER)).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: model(LOWER + (UPPER - LOWER) * u, angles), unit, atol=1e-6)


def test_second_derivative_equals_finite_differences() -> None:
    """Families that follow the curvature of the target need it."""
    variables, angles = draws(1, 7)
    variables[:, 10] *= 0.4
    model = Prosail(bands=["B04", "B08", "B11"])
    unit = ((variables - LOWER) / (UPPER - LOWER)).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda u: model(LOWER + (UPPER - LOWER) * u, angles), unit, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_draw_gives_nonsense(dtype: torch.dtype) -> None:
    variables, angles = draws(10_000, 8, dtype)
    variables.requires_grad_()
    value = Prosail()(variables, angles)
    value.sum().backward()
    assert value.isfinite().all() and (value > 0).all()
    assert variables.grad is not None and variables.grad.isfinite().all()


def test_float32_is_float64_to_five_digits() -> None:
    variables, angles = draws(2000, 9)
    variables[:, 10] *= 0.4
    model = Prosail()
    assert (model(variables.float(), angles.float()) - model(variables, angles)).abs().max() < 1e-5


CORNERS = {
    "no leaves": ({"lai": 0.0}, (30.0, 5.0, 90.0)),
    "sharp hot spot": ({"hspot": 0.01}, (30.0, 5.0, 90.0)),
    "sun behind the sensor": ({}, (30.0, 30.0, 0.0)),
    "sun and sensor overhead": ({}, (0.0, 0.0, 0.0)),
    "sphere of leaf angles": ({"lidfa": 58.43}, (30.0, 5.0, 90.0)),
    "white leaf": ({"cab": 0.0, "car": 0.0, "cbrown": 0.0, "cw": 0.0, "cm": 0.0}, (30.0, 5.0, 90.0)),
    "low sun": ({}, (85.0, 10.0, 180.0)),
    "single plate": ({"N": 1.0}, (30.0, 5.0, 90.0)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("corner", sorted(CORNERS))
def test_corners_have_values_and_gradients(corner: str, dtype: torch.dtype) -> None:
    changes, view = CORNERS[corner]
    start = dict(
        zip([v.name for v in VARIABLES], [1.5, 40, 8, 0.1, 0.015, 0.006, 3, 57, 0.2, 0.3, 1], strict=True)
    )
    variables = torch.tensor(list((start | changes).values()), dtype=dtype, requires_grad=True)
    value = Prosail()(variables, torch.tensor(view, dtype=dtype))
    value.sum().backward()
    assert value.isfinite().all() and (value >= 0).all() and (value < 1.2).all()
    assert variables.grad is not None and variables.grad.isfinite().all()


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


def test_bad_input_is_named() -> None:
    variables, angles = draws(2, 10)
    with pytest.raises(DataError, match="B09"):
        Prosail(bands=["B04", "B09"])
    with pytest.raises(DataError, match="S2A"):
        Prosail("S2a")
    with pytest.raises(DataError, match="prospect-d"):
        Prosail(leaf="prospect-dd")
    with pytest.raises(DataError, match="last dimension must be 11"):
        Prosail()(variables[:, :10], angles)
    variables[1, 6] = 11.0
    with pytest.raises(DataError, match="lai is 11 in 1 of 2"):
        Prosail(check=True)(variables, angles)


def test_derived_variables() -> None:
    variables, _ = draws(3, 11)
    totals = derived(variables)
    assert tuple(totals) == tuple(d.name for d in DERIVED)
    torch.testing.assert_close(totals["ccc"], variables[:, 6] * variables[:, 1])
    torch.testing.assert_close(totals["cwc"], variables[:, 6] * variables[:, 4])
