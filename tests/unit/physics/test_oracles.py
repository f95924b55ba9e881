"""PROSAIL against implementations that nobody here wrote, over the whole domain of variables and angles.

`prosail` 2.0.5 is other people's NumPy; `torchrtm` 1.5.8 is single precision and takes leaf angles in 13
unequal classes, so it is compared leaf by leaf.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.physics import VARIABLES, Prosail
from canopyflow.physics.bands import WAVELENGTHS, spectral_data
from canopyflow.physics.prosail import ANGLES, Optics
from canopyflow.physics.prospect import prospect
from canopyflow.vocabulary import NAMES, Variable

FEW, MANY = 300, 10_000
NUMBERS = [pytest.param(FEW), pytest.param(MANY, marks=pytest.mark.slow)]
VERSION = {"prospect-5b": "5", "prospect-d": "D"}
TABLE = {"prospect-5b": "prospect5", "prospect-d": "prospectd"}

CORNERS = 0.05
"""Share of the values that lie at each of their two bounds, where a test asks for corners."""


def draws(known: tuple[Variable, ...], n: int, seed: int, edge: float = 0.0) -> Tensor:
    """Uniform over the bounds; a share ``edge`` of the values, about, at either bound."""
    g = torch.Generator().manual_seed(seed)
    lower, upper = (
        torch.tensor([getattr(v, e) for v in known], dtype=torch.float64) for e in ("lower", "upper")
    )
    unit = torch.rand(n, len(known), generator=g, dtype=torch.float64)
    unit = ((1.0 + 2.0 * edge) * unit - edge).clamp(0.0, 1.0)
    return lower + (upper - lower) * unit


def other_optics(peer: ModuleType, leaf: str) -> Optics:
    """Our equations with the coefficients of the other implementation."""
    table, soil = getattr(peer.spectral_lib, TABLE[leaf]), peer.spectral_lib.soil
    rows = (getattr(table, name) for name in ("nr", "kab", "kcar", "kbrown", "kw", "km"))
    return Optics(np.stack(list(rows)), np.stack([soil.rsoil1, soil.rsoil2]))


@lru_cache(maxsize=1)
def prosail_spectra(leaf: str, n: int, edge: float = 0.0) -> tuple[Tensor, Tensor, NDArray[np.float64]]:
    peer = pytest.importorskip("prosail")
    variables, angles = draws(VARIABLES, n, 0, edge), draws(ANGLES, n, 1, edge).abs()
    # Sun and sensor in one direction by way of 360 degrees are a rounding apart, and theirs divides by that.
    angles[(angles[:, 0] == angles[:, 1]) & (angles[:, 2] == 360.0), 2] = 0.0
    rows = []
    for v, a in zip(variables.tolist(), angles.tolist(), strict=True):
        given = dict(zip(NAMES, v, strict=True))
        contents = [given.pop(k) for k in ("N", "cab", "car", "cbrown", "cw", "cm")]
        _, rho, tau = peer.run_prospect(*contents, prospect_version=VERSION[leaf])
        # Theirs knows azimuths to 180 degrees; beyond, it mixes up the bounds of scattering.
        psi = min(a[2], 360.0 - a[2])
        rows.append(peer.run_sail(rho, tau, tts=a[0], tto=a[1], psi=psi, typelidf=2, **given))
    return variables, angles, np.array(rows)


def ours(optics: Optics, variables: Tensor, angles: Tensor, kind: torch.dtype) -> NDArray[np.float64]:
    parts = zip(variables.to(kind).split(250), angles.to(kind).split(250), strict=True)
    return torch.cat([optics(v, a).T for v, a in parts]).double().numpy()


def darker_than_white(variables: Tensor) -> NDArray[np.bool_]:
    """Draws whose soil returns no more light than it gets; the box of brightness goes to twice that."""
    dry, wet = torch.from_numpy(spectral_data().soil).max(1).values
    return (variables[:, -1] * (variables[:, -2] * dry + (1 - variables[:, -2]) * wet) <= 1.0).numpy()


@pytest.mark.parametrize("n", NUMBERS)
@pytest.mark.parametrize("leaf", ["prospect-5b", "prospect-d"])
def test_equations_equal_prosail(leaf: str, n: int) -> None:
    """With the oracle's coefficients the two codes are one function, to rounding."""
    variables, angles, want = prosail_spectra(leaf, n)
    optics = other_optics(pytest.importorskip("prosail"), leaf)
    double = np.abs(ours(optics, variables, angles, torch.float64) - want).max()
    # Relative where reflectance exceeds one, as it may at the horizon. Between a canopy and a soil brighter
    # than white light multiplies, and so does the rounding of its inputs: a figure of its own.
    single = (np.abs(ours(optics, variables, angles, torch.float32) - want) / np.maximum(1.0, want)).max(1)
    possible = single[darker_than_white(variables)].max()
    print(f"{leaf}, {n} draws: float64 {double:.1e}; float32 {possible:.1e}, any soil {single.max():.1e}")
    assert double < 1e-9
    assert possible < 2e-5
    assert np.quantile(single, 0.99) < 1e-4


