"""What every encoder is held to: it looks at all that was seen, and at nothing that was not."""

import json
from dataclasses import replace

import pytest
import torch
from untrained import ANGLES

from canopyflow.errors import DataError
from canopyflow.models.encoders.contract import Encoder
from canopyflow.models.encoders.pixel import PixelEncoder, stretch
from canopyflow.models.generative.prosail import ProsailPixel
from canopyflow.observations.observation import Given, Observation, View, pixels
from canopyflow.registry import ENCODERS
from canopyflow.vocabulary import ANGLES as ANGLE_NAMES
from canopyflow.vocabulary import BANDS, PLATFORMS

every_encoder = pytest.mark.parametrize("name", sorted(n for n in ENCODERS if ENCODERS[n].view is View.PIXEL))


def encoder_and_pixels(name: str) -> tuple[Encoder, Observation]:
    """An encoder normalised on noisy simulations, and three of them."""
    torch.manual_seed(0)
    encoder: Encoder = ENCODERS.build(name, BANDS, PLATFORMS)
    seen = noisy(500)
    encoder.standardise(seen)
    return encoder.eval(), seen.rows(slice(0, 3))


def noisy(n: int) -> Observation:
    model = ProsailPixel(BANDS, PLATFORMS)
    g = torch.Generator().manual_seed(0)
    rows = torch.arange(n) % 3
    return model.observe(model.simulate(Given(geometry=ANGLES[rows], platform=rows, bands=BANDS), g), g)


def differ(one: torch.Tensor, two: torch.Tensor) -> bool:
    """In every row, by more than rounding."""
    return bool(((one - two).abs().amax(-1) > 1e-4).all())


@every_encoder
def test_features_have_the_length_that_is_said(name: str) -> None:
    encoder, seen = encoder_and_pixels(name)
    assert encoder(seen).shape == (3, encoder.features)
    assert encoder(seen.each(lambda t: t.expand(2, *t.shape))).shape == (2, 3, encoder.features)


@every_encoder
@pytest.mark.parametrize("band", BANDS)
def test_every_band_is_looked_at(name: str, band: str) -> None:
    encoder, seen = encoder_and_pixels(name)
    brighter = seen.reflectance.clone()
    brighter[:, BANDS.index(band)] += 0.05
    assert differ(encoder(replace(seen, reflectance=brighter)), encoder(seen))


@every_encoder
@pytest.mark.parametrize("angle", ANGLE_NAMES)
def test_every_angle_is_looked_at(name: str, angle: str) -> None:
    encoder, seen = encoder_and_pixels(name)
    turned = seen.geometry.clone()
    turned[:, ANGLE_NAMES.index(angle)] += 8.0
    assert differ(encoder(replace(seen, geometry=turned)), encoder(seen))


@every_encoder
@pytest.mark.parametrize("others", [1, 2])
def test_the_platform_is_looked_at(name: str, others: int) -> None:
    encoder, seen = encoder_and_pixels(name)
    other = (seen.platform + others) % len(PLATFORMS)
    assert differ(encoder(replace(seen, platform=other)), encoder(seen))


@every_encoder
def test_each_pixel_is_encoded_by_itself(name: str) -> None:
    encoder, seen = encoder_and_pixels(name)
    alone = torch.cat([encoder(row) for row in seen.split(1)])
    torch.testing.assert_close(encoder(seen), alone, rtol=1e-5, atol=1e-5)


@every_encoder
def test_an_invalid_entry_is_refused_or_matters_to_nobody(name: str) -> None:
    encoder, seen = encoder_and_pixels(name)
    valid = seen.valid.clone()
    valid[1, 3] = False
    features = []
    for garbage in (0.0, 0.7, -5.0):
        reflectance = seen.reflectance.where(valid, garbage)
        try:
            features.append(encoder(replace(seen, reflectance=reflectance, valid=valid)))
        except DataError as error:
            features.append(torch.zeros(0))
            assert "band" in error.problem
    assert all(torch.equal(each, features[0]) for each in features)


@every_encoder
def test_normalisation_is_of_plain_values_and_moves_with_the_weights(name: str) -> None:
    encoder, seen = encoder_and_pixels(name)
    json.dumps(encoder.normalisation(), allow_nan=False)
    fresh: Encoder = ENCODERS.build(name, BANDS, PLATFORMS)
    assert fresh.normalisation() != encoder.normalisation()
    fresh.load_state_dict(encoder.state_dict())
    assert fresh.normalisation() == encoder.normalisation()
    assert torch.equal(fresh.eval()(seen), encoder(seen))


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
