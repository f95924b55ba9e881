"""A look-up table: simulated spectra that are like the one seen, weighted by how likely they make it.

Inversion by look-up tables is the classical way (Weiss, Baret et al. 2000, Agronomie 20:3). Here it is the
importance posterior with the law as proposal: entries of the table are draws of the prior, their weights the
density of the noise. With a table large enough it is exact; where few entries would carry all weight, the
likelihood is flattened until enough of them count, as tables in practice average their best solutions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.baseline import Baseline, History, Lesson
from canopyflow.models.generative.contract import Generative
from canopyflow.observations.observation import Observation
from canopyflow.physics.noise import NoiseModel
from canopyflow.samplers.contract import Draws
from canopyflow.samplers.importance import resample

_NEAR = (4.0, 3.0, 30.0)
"""Degrees of sun zenith, view zenith and relative azimuth within which a geometry counts as the pixel's:
standard deviations of a Gaussian window."""

_ADDITIVE, _RELATIVE = 0.015, 0.03
"""Scale of a band in the first, coarse search: additive, and as a share of the reflectance."""

_PIECE = 64
"""Pixels that are compared with the whole table at a time."""

_OTHER = 1e6
"""Squared distance between satellites: beyond that of any two spectra."""

_HALVINGS = 12
"""Steps of the search for the power that leaves enough entries."""


class Lut(Baseline):
    """Options: ``entries`` of the table; ``nearest``: of these the ones that are weighed for each pixel;
    ``least``: effective number of entries below which the likelihood is flattened."""

    state: Tensor
    spectrum: Tensor
    geometry: Tensor
    platform: Tensor

    def __init__(
        self, base: Generative, entries: int = 50_000, nearest: int = 500, least: float = 20.0
    ) -> None:
        super().__init__(base)
        noise = getattr(base, "noise", None)
        if not isinstance(noise, NoiseModel):
            raise ConfigError("a look-up table weighs by noise, and this law has none", "use another model")
        self.noise: NoiseModel = noise
        self.entries, self.nearest, self.least = entries, nearest, least
        self.register_buffer("state", torch.zeros(0, len(base.space.names)))
        self.register_buffer("spectrum", torch.zeros(0, len(base.bands)))
        self.register_buffer("geometry", torch.zeros(0, 3))
        self.register_buffer("platform", torch.zeros(0, dtype=torch.long))

    @property
    def reads_incomplete(self) -> bool:
        """Entries are weighed by the valid bands."""
        return True

    def learn(self, lesson: Lesson) -> History:
        """Keep the first simulations, free of noise."""
        sample = lesson.simulations["train"]
        sample = sample.rows(torch.arange(min(self.entries, len(sample))))
        assert sample.truth is not None, "simulations have one"
        self.state, self.spectrum = sample.truth, sample.seen.reflectance
        self.geometry, self.platform = sample.seen.geometry, sample.seen.platform
        return []

    def posterior(self, seen: Observation) -> Entries:
        """Weighted entries of the table. Raises DataError for bands or platforms it does not know."""
        return Entries(self, self.understood(seen))

    def candidates(self, seen: Observation) -> Tensor:
        """Places (nearest, n) of the entries that are nearest to each of n pixels, by the mean distance over
        their valid bands and by geometry; of another satellite only where its own has too few."""
        scale = 1.0 / (_ADDITIVE**2 + (_RELATIVE * self.spectrum.mean(0)) ** 2).sqrt()
        entry, window = self.spectrum * scale, self.geometry / self.geometry.new_tensor(_NEAR)
        found = []
        for part in seen.split(_PIECE):
            valid = part.valid.to(entry.dtype)
            pixel = torch.where(part.valid, part.reflectance * scale, 0.0)
            # |pixel - entry|² without the square of the pixel, which is the same for all entries.
            distance = valid @ entry.square().T - 2.0 * pixel @ entry.T
            angles = part.geometry / self.geometry.new_tensor(_NEAR)
            distance += window.square().sum(-1) - 2.0 * angles @ window.T
            distance += _OTHER * (part.platform[:, None] != self.platform)
            found.append(distance.topk(min(self.nearest, len(entry)), largest=False).indices)
        return torch.cat(found).T


class Entries:
    """The table as the posterior of the n pixels of ``seen``."""

    def __init__(self, table: Lut, seen: Observation) -> None:
        self.table, self.seen = table, seen

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draws:
        """States (count, n, D), each as often as its weight says."""
        table, seen = self.table, self.seen
        places = table.candidates(seen)
        near = ((table.geometry[places] - seen.geometry) / seen.geometry.new_tensor(_NEAR)).square().sum(-1)
        valid = None if seen.complete else seen.valid
        log_weights = table.noise.log_prob(seen.reflectance, table.spectrum[places], valid)
        log_weights = flattened(log_weights - 0.5 * near, table.least)
        chosen = places.gather(0, resample(log_weights, count, generator))
        return Draws(table.state[chosen])


def flattened(log_weights: Tensor, least: float) -> Tensor:
    """Normalised ``log_weights`` (K, *batch), to the largest power up to 1 that leaves at least ``least``
    effective entries; as they are where they have as many."""
    goal = min(least, 0.999 * len(log_weights))
    power = torch.ones_like(log_weights[0])
    few = _effective(log_weights) < goal
    steep = log_weights[:, few]
    low, high = torch.zeros_like(steep[0]), torch.ones_like(steep[0])
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        fits = _effective(middle * steep) >= goal
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    power[few] = low
    return torch.log_softmax(power * log_weights, dim=0)


def _effective(log_weights: Tensor) -> Tensor:
    return 1.0 / torch.softmax(log_weights, dim=0).square().sum(0)


ESTIMATOR = Lut
