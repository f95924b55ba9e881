"""The encoder of one pixel: complete spectra, whitened bands, the clip of a product."""

from dataclasses import replace

import pytest
import torch
from encoder_inputs import differ, encoder_and_pixels, noisy

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.encoders._spectra import stretch
from canopyflow.models.encoders.pixel import PixelEncoder
from canopyflow.models.missing import filled
from canopyflow.observations.observation import Observation, pixels
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


def hiding() -> tuple[PixelEncoder, Observation]:
    """An encoder that was told of missing bands, with its own weights for each mark, and five pixels."""
    torch.manual_seed(0)
    encoder, seen = PixelEncoder(BANDS, PLATFORMS, width=32, blocks=1, hidden=0.3), noisy(500)
    encoder.standardise(seen)
    return encoder.eval(), seen.rows(slice(0, 5))


def test_a_missing_band_is_marked_and_what_stands_under_it_changes_no_bit() -> None:
    encoder, seen = hiding()
    valid = seen.valid.clone()
    valid[1, 3], valid[2, :6] = False, False
    found = [
        encoder(replace(seen, reflectance=seen.reflectance.where(valid, garbage), valid=valid))
        for garbage in (0.0, 0.7, -5.0, 65535.0)
    ]
    assert all(torch.equal(one, found[0]) for one in found)
    whole = encoder(seen)
    torch.testing.assert_close(found[0][[0, 3, 4]], whole[[0, 3, 4]])
    assert differ(found[0][1:3], whole[1:3])
    # Even where the band is what it was expected to be, the network is told that nobody measured it.
    centred = filled(stretch(seen.reflectance) - encoder.mean, valid, encoder.whitening @ encoder.whitening.T)
    likely = torch.sinh(centred + encoder.mean) * 0.02
    assert differ(encoder(replace(seen, reflectance=likely))[1:3], found[0][1:3])


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_of_hidden_pixels_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="'hidden' of the encoder"):
        PixelEncoder(BANDS, PLATFORMS, hidden=share)
