"""Encoders and what they look at."""

import torch
from untrained import ANGLES

from canopyflow.models.encoders.contract import Encoder
from canopyflow.models.generative.prosail import ProsailPixel
from canopyflow.observations.observation import Given, Observation
from canopyflow.registry import ENCODERS
from canopyflow.vocabulary import BANDS, PLATFORMS


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