@pytest.mark.parametrize("leaf", ["prospect-5b", "prospect-d"])
def test_equations_equal_prosail_at_the_corners(leaf: str) -> None:
    """A soil brighter than white is left out: theirs may divide by nearly nothing, ours by
    SOIL_COUPLING_FLOOR at least."""
    variables, angles, want = prosail_spectra(leaf, FEW, CORNERS)
    optics = other_optics(pytest.importorskip("prosail"), leaf)
    possible = darker_than_white(variables)
    error = np.abs(ours(optics, variables, angles, torch.float64) - want)[possible].max()
    print(f"{leaf}, {possible.sum()} draws with corners: float64 {error:.1e}")
    assert error < 1e-8


@pytest.mark.parametrize(("leaf", "limit"), [("prospect-5b", 2e-6), ("prospect-d", 1e-4)])
def test_shipped_constants_equal_those_of_prosail_to_print(leaf: str, limit: float) -> None:
    """The oracle keeps PROSPECT-5B in single precision; 25 values of our PROSPECT-D have three digits."""
    variables, angles, want = prosail_spectra(leaf, FEW)
    model = Prosail(leaf=leaf)
    got = torch.cat(
        [model.spectrum(v, a) for v, a in zip(variables.split(250), angles.split(250), strict=True)]
    )
    error = np.abs(got.numpy() - want)[darker_than_white(variables)]
    print(f"{leaf}: shipped constants differ by {error.max():.1e} at most")
    assert error.max() < limit
    if leaf == "prospect-d":  # where the pigments have three digits, and nowhere else
        assert error[:, (WAVELENGTHS < 559) | (WAVELENGTHS > 780)].max() < 1e-7


@pytest.mark.parametrize(("leaf", "name"), [("prospect-5b", "prospect5b"), ("prospect-d", "prospectd")])
def test_leaf_equals_torchrtm(leaf: str, name: str) -> None:
    """To single precision, which is theirs; opaque leaves left out, where they cut a difference at 5e-4."""
    peer = pytest.importorskip("torchrtm.leaf.prospect", reason="in the test extra")
    variables = draws(VARIABLES, 500, 2)
    contents = variables[:, 1:6]
    optics = Prosail(leaf=leaf).full
    rho, tau = prospect(variables[:, 0], contents.T, optics.absorption, optics.interfaces)
    # Their PROSPECT-D has anthocyanins, the last of its contents: none here.
    given = torch.cat([contents, torch.zeros(500, 1)], 1) if leaf == "prospect-d" else contents
    theirs = getattr(peer, name)(given.float(), variables[:, 0].float(), alpha=torch.tensor(40.0))
    for mine, other in zip((rho, tau), theirs, strict=True):
        error = (mine.T - other.double()).abs()[tau.T > 0.1]
        print(f"{leaf}: largest {error.max():.1e}, median {error.median():.1e}")
        assert error.median() < 1e-6 and error.max() < 2e-5


def test_published_spectrum() -> None:
    variables = torch.tensor([1.5, 40, 8, 0, 0.015, 0.006, 3, 57, 0.2, 0.3, 1], dtype=torch.float64)
    angles = torch.tensor([30.0, 5.0, 90.0], dtype=torch.float64)
    got = Prosail(leaf="prospect-5b").spectrum(variables, angles)
    at = torch.tensor([450, 550, 670, 705, 740, 783, 865, 1610, 2190]) - 400
    want = [0.021529, 0.056194, 0.021811, 0.092286, 0.342150, 0.412285, 0.415987, 0.201871, 0.086310]
    assert got[at].tolist() == pytest.approx(want, abs=1e-6)


def test_soil_is_brightness_times_the_mixture() -> None:
    """psoil and rsoil swapped is a known mistake: with no leaves the soil is seen as it is."""
    variables, angles = draws(VARIABLES, 4, 2), draws(ANGLES, 4, 3)
    variables[:, 6] = 0.0
    dry, wet = torch.from_numpy(spectral_data().soil)
    share, brightness = variables[:, 9:10], variables[:, 10:11]
    torch.testing.assert_close(
        Prosail().spectrum(variables, angles), brightness * (share * dry + (1 - share) * wet)
    )
