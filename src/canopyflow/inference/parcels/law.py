"""How alike the posterior errors of two pixels of one parcel are: learned on simulated parcels.

A posterior of a pixel is right for pixels that are drawn alone. Pixels of a parcel have much in common: the
crop and its leaves, the soil, and a part of what the sensor and the atmosphere add. So when one posterior
lies too high, that of the neighbour does too, and the mean of many pixels is hardly more certain than one of
them. How much, is a property of the model and of the prior over parcels below, and is measured:

1. Parcels are drawn from the model's own law. In coordinates in which the law of a pixel is N(0, I), pixel i
   is w_i = √c a + √(1 − c) g_i, variable by variable: a is shared by the parcel, c is :data:`COMMON`. Each
   pixel alone follows the law of pixels exactly.
2. Each is rendered and seen with noise, of which :data:`NOISE_COMMON` of the variance is that of the parcel.
3. The rank u of the truth among draws of its posterior is uniform; the scores Φ⁻¹(u) of two pixels of a
   parcel correlate with ρ, which is estimated of each output as a product that users see.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from canopyflow.atomic import write_json
from canopyflow.errors import DataError
from canopyflow.inference.encoding import ABOUT
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.generative.contract import Generative
from canopyflow.models.runtime import generator, one_thread
from canopyflow.models.simulate import Survey
from canopyflow.observations.observation import Given, Observation, Sample
from canopyflow.vocabulary import PLATFORMS

COMMON: dict[str, float] = {
    "lai": 0.9,
    "green": 0.9,
    "cover": 0.9,
    "shade": 0.9,
    "psoil": 0.9,
    "rsoil": 0.9,
    "soil_brightness": 0.9,
    "soil_moisture": 0.9,
}
"""Share of the variance of each variable over all fields that lies between parcels and not within; others
:data:`ALIKE`.

Within a parcel of one crop, leaf area and soil vary by about a quarter to a third of their spread over all
fields and seasons (coefficients of variation of 15 to 25 % in the field, where the priors have 60 to 90 %):
c = 1 − 0.3² ≈ 0.9. Leaves, their angles and their optics are those of one variety, of one age and one
management: 10 % in chlorophyll, where the prior has 50 %: c = 1 − 0.2² ≈ 0.95. Assumed, not fitted: neither
to the demo nor to any campaign.
"""

ALIKE = 0.95
"""The same of every variable that :data:`COMMON` does not name: leaves, their angles, kinds of soil."""

NOISE_COMMON = 0.5
"""Share of the variance of the observation noise that the pixels of a parcel have in common.

The noise law's budget is mostly calibration and atmospheric correction, which change over kilometres; the
sensor's own noise, of each pixel, is half a percent to two percent at reference radiance (signal-to-noise
ratios of 50 to 170, ESA Sentinel-2 user handbook). Half is the middle of what nobody has measured."""

_TABLE = 20_000
"""Draws of the prior that stand for its quantiles."""

_AT_ONCE = 512
_EVALUATIONS = 65_536
"""Pixels that are drawn at a time, and spectra where each draw is decoded."""


@dataclass(frozen=True)
class Design:
    """How much is simulated: ``parcels`` of ``pixels`` pixels, ``draws`` of each posterior."""

    parcels: int = 300
    pixels: int = 10
    draws: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Correlations:
    """ρ of each output and its standard error; what they were estimated from, and the model's digest."""

    rho: dict[str, float]
    error: dict[str, float]
    design: Design
    bundle_sha256: str = ""

    def of(self, name: str) -> float:
        """ρ of an output. Raises DataError for one that was not estimated."""
        if name not in self.rho:
            raise DataError(f"there is no correlation of {name!r}", f"there is one of {', '.join(self.rho)}")
        return self.rho[name]


def write_correlations(found: Correlations, out: Path) -> None:
    """Write as JSON, with the prior that was assumed."""
    prior = {"common": COMMON, "others": ALIKE, "noise": NOISE_COMMON}
    write_json(out, {**asdict(found), "prior": prior})


def read_correlations(content: dict[str, Any]) -> Correlations:
    """What :func:`write_correlations` wrote. Raises DataError if it is something else."""
    try:
        rho, error = ({str(k): float(v) for k, v in content[name].items()} for name in ("rho", "error"))
        return Correlations(rho, error, Design(**content["design"]), str(content["bundle_sha256"]))
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        raise DataError(
            f"these are no correlations of parcels ({problem})", "run the rule correlate again"
        ) from None


