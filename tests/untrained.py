"""A model with random weights: small enough for any test, and as deterministic as a trained one."""

from pathlib import Path
from typing import Any, TypeVar

import torch

from canopyflow.models.bundle import save
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.simulate import Survey, draw
from canopyflow.observations.observation import Given, Observation, Sample, pixels
from canopyflow.vocabulary import BANDS

PLATFORMS = ("S2A", "S2B")
SMALL = {"width": 16, "blocks": 1}
ANGLES = torch.tensor([[35.0, 4.0, 100.0], [55.0, 9.0, 20.0], [20.0, 2.0, 170.0]])
"""Geometries of three pixels, far from each other."""

META: dict[str, Any] = {
    "reflectance_range": {"lower": [-0.05] * len(BANDS), "upper": [0.9] * len(BANDS)},
    "angle_range": {"lower": [20.0, 0.0, 0.0], "upper": [65.0, 12.0, 180.0]},
    "fit_threshold": 3.0,
    "training": {},
    "data": {},
    "code": {},
    "seed": 0,
}
"""What a bundle says of its training, without any."""


def untrained(family: str = "nsf", platforms: tuple[str, ...] = PLATFORMS, **options: Any) -> Amortised:
    """Of small width, in evaluation mode, with :data:`META`; the same weights at each call."""
    torch.manual_seed(0)
    model = Amortised(ModelOptions(family, BANDS, platforms, **{"encoder_options": SMALL} | options))
    model.meta = dict(META)
    return model.requires_grad_(False).eval()


def untrained_bundle(folder: Path, **options: Any) -> Path:
    """:func:`untrained`, saved."""
    save(untrained(**options), folder, META)
    return folder


def prior_pixels(
    model: Amortised, n: int, geometry: tuple[float, float, float] = (40.0, 5.0, 100.0)
) -> Observation:
    """Noisy spectra of ``n`` prior draws under one geometry, seen by S2A."""
    g = torch.Generator().manual_seed(1)
    z, angles = model.generative.prior().sample(n, g), torch.tensor(geometry).expand(n, 3)
    given = pixels(torch.zeros(n, len(BANDS)), angles, "S2A", BANDS)
    return model.generative.observe(model.generative.render(z, given), g)


def surveyed(model: Amortised, n: int, seed: int = 0) -> Observation:
    """Noisy spectra of ``n`` prior draws under the geometries and platforms of a campaign."""
    g = torch.Generator().manual_seed(seed)
    return model.generative.observe(draw(model.generative, Survey(), n, seed), g)


def three_pixels(model: Amortised) -> Sample:
    """Noisy spectra by S2A, S2B and S2A, each under its own geometry, with the state behind each."""
    g = torch.Generator().manual_seed(0)
    given = Given(geometry=ANGLES, platform=torch.tensor([0, 1, 0]), bands=model.bands)
    clean = model.generative.simulate(given, g)
    return Sample(model.generative.observe(clean, g), clean.truth, clean.noise_free)


Some = TypeVar("Some", bound=Given)


def in_double(given: Some) -> Some:
    """The same in float64."""
    return given.each(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
