"""Absorbed light and covered ground: against PyPI `prosail`, against the equations, at their limits."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.linalg import expm
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.physics import VARIABLES
from canopyflow.physics.bands import LEAF_MODELS, PAR_WAVELENGTHS, light_nodes, spectral_data
from canopyflow.physics.light import Fapar, Lit, absorptance, fcover, lit
from canopyflow.physics.prosail import Optics
from canopyflow.physics.prospect import prospect
from canopyflow.physics.sail import campbell
from canopyflow.vocabulary import NAMES

FEW, MANY = 300, 20_000
LARGEST, MEDIAN = 1e-3, 2e-4
"""FAPAR: what few nodes may differ from the sum over every nanometre, at most and in half of all cases."""
PAR = slice(PAR_WAVELENGTHS.size)
VERSION = {"prospect-5b": "5", "prospect-d": "D"}
TABLE = {"prospect-5b": "prospect5", "prospect-d": "prospectd"}
SHARE = {"dtype": torch.float64}
LAI, ANGLE, SOIL = NAMES.index("lai"), NAMES.index("lidfa"), NAMES.index("rsoil")


def states(n: int, seed: int, edge: float = 0.0, highest: float = 80.0) -> tuple[Tensor, Tensor]:
    """``variables`` (11, n) from the whole box, a third of them sparse, and sun zenith angles (n,) up to the
    ``highest``; a share ``edge`` of the values, about, at either bound."""
    g = torch.Generator().manual_seed(seed)
    lower, upper = (torch.tensor([getattr(v, end) for v in VARIABLES], **SHARE) for end in ("lower", "upper"))
    unit = torch.rand(n, len(VARIABLES) + 1, generator=g, **SHARE)
    unit = ((1.0 + 2.0 * edge) * unit - edge).clamp(0.0, 1.0)
    unit[::3, LAI] **= 3
    variables = lower + (upper - lower) * unit[:, :-1]
    return variables.T.contiguous(), highest * unit[:, -1]


def fapar(variables: Tensor, sun: Tensor, leaf: str = "prospect-d", exact: bool = False) -> Tensor:
    model = Fapar(leaf, exact)
    parts = zip(variables.split(1000, 1), sun.split(1000), strict=True)
    return torch.cat([model(v, campbell(v[ANGLE]), s) for v, s in parts])


def of_prosail(
    peer: ModuleType, leaf: str, variables: Tensor, sun: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """FAPAR at every nanometre (n, 301) and FCOVER (n,) from the fluxes of the other implementation."""
    soils = np.stack([peer.spectral_lib.soil.rsoil1, peer.spectral_lib.soil.rsoil2])[:, PAR]
    absorbed, covered = [], []
    for row, zenith in zip(variables.T.tolist(), sun.tolist(), strict=True):
        v = dict(zip(NAMES, row, strict=True))
        contents = [v[name] for name in ("N", "cab", "car", "cbrown", "cw", "cm")]
        _, rho, tau = peer.run_prospect(*contents, prospect_version=VERSION[leaf])
        soil = v["rsoil"] * (v["psoil"] * soils[0] + (1.0 - v["psoil"]) * soils[1])
        structure = v["lidfa"], 0.0, 2, v["lai"], v["hspot"]
        fluxes = peer.FourSAIL.foursail(rho[PAR], tau[PAR], *structure, zenith, 0.0, 0.0, soil)
        tss, too, _, rdd, _, _, tsd, *rest = fluxes
        reflected, down = rest[6], (tss + tsd) / (1.0 - soil * rdd)
        absorbed.append(1.0 - reflected - (1.0 - soil) * down)
        covered.append(1.0 - too)
    return np.array(absorbed), np.array(covered)


@pytest.mark.parametrize("leaf", LEAF_MODELS)
def test_light_equals_what_the_fluxes_of_prosail_leave_over(leaf: str) -> None:
    peer = pytest.importorskip("prosail")
    variables, sun = states(FEW, 0)
    absorbed, covered = of_prosail(peer, leaf, variables, sun)
    table, soil = getattr(peer.spectral_lib, TABLE[leaf]), peer.spectral_lib.soil
    constants = np.stack([getattr(table, name) for name in ("nr", "kab", "kcar", "kbrown", "kw", "km")])
    optics = Optics(constants[:, PAR], np.stack([soil.rsoil1, soil.rsoil2])[:, PAR])
    share = campbell(variables[ANGLE])
    rho, tau = prospect(variables[0], variables[1:6], optics.absorption, optics.interfaces)
    dry, brightness = variables[-2:]
    ground = optics.soil.T @ torch.stack([brightness * dry, brightness * (1.0 - dry)])
    ours = absorptance(rho, tau, ground, lit(variables[LAI], share, sun)).T.numpy()
    every = np.abs(ours - absorbed).max()
    integral = absorbed @ spectral_data().sunlight
    shipped = np.abs(fapar(variables, sun, leaf).numpy() - integral)
    print(
        f"\n{leaf}: absorptance {every:.1e}; few nodes {shipped.max():.1e}, median {np.median(shipped):.0e}"
    )
    assert every < 1e-9
    assert shipped.max() < LARGEST
    np.testing.assert_allclose(fcover(variables[LAI], share).numpy(), covered, atol=1e-12)


def by_four_streams(leaf: tuple[float, float], soil: float, canopy: Lit) -> float:
    """What the leaves take out of the beam and of both diffuse streams, summed over depth: the streams are
    the exponential of their linear equations, and the upward one is found by shooting at the soil."""
    rho, tau = leaf
    ks, bf, lai = (float(x) for x in canopy)
    lost = 1.0 - rho - tau
    ahead, back = (0.5 * (rho + tau) - s * 0.5 * bf * (rho - tau) for s in (1.0, -1.0))
    beam_down, beam_up = (0.5 * ks * (rho + tau) - s * 0.5 * bf * (rho - tau) for s in (1.0, -1.0))
    # Of down, up, beam, absorbed so far: derivatives by leaf area, from the top.
    rates = [
        [ahead - 1.0, back, beam_down, 0.0],
        [-back, 1.0 - ahead, -beam_up, 0.0],
        [0.0, 0.0, -ks, 0.0],
        [lost, lost, lost * ks, 0.0],
    ]
    through = expm(lai * np.array(rates))
    start, up = through @ [0.0, 0.0, 1.0, 0.0], through @ [0.0, 1.0, 0.0, 0.0]
    # At the soil: up = soil × (down + beam).
    missed, slope = (x[1] - soil * (x[0] + x[2]) for x in (start, up))
    return float((start - missed / slope * up)[3])


@pytest.mark.parametrize("leaf", [(0.1, 0.05), (0.02, 0.3), (0.5, 0.45), (0.6, 0.4)])
def test_what_is_absorbed_is_what_the_streams_lose_to_leaves(leaf: tuple[float, float]) -> None:
    """Energy is conserved, over white leaves too: those absorb nothing."""
    variables, sun = states(20, 1, highest=70.0)
    canopy = lit(variables[LAI], campbell(variables[ANGLE]), sun)
    soil = torch.linspace(0.0, 1.0, 20, **SHARE)
    rho, tau = (torch.full((1, 20), x, **SHARE) for x in leaf)
    got = absorptance(rho, tau, soil[None], canopy)[0]
    fields = zip(*(x.tolist() for x in canopy), strict=True)
    want = [by_four_streams(leaf, r, Lit(*c)) for r, c in zip(soil.tolist(), fields, strict=True)]
    # A leaf absorbs 1e-8 at least, and between white leaves and a white soil light bounces often.
    torch.testing.assert_close(
        got, torch.tensor(want, **SHARE), atol=1e-6 if sum(leaf) == 1.0 else 1e-10, rtol=0
    )


def test_no_leaves_absorb_and_cover_nothing_and_more_leaves_more() -> None:
    variables, sun = states(40, 2)
    variables[SOIL] = 0.0  # over a bright soil more leaves may shade the soil that sends light back
    share = campbell(variables[ANGLE])
    series = [torch.zeros(40, **SHARE), *torch.logspace(-3, 1, 30, **SHARE)[:, None].expand(-1, 40)]
    light, cover = [], []
    for lai in series:
        variables[LAI] = lai
        light.append(Fapar()(variables, share, sun))
        cover.append(fcover(lai, share))
    for name, values in (("fapar", torch.stack(light)), ("fcover", torch.stack(cover))):
        assert (values[0] == 0.0).all(), name
        assert (values[1] < 1e-2).all(), name
        more = values.diff(dim=0)
        assert (more > -1e-12).all(), name
        # A canopy that hides all of the soil cannot hide more.
        assert ((more > 0.0) | (values[:-1] > 0.9)).all(), name


def test_cover_is_the_shadow_of_the_ellipsoid() -> None:
    """Campbell's leaves face as the surface of an ellipsoid does: seen from above, leaf area has the mean
    projection of the ellipsoid over half its surface. Classes of 5 degrees are coarse for upright leaves."""
    for angle, error in ((30.0, 1e-3), (45.0, 1e-3), (57.0, 1e-3), (58.43, 2e-3), (70.0, 5e-3), (80.0, 0.03)):
        x = np.exp(((-1.6184e-5 * angle + 2.1145e-3) * angle - 1.2390e-1) * angle + 3.2491)
        e = np.sqrt(abs(1.0 - x**2) if x < 1.0 else 1.0 - x**-2)
        half = x**2 / 2.0 + (x * np.arcsin(e) / (2.0 * e) if x < 1.0 else np.arctanh(e) / (2.0 * e))
        closed = x**2 / half / 2.0

        def density(t: float, x: float = x) -> float:
            return float(np.sin(t) / (np.cos(t) ** 2 + x**2 * np.sin(t) ** 2) ** 2)

        area = quad(density, 0.0, np.pi / 2)[0]
        numeric = quad(lambda t, f=density: np.cos(t) * f(t), 0.0, np.pi / 2)[0] / area
        assert numeric == pytest.approx(closed, rel=1e-6)
        gap = 1.0 - fcover(torch.ones(1, **SHARE), campbell(torch.tensor([angle], **SHARE)))
        assert -float(gap.log()) == pytest.approx(closed, rel=error)


@pytest.mark.parametrize("edge", [0.0, 0.1])
def test_shares_lie_between_zero_and_one_in_the_whole_box(edge: float) -> None:
    """The soil may be brighter than white in red; float32, as drawn for products."""
    variables, sun = states(MANY, 3, edge, highest=89.0)
    single, zenith = variables.float(), sun.float()
    light, cover = fapar(single, zenith), fcover(single[LAI], campbell(single[ANGLE]))
    for values in (light, cover):
        assert values.dtype == torch.float32
        assert (values >= 0.0).all() and (values <= 1.0).all()
    torch.testing.assert_close(light.double(), fapar(variables, sun), atol=3e-6, rtol=0)


@pytest.mark.parametrize("leaf", LEAF_MODELS)
def test_few_nodes_stand_for_the_integral(leaf: str) -> None:
    constants, weights = light_nodes(leaf)
    assert constants.shape == (8, len(weights)) and weights.sum() == pytest.approx(1.0)
    assert (constants >= 0).all() and (constants[0] > 1).all()
    variables, sun = states(2000, 4)
    error = (fapar(variables, sun, leaf) - fapar(variables, sun, leaf, exact=True)).abs()
    print(f"\n{leaf}: largest error of few nodes {error.max():.1e}, median {error.median():.0e}")
    assert error.max() < LARGEST and error.median() < MEDIAN


POINTS = {
    "oblique": {},
    "no leaves": {"lai": 0.0},
    "sphere": {"lidfa": 58.43},
    "no hot spot": {"hspot": 0.0},
    "black soil": {"rsoil": 0.0},
    "bright soil": {"rsoil": 3.5, "psoil": 1.0},
    "dense": {"lai": 10.0},
}


@pytest.mark.parametrize("sun", [0.0, 30.0, 89.0])
@pytest.mark.parametrize("point", POINTS)
def test_gradients_are_finite_differences(point: str, sun: float) -> None:
    start = {v.name: 0.7 * v.lower + 0.3 * v.upper for v in VARIABLES} | POINTS[point]
    width = torch.tensor([v.upper - v.lower for v in VARIABLES], **SHARE)
    at = (torch.tensor([start[name] for name in NAMES], **SHARE) / width).requires_grad_()
    model, zenith = Fapar(), torch.tensor([sun], **SHARE)

    def both(unit: Tensor) -> Tensor:
        v = (unit * width)[:, None]
        share = campbell(v[ANGLE])
        return torch.cat([model(v, share, zenith), fcover(v[LAI], share)])

    # The floor at zero passes the gradient of what lies below it; without leaves one step is taken there.
    one_sided = point == "no leaves"
    if one_sided:
        (gradient,) = torch.autograd.functional.jacobian(lambda u: (both(u),), at)
        step = 1e-6 * torch.eye(len(NAMES), **SHARE)
        want = torch.stack([(both(at + s) - both(at)) / 1e-6 for s in step], 1)
        torch.testing.assert_close(gradient, want.detach(), atol=1e-4, rtol=1e-3)
    else:
        assert torch.autograd.gradcheck(both, at, atol=1e-6)


def test_an_unknown_leaf_is_refused() -> None:
    with pytest.raises(DataError, match="prospect-x"):
        Fapar("prospect-x")
