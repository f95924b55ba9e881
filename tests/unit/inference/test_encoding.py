"""Numbers of a product: how far rounding may move a value, and what is beyond their range."""

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from canopyflow.cubes.shards import ChunkEncoder
from canopyflow.inference.encoding import (
    ABOUT,
    COMPRESSOR,
    FILL,
    FIT_SCALE,
    cf_attributes,
    fit_numbers,
    scale_of,
    statistics_numbers,
)
from canopyflow.vocabulary import LARGEST


@given(st.sampled_from(sorted(ABOUT)), st.integers(0, 2**32 - 1))
def test_rounding_moves_no_statistic_by_more_than_two_percent_of_the_posterior(name: str, seed: int) -> None:
    """Or by half a scale, which is less than that down to 25 scales."""
    rng, about, scale = np.random.default_rng(seed), ABOUT[name], scale_of(name)
    assert about.lower >= 0 and LARGEST[name] <= scale * 65534 < 1.1 * LARGEST[name]
    sd = (about.upper * 10 ** rng.uniform(-4, -0.5, 500)).astype(np.float32)
    centre = rng.uniform(0, about.upper, 500)
    spread = np.array([0, -1.64, -0.67, 0, 0.67, 1.64])[:, None] * sd
    values = np.concatenate([sd[None], np.clip(centre + spread, 0, about.upper)]).astype(np.float32)
    numbers = statistics_numbers(values, sd, scale)
    error = np.abs((numbers + 32768.0) * scale - values.astype(float))
    assert (error <= np.maximum(0.02 * sd, scale / 2) * (1 + 1e-4) + 1e-6 * values).all()
    assert (np.diff(numbers[2:].astype(int), axis=0) >= 0).all(), "quantiles keep their order"
    coarse = numbers[:, sd > 200 * scale]
    assert not (coarse & 3).any(), "the low bits of what is known badly are empty"


@given(st.floats(0.0625, 65, width=32))
def test_fit_is_within_one_percent(fit: float) -> None:
    (number,) = fit_numbers(np.array([fit], np.float32))
    assert (number + 32768.0) * FIT_SCALE == pytest.approx(fit, rel=0.0101)


def test_what_is_beyond_the_range_ends_there_and_what_is_not_there_is_missing() -> None:
    values = np.array([[-1.0, 0, 1e9, np.inf, np.nan, 11, 2.0]], np.float32)
    sd = np.array([0.1, 0, 3.0, np.nan, np.nan, np.inf, -1.0], np.float32)
    numbers = statistics_numbers(values, sd, scale_of("lai"))[0]
    assert numbers[[0, 1, 4]].tolist() == [-32768, -32768, FILL]
    assert (numbers[[2, 3, 5]] > 32000).all() and (numbers[[2, 3, 5]] < FILL).all()
    assert (float(numbers[6]) + 32768) * scale_of("lai") == pytest.approx(2.0, abs=1e-4)
    fits = fit_numbers(np.array([0.0, 66.0, 1e20, np.nan], np.float32))
    assert fits[0] == -32768 and fits[3] == FILL and (fits[1:3] > 31000).all() and (fits[1:3] < FILL).all()


def test_a_variable_of_noisy_ground_takes_six_bytes_per_pixel() -> None:
    """Five statistics of smooth ground, with as much noise in every pixel as its posterior is wide: four
    variables, fit and flags then take less than 24 bytes. Not rounded they would take nine each."""
    rng, side = np.random.default_rng(0), 256
    field = gaussian_filter(rng.normal(size=(side, side)), 12)
    lai = 3 + 1.2 * field / field.std()
    sd = (0.1 + 0.15 * np.abs(lai)) * np.exp(0.1 * rng.normal(size=lai.shape))
    mean = np.abs(lai + sd * rng.normal(size=lai.shape))
    low, middle, high = (
        mean + sd * (shift + 0.1 * rng.normal(size=lai.shape)) for shift in (-1.6, -0.1, 1.6)
    )
    values = np.stack([mean, sd, low, middle, high]).astype(np.float32).reshape(5, -1)
    store = zarr.create_array(
        zarr.storage.MemoryStore(),
        shape=(5, side, side),
        chunks=(5, side, side),
        shards=(5, side, side),
        dtype=np.int16,
        compressors=COMPRESSOR,
    )
    numbers = statistics_numbers(values, values[1], scale_of("lai"))
    data = ChunkEncoder(store).encode(numbers.reshape(5, side, side))
    assert data is not None and len(data) / side**2 < 5.7


def test_xarray_decodes_numbers_by_itself() -> None:
    numbers = xr.Variable("x", np.array([-32768, -12768, FILL], np.int16), cf_attributes(scale_of("lai")))
    found = xr.decode_cf(xr.Dataset({"lai": numbers}))["lai"]
    np.testing.assert_allclose(found.values, [0, 3.2, np.nan], atol=1e-12)
