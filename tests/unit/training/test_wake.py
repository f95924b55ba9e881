"""The wake step: factors that are there are found, and none where there are none."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.models.generative.field import FieldPixel
from canopyflow.models.simulate import Survey, draw
from canopyflow.observations.observation import Observation, Sample
from canopyflow.samplers.contract import Draws
from canopyflow.training.wake import wake, without
from canopyflow.vocabulary import BANDS

FACTOR = torch.tensor([0.05, 0.0, -0.03, 0.02, 0.0, 0.06, -0.08, 0.0, 0.04, -0.05])


@dataclass
class Known:
    """An estimator that knows the state of each pixel."""

    generative: Any
    truth: Tensor

    def posterior(self, seen: Observation) -> "Known":
        return self

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draws:
        return Draws(self.truth.expand(count, *self.truth.shape))


def pixels(factor: Tensor, n: int = 3000, **noise: float) -> tuple[Any, Observation]:
    model = FieldPixel(BANDS, ("S2A",), noise=noise)
    clean = draw(model, Survey(), n, 3)
    seen = replace(clean.seen, reflectance=clean.seen.reflectance * factor.exp())
    noisy = model.observe(Sample(seen, clean.truth, clean.noise_free), torch.Generator().manual_seed(1))
    assert clean.truth is not None
    return Known(model, clean.truth), noisy


@pytest.mark.parametrize("factor", [FACTOR, torch.zeros(10)], ids=["factors", "none"])
def test_known_factors_are_found_at_known_states(factor: Tensor) -> None:
    known, seen = pixels(factor)
    found = wake(known, seen, rounds=1, draws=1)  # type: ignore[arg-type]
    # Noise of 10 % in a pixel is 0.002 in the mean of 3,000; common to bands, so not averaged over them.
    assert (found - factor).abs().max() < 0.01
    corrected = without(seen, found)
    assert torch.allclose(corrected.reflectance, seen.reflectance * torch.exp(-found))


def test_a_strong_law_keeps_factors_at_one_and_rounds_are_reproducible() -> None:
    known, seen = pixels(FACTOR, n=400)
    held = wake(known, seen, rounds=1, draws=1, deviation=1e-4)  # type: ignore[arg-type]
    assert held.abs().max() < 1e-3
    first, again = (wake(known, seen, rounds=2, draws=2) for _ in range(2))  # type: ignore[arg-type]
    assert torch.equal(first, again) and first.abs().max() > 0.02


def test_few_pixels_and_other_noise_are_refused() -> None:
    known, seen = pixels(FACTOR, n=150)
    with pytest.raises(DataError, match="150 pixels are too few"):
        wake(known, seen)  # type: ignore[arg-type]
    known.generative = object()
    with pytest.raises(DataError, match="no noise"):
        wake(known, seen)  # type: ignore[arg-type]
