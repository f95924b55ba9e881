"""The fast path, virtual wavelengths and one compiled kernel, against the convolution of whole spectra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from canopyflow.physics import Prosail
from canopyflow.physics.bands import WAVELENGTHS, band_nodes, spectral_data
from canopyflow.physics.fused import CHUNK
from canopyflow.physics.variables import LEAF_MODELS, variables_of
from canopyflow.vocabulary import BANDS, PLATFORMS

LARGEST, MEDIAN = 1e-4, 1e-5
"""Reflectance: what the fast path may differ from the exact one, at most and in half of all cases."""

S2C_STAND_IN = 1e-3
"""Largest error, in reflectance, of a band made from another platform's by its centre and width."""


def draws(leaf: str, n: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """The whole box of the variables; sun zenith to 80, view zenith to 20 degrees."""
    known = variables_of(leaf, "campbell")
    g = torch.Generator().manual_seed(seed)
    lower, upper = (
        torch.tensor([getattr(v, end) for v in known], dtype=torch.float64) for end in ("lower", "upper")
    )
    variables = lower + (upper - lower) * torch.rand(n, len(known), generator=g, dtype=torch.float64)
    spread = torch.tensor([80.0, 20.0, 180.0], dtype=torch.float64)
    return variables.to(dtype), (spread * torch.rand(n, 3, generator=g, dtype=torch.float64)).to(dtype)


def differences(leaf: str, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|fast − exact|, exact, and whether the soil is no brighter than white; each (n, platform, band)."""
    fast, exact = (Prosail(PLATFORMS, leaf=leaf, exact=e, check=False) for e in (False, True))
    variables, angles = draws(leaf, n, 20)
    parts = []
    for v, a in zip(variables.split(250), angles.split(250), strict=True):
        # The optics are computed once for the three platforms: nothing else depends on them.
        ours, theirs = (m.optics(v, a).T @ m.weights for m in (fast, exact))
        soil = torch.stack([v[:, -1] * v[:, -2], v[:, -1] * (1 - v[:, -2])], -1) @ exact.optics.soil
        possible = soil @ exact.weights <= 1.0
        parts.append(torch.stack([(ours - theirs).abs(), theirs, possible]).unflatten(-1, (-1, len(BANDS))))
    error, value, possible = torch.cat(parts, 1).numpy()
    return error, value, possible.astype(bool)


def judge(leaf: str, n: int) -> None:
    error, value, possible = differences(leaf, n)
    largest, median = np.where(possible, error, 0.0).max(0), np.median(error, 0)
    # Over a soil brighter than white light grows at each bounce: shown, not asked for.
    beyond = np.where(possible, 0.0, error / value).max(0)
    print(f"\n{leaf}, {n} draws: largest (median) difference of the fast path, in 1e-6 reflectance;")
    print("largest over soils brighter than white, in 1e-6 of the reflectance, all S2A S2B S2C")
    for k, band in enumerate(BANDS):
        cells = (f"{largest[p, k] * 1e6:5.1f} ({median[p, k] * 1e6:4.1f})" for p in range(len(PLATFORMS)))
        print(f"  {band} ", *cells, "  ", *(f"{x * 1e6:7.0f}" for x in beyond[:, k]))
    for k, band in enumerate(BANDS):
        assert largest[:, k].max() <= LARGEST, band
        assert median[:, k].max() <= MEDIAN, band


@pytest.mark.parametrize("leaf", LEAF_MODELS)
def test_few_nodes_stand_for_the_convolution(leaf: str) -> None:
    judge(leaf, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("leaf", LEAF_MODELS)
def test_few_nodes_stand_for_the_convolution_everywhere(leaf: str) -> None:
    judge(leaf, 100_000)


@pytest.mark.parametrize("leaf", LEAF_MODELS)
def test_nodes_are_weighted_means_of_possible_materials(leaf: str) -> None:
    constants, weights = band_nodes(leaf)
    assert constants.shape == (3 + len(LEAF_MODELS[leaf]), weights.shape[-1])
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-12)
    assert (constants >= 0).all() and (constants[0] > 1).all()
    assert (weights.any(0).sum(-1) <= 4).all()


def test_leaf_angle_law_does_not_matter_to_the_nodes() -> None:
    """They were fitted to Campbell's canopies."""
    fast, exact = (Prosail(exact=e, leaf_angles="two-parameter", check=False) for e in (False, True))
    variables, angles = draws("prospect-d", 300, 21)
    laws = torch.tensor([[-0.35, -0.15], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]]).repeat(75, 1)
    both = torch.cat([variables[:, :7], laws, variables[:, 8:]], 1)
    both[:, -1] *= 0.4  # no soil brighter than white
    assert (fast(both, angles) - exact(both, angles)).abs().max() <= LARGEST


def two_ways() -> tuple[Prosail, Prosail, Tensor, Tensor, Tensor]:
    """Without kernels and with, and inputs that broadcast, of two platforms."""
    plain, fused = (Prosail(["S2A", "S2B"], ["B08", "B03"], check=False, compile=c) for c in (False, True))
    variables, angles = draws("prospect-d", 150, 22, torch.float32)
    variables[:, -1] *= 0.4  # no soil brighter than white
    return plain, fused, variables, angles, torch.arange(150) % 2


def assert_equal_values(plain: Prosail, fused: Prosail, *inputs: Tensor) -> None:
    variables, angles, index = inputs
    with torch.inference_mode():
        want, got = (m(variables.expand(2, 150, 11), angles, platform=index) for m in (plain, fused))
    torch.testing.assert_close(got, want, atol=5e-6, rtol=0.0)


@pytest.mark.parametrize("chunk", [1, 64, 75, 299, 300, 512])
def test_chunks_join_to_the_whole(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is around the kernels, with kernels that are not compiled: that takes a minute (below)."""
    monkeypatch.setattr("canopyflow.physics.prosail.compiled", lambda function: function)
    monkeypatch.setitem(CHUNK, "cpu", chunk)
    plain, fused, *inputs = two_ways()
    assert fused._fused is not None
    assert_equal_values(plain, fused, *inputs)


@pytest.mark.slow
def test_compiled_equals_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHUNK, "cpu", 64)
    plain, fused, *inputs = two_ways()
    # First without a derivative, of inputs that could have one: no later call may get that kernel.
    inputs[0].requires_grad_()
    assert_equal_values(plain, fused, *inputs)
    variables, angles, index = inputs
    slopes = []
    for model in (plain, fused):
        value = model(variables.expand(2, 150, 11), angles, platform=index)
        slopes.append(torch.autograd.grad(value.sum(), variables)[0])
    scale = slopes[0].abs().amax(0)
    torch.testing.assert_close(slopes[1] / scale, slopes[0] / scale, atol=1e-4, rtol=0.0)


@pytest.mark.parametrize(("known", "wanted"), [("S2A", "S2B"), ("S2B", "S2A")])
def test_a_band_from_centre_and_width_of_another(known: str, wanted: str) -> None:
    """How S2C is made (DATA.md), where the truth is known: each of S2A and S2B from the other."""
    data = spectral_data()
    source, target = (data.response[PLATFORMS.index(name)] for name in (known, wanted))
    made = np.stack([stretched(s, t) for s, t in zip(source, target, strict=True)])
    variables, angles = draws("prospect-d", 500, 24)
    variables[:, -1] *= 0.4
    spectra = Prosail(check=False).spectrum(variables, angles).numpy()
    error = np.abs(spectra @ (made - target).T)
    apart = np.abs(spectra @ (source - target).T)
    print(f"\n{wanted} from {known} by centre and width: largest (median) error, and of {known} itself")
    for k, band in enumerate(BANDS):
        print(f"  {band} {error[:, k].max():.1e} ({np.median(error[:, k]):.1e})  {apart[:, k].max():.1e}")
    assert error.max() <= S2C_STAND_IN
    assert np.median(error) < np.median(apart)


def stretched(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``source`` with the centroid and the width at half maximum of ``target``."""

    def shape(response: np.ndarray) -> tuple[float, float]:
        above = WAVELENGTHS[response >= response.max() / 2]
        return float((response * WAVELENGTHS).sum() / response.sum()), float(above[-1] - above[0])

    (old, old_width), (new, new_width) = shape(source), shape(target)
    moved = np.interp((WAVELENGTHS - new) * old_width / new_width + old, WAVELENGTHS, source)
    return np.asarray(moved / moved.sum())


def test_without_a_compiler_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.warns(RuntimeWarning, match="no-such-compiler") as said:
        model = Prosail(compile=True)
    assert len(said) == 1
    variables, angles = draws("prospect-d", 3, 23)
    assert torch.equal(model(variables, angles), Prosail()(variables, angles))
