"""What every encoder is held to: it looks at all that was seen, and at nothing that was not."""

import json
from dataclasses import replace

import pytest
import torch
from encoder_inputs import differ, encoder_and_pixels

from canopyflow.errors import DataError
from canopyflow.models.encoders.contract import Encoder
from canopyflow.observations.observation import View
from canopyflow.registry import ENCODERS
from canopyflow.vocabulary import ANGLES as ANGLE_NAMES
from canopyflow.vocabulary import BANDS, PLATFORMS

every_encoder = pytest.mark.parametrize("name", sorted(n for n in ENCODERS if ENCODERS[n].view is View.PIXEL))


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
