"""Bands that were not measured: hidden evenly, filled by regression, refused where none is left."""

from dataclasses import replace

import pytest
import torch
from encoder_inputs import noisy

from canopyflow.errors import DataError
from canopyflow.models.missing import filled, hide


def normal(bands: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Covariance of a random normal distribution, and a thousand draws of it, in float64."""
    g = torch.Generator().manual_seed(0)
    root = torch.randn(bands, bands, generator=g, dtype=torch.float64)
    covariance = root @ root.T + 0.1 * torch.eye(bands)
    return covariance, torch.randn(1000, bands, generator=g, dtype=torch.float64) @ torch.linalg.cholesky(
        covariance
    ).T


def test_missing_bands_get_their_conditional_mean() -> None:
    """By the textbook's other formula, from the covariance: Σ_mo Σ_oo^-1 x_o, row by row."""
    covariance, x = normal(5)
    valid = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    valid[~valid.any(-1), 2] = True
    found = filled(x, valid, torch.linalg.inv(covariance))
    for row, seen, result in zip(x[:100], valid[:100], found[:100], strict=True):
        inner = covariance[seen][:, seen]
        expected = row.clone()
        expected[~seen] = covariance[~seen][:, seen] @ torch.linalg.solve(inner, row[seen])
        torch.testing.assert_close(result, expected, rtol=1e-8, atol=1e-8)
    assert torch.equal(found[valid], x[valid])


def test_what_stands_under_a_missing_band_changes_no_bit() -> None:
    covariance, x = normal(5)
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[::3, 1], valid[::2, 4] = False, False
    precision = torch.linalg.inv(covariance)
    found = filled(x, valid, precision)
    for garbage in (0.0, -1e9, float("nan"), float("inf")):
        assert torch.equal(filled(x.where(valid, garbage), valid, precision), found)


def test_a_pixel_without_any_band_is_refused() -> None:
    covariance, x = normal(5)
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[7] = False
    with pytest.raises(DataError, match="no valid band at all"):
        filled(x, valid, torch.linalg.inv(covariance))


def test_bands_are_hidden_evenly_from_a_share_of_the_pixels() -> None:
    seen = noisy(3).rows(torch.zeros(20_000, dtype=torch.long))
    found = hide(seen, 0.3, torch.Generator().manual_seed(0))
    lost = (~found.valid).sum(-1)
    assert abs((lost > 0).float().mean() - 0.3) < 0.015 and lost.max() == len(seen.bands) - 1
    numbers = torch.bincount(lost[lost > 0], minlength=10)[1:] / (lost > 0).sum()
    assert (numbers - 1 / 9).abs().max() < 0.02
    of_bands = (~found.valid).float().mean(0)
    assert (of_bands - 0.15).abs().max() < 0.01
    assert torch.equal(found.reflectance, seen.reflectance)
    assert torch.equal(hide(seen, 0.3, torch.Generator().manual_seed(0)).valid, found.valid)
    assert hide(seen, 0.0).complete and not hide(seen, 1.0).valid.all(-1).any()


def test_as_many_bands_are_hidden_as_is_asked() -> None:
    found = hide(noisy(100), 1.0, torch.Generator().manual_seed(0), lost=4)
    assert ((~found.valid).sum(-1) == 4).all() and len({str(row.tolist()) for row in found.valid}) > 30


def test_what_was_missing_stays_missing() -> None:
    seen = noisy(100)
    valid = seen.valid.clone()
    valid[:, 3], valid[:50, 1:] = False, False
    found = hide(replace(seen, valid=valid), 1.0).valid
    assert not found[~valid].any() and found.any(-1).all()
    assert torch.equal(found[:50], valid[:50]) and (found[50:] != valid[50:]).any(-1).all()
