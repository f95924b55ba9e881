"""The fast path, a few virtual wavelengths per band, against the convolution of whole spectra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from canopyflow.physics import VARIABLES, Prosail
from canopyflow.physics.bands import LEAF_MODELS, WAVELENGTHS, band_nodes, spectral_data
from canopyflow.vocabulary import BANDS, PLATFORMS

LARGEST, MEDIAN = 1e-4, 1e-5
"""Reflectance: what the fast path may differ from the exact one, at most and in half of all cases."""

S2C_STAND_IN = 1e-3
"""Largest error, in reflectance, of a band made from another platform's by its centre and width."""


def draws(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """The whole box of the variables; sun zenith to 80, view zenith to 20 degrees."""
    g = torch.Generator().manual_seed(seed)
    lower, upper = (
        torch.tensor([getattr(v, end) for v in VARIABLES], dtype=torch.float64) for end in ("lower", "upper")
    )
    variables = lower + (upper - lower) * torch.rand(n, len(VARIABLES), generator=g, dtype=torch.float64)
    spread = torch.tensor([80.0, 20.0, 180.0], dtype=torch.float64)
    return variables, spread * torch.rand(n, 3, generator=g, dtype=torch.float64)


def differences(leaf: str, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|fast − exact|, exact, and whether the soil is no brighter than white; each (n, platform, band)."""
    fast, exact = (Prosail(PLATFORMS, leaf=leaf, exact=e, check=False) for e in (False, True))
    variables, angles = draws(n, 20)
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
    assert constants.shape == (8, weights.shape[-1])
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-12)
    assert (constants >= 0).all() and (constants[0] > 1).all()
    assert (weights.any(0).sum(-1) <= 3).all()


@pytest.mark.parametrize(("known", "wanted"), [("S2A", "S2B"), ("S2B", "S2A")])
def test_a_band_from_centre_and_width_of_another(known: str, wanted: str) -> None:
    """How S2C is made (DATA.md), where the truth is known: each of S2A and S2B from the other."""
    data = spectral_data()
    source, target = (data.response[PLATFORMS.index(name)] for name in (known, wanted))
    made = np.stack([stretched(s, t) for s, t in zip(source, target, strict=True)])
    variables, angles = draws(500, 24)
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
