"""The encoder of one pixel: complete spectra, whitened bands, the clip of a product."""

from dataclasses import replace

import pytest
import torch
from encoder_inputs import differ, encoder_and_pixels, noisy

from canopyflow.errors import DataError
from canopyflow.models.encoders.pixel import PixelEncoder, stretch
from canopyflow.observations.observation import pixels
from canopyflow.vocabulary import BANDS, PLATFORMS


def test_the_pixel_encoder_needs_complete_spectra() -> None:
    encoder, seen = encoder_and_pixels("pixel")
    reflectance = seen.reflectance.clone()
    reflectance[2, 0] = float("nan")
    with pytest.raises(DataError, match="a pixel lacks a band"):
        encoder(pixels(reflectance, seen.geometry, seen.platform, BANDS))


def test_the_pixel_encoder_sees_bands_whitened() -> None:
    """Unit variance, no correlation, and each whitened band still most alike to itself."""
    seen = noisy(4000)
    encoder = PixelEncoder(BANDS, PLATFORMS)
    encoder.standardise(seen)
    x = stretch(seen.reflectance)
    white = (x - encoder.mean) @ encoder.whitening
    torch.testing.assert_close(torch.cov(white.T), torch.eye(10), atol=2e-3, rtol=0.0)
    cross = torch.corrcoef(torch.cat([white, x], 1).T)[:10, 10:]
    assert (cross.argmax(1) == torch.arange(10)).all()


def test_the_pixel_encoder_clips_as_a_product_is_clipped() -> None:
    """A store's smallest reflectance is 1e-4: simulated noise that goes below looks no different."""
    encoder, seen = encoder_and_pixels("pixel")
    features = {}
    for value in (-0.05, 0.0, 1e-4, 2e-2):
        dark = seen.reflectance.clone()
        dark[:, :3] = value
        features[value] = encoder(replace(seen, reflectance=dark))
    assert torch.equal(features[-0.05], features[1e-4]) and torch.equal(features[0.0], features[1e-4])
    assert differ(features[2e-2], features[1e-4])
    below, at = (stretch(torch.tensor([x])) for x in (-1.0, 1e-4))
    assert torch.equal(below, at) and stretch(torch.tensor([2e-4])) > at
