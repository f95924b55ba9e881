"""A model with random weights: small enough for any test, and as deterministic as a trained one."""

from pathlib import Path
from typing import Any

import torch

from canopyflow.models.bundle import save
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.simulate import Survey, draw
from canopyflow.observations.observation import Observation, pixels
from canopyflow.vocabulary import BANDS

PLATFORMS = ("S2A", "S2B")

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
    small = {"encoder_options": {"width": 16, "blocks": 1}}
    model = Amortised(ModelOptions(family, BANDS, platforms, **small | options))
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
    z, angles = model.generative.prior().sample(n, g), torch.tensor([40.0, 5.0, 100.0]).expand(n, 3)
    given = pixels(torch.zeros(n, len(BANDS)), angles, "S2A", BANDS)
    return model.generative.observe(model.generative.render(z, given), g)


def surveyed(model: Amortised, n: int, seed: int = 0) -> Observation:
    """Noisy spectra of ``n`` prior draws under the geometries and platforms of a campaign."""
    g = torch.Generator().manual_seed(seed)
    return model.generative.observe(draw(model.generative, Survey(), n, seed), g)
