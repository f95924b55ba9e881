"""Small models, what their bundles say of them, and a few spectra that they made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from canopyflow.models.bundle import save
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.simulate import Survey, draw
from canopyflow.observations.observation import Given, Observation, Sample
from canopyflow.vocabulary import BANDS

SMALL = {"width": 16, "blocks": 1}
ANGLES = torch.tensor([[35.0, 4.0, 100.0], [55.0, 9.0, 20.0], [20.0, 2.0, 170.0]])


def tiny(
    family: str = "truncated_normal",
    platforms: Sequence[str] = ("S2A", "S2B"),
    bands: Sequence[str] = BANDS,
    **options: Any,
) -> Amortised:
    """An untrained model with the same weights at each call."""
    torch.manual_seed(3)
    given = ModelOptions(family, tuple(bands), tuple(platforms), encoder_options=SMALL, **options)
    model = Amortised(given)
    model.meta = meta(len(bands))
    return model


def meta(bands: int = len(BANDS)) -> dict[str, Any]:
    """What training adds to a bundle."""
    return {
        "reflectance_range": {"lower": [-0.05] * bands, "upper": [0.7] * bands},
        "angle_range": {"lower": [20.0, 0.0, 0.0], "upper": [65.0, 12.0, 180.0]},
        "fit_threshold": 3.0,
        "training": {"phases": []},
        "data": {},
        "code": {},
        "seed": 3,
    }


def untrained(platforms: Sequence[str] = ("S2A", "S2B")) -> Amortised:
    """A flow as a bundle gives it back: in evaluation mode, its weights held."""
    return tiny("nsf", platforms).requires_grad_(False).eval()


def untrained_bundle(folder: Path) -> Path:
    """:func:`untrained`, saved."""
    save(untrained(), folder, meta())
    return folder


def prior_pixels(model: Amortised, n: int) -> Observation:
    """Noisy spectra of ``n`` prior draws under one geometry, seen by the first platform."""
    g = torch.Generator().manual_seed(1)
    angles = torch.tensor([40.0, 5.0, 100.0]).expand(n, 3)
    given = Given(geometry=angles, platform=torch.zeros(n, dtype=torch.long), bands=model.bands)
    return model.generative.observe(model.generative.simulate(given, g), g)


def surveyed(model: Amortised, n: int, seed: int = 0) -> Observation:
    """Noisy spectra of ``n`` prior draws under the geometries and platforms of a campaign."""
    g = torch.Generator().manual_seed(seed)
    return model.generative.observe(draw(model.generative, Survey(), n, seed), g)


def three_pixels(model: Amortised) -> Sample:
    """Noisy pixels of the model's own platforms in turn, with the state behind each."""
    g = torch.Generator().manual_seed(0)
    given = Given(geometry=ANGLES, platform=torch.tensor([0, 1, 0]), bands=model.bands)
    clean = model.generative.simulate(given, g)
    return Sample(model.generative.observe(clean, g), clean.truth, clean.noise_free)


Some = TypeVar("Some", bound=Given)


def in_double(given: Some) -> Some:
    """The same in float64."""
    return given.each(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