def simulate_parcels(
    generative: Generative, angle_range: dict[str, Sequence[float]], design: Design
) -> tuple[Tensor, Observation]:
    """True states (parcels · pixels, D) and what is seen of them; pixels of a parcel lie side by side."""
    g, n = generator("parcels", design.seed), design.parcels * design.pixels
    z = _states(generative, design, g)
    lower, upper = (torch.tensor(angle_range[side], dtype=z.dtype) for side in ("lower", "upper"))
    angles = lower + (upper - lower) * torch.rand(design.parcels, 3, generator=g)
    known = torch.tensor([PLATFORMS.index(name) for name in generative.platforms])
    platform = known[torch.randint(len(known), (design.parcels,), generator=g)]
    given = Given(
        geometry=angles.repeat_interleave(design.pixels, 0),
        platform=platform.repeat_interleave(design.pixels),
        bands=generative.bands,
    )
    clean = generative.render(z, given)
    shared = _errors(generative, clean, design.parcels, design.seed)
    own = _errors(generative, clean, n, design.seed + 1)
    factor, offset = (
        NOISE_COMMON**0.5 * a.repeat_interleave(design.pixels, 0) + (1.0 - NOISE_COMMON) ** 0.5 * b
        for a, b in zip(shared, own, strict=True)
    )
    reflectance = clean.seen.reflectance * (1.0 + factor) + offset
    return z, replace(clean.seen, reflectance=reflectance)


def _states(generative: Generative, design: Design, g: torch.Generator) -> Tensor:
    """States of parcels, physical. The law is independent in base coordinates, so the quantiles of each
    column turn scores into values of it."""
    prior, names = generative.prior(), generative.space.names
    table = prior.to_base(prior.sample(_TABLE, g)).sort(0).values
    common = torch.tensor([COMMON.get(name, ALIKE) for name in names])
    shared = torch.randn(design.parcels, 1, len(names), generator=g)
    own = torch.randn(design.parcels, design.pixels, len(names), generator=g)
    w = (common.sqrt() * shared + (1.0 - common).sqrt() * own).reshape(-1, len(names))
    row = (torch.special.ndtr(w.double()) * _TABLE).long().clamp(0, _TABLE - 1)
    return prior.to_physical(table.gather(0, row))


def _errors(generative: Generative, clean: Sample, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Relative and absolute errors (count, bands) of ``count`` observations, by the model's noise.

    Observing 0 and 1 with the same random numbers tells one from the other: noise is R (1 + factor) + offset.
    """
    rows = clean.rows(slice(0, count))

    def seen(value: float) -> Tensor:
        flat = replace(rows.seen, reflectance=torch.full_like(rows.seen.reflectance, value))
        return generative.observe(replace(rows, seen=flat), generator("noise", seed)).reflectance

    offset = seen(0.0)
    return seen(1.0) - offset - 1.0, offset


def scores_of_truth(
    estimator: Estimator, z: Tensor, seen: Observation, names: Sequence[str], design: Design
) -> NDArray[np.float64]:
    """Φ⁻¹ of the rank of the truth among the draws of its posterior, (pixels, outputs)."""
    g, out = generator("ranks of parcels", design.seed), []
    size = _AT_ONCE
    if estimator.spectra_per_pixel:
        size = max(1, min(size, _EVALUATIONS // estimator.spectra_per_pixel))
    on_device = generator("draws of parcels", design.seed, device=estimator.device)
    for part, truth in zip(seen.split(size), z.split(size), strict=True):
        part = part.to(estimator.device)
        with torch.no_grad():
            found = estimator.posterior(part).draw(design.draws, on_device).z
            drawn = estimator.outputs(found, part, names).cpu()
            known = estimator.generative.outputs(truth.to(estimator.device), part, names).cpu()
        ties = (drawn == known).sum(0)
        rank = (drawn < known).sum(0) + (1 + ties) * torch.rand(known.shape, generator=g)
        out.append(ndtri((rank.double() / (design.draws + 1)).clamp(1e-6, 1 - 1e-6).numpy()))
    return np.concatenate(out)


def alike(scores: NDArray[np.float64]) -> tuple[float, float]:
    """Correlation of two pixels of a parcel by ``scores`` (parcels, pixels), in [0, 1], and its standard
    error by the jackknife over parcels.

    Products of different pixels over squares of the same: of scores about 0, not about their mean.
    """
    parcels, pixels = scores.shape
    squares = (scores**2).sum(1)
    pairs = (scores.sum(1) ** 2 - squares) / (pixels * (pixels - 1))
    squares /= pixels
    without = (pairs.sum() - pairs) / (squares.sum() - squares)
    error = np.sqrt((parcels - 1) / parcels * ((without - without.mean()) ** 2).sum())
    return float(np.clip(pairs.sum() / squares.sum(), 0.0, 1.0)), float(error)


def correlations(
    estimator: Estimator, names: Sequence[str], design: Design | None = None, digest: str = ""
) -> Correlations:
    """ρ of the outputs ``names`` of a model; the same for the same arguments. Nothing of the model changes.

    ``digest``: of the model's bundle, kept beside the result.
    """
    design, names = design or Design(), sorted(names, key=list(ABOUT).index)
    usual = Survey()
    ranges = {
        side: [usual.sun_zenith[k], usual.view_zenith[k], 180.0 * k]
        for k, side in enumerate(("lower", "upper"))
    }
    with one_thread():
        z, seen = simulate_parcels(estimator.generative, estimator.meta.get("angle_range", ranges), design)
        scores = scores_of_truth(estimator, z, seen, names, design)
    found = [alike(scores[:, k].reshape(design.parcels, design.pixels)) for k in range(len(names))]
    rho, error = ({name: round(pair[k], 4) for name, pair in zip(names, found, strict=True)} for k in (0, 1))
    return Correlations(rho, error, design, digest)
