"""From the coordinates of a path to spectra: a network with learned noise, or the physics of a pixel."""

import abc
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from canopyflow.models.generative.contract import Generative
from canopyflow.models.longitudinal.law import LOG_2PI
from canopyflow.observations.observation import Given, Observation, Sample, View
from canopyflow.vocabulary import PLATFORMS

G = TypeVar("G", bound=Given)

_USUAL_GEOMETRY = (45.0, 0.0, 0.0)


class Decoder(nn.Module, abc.ABC):
    """``dim`` coordinates → spectra in ``bands``. z (*sample, n, T, D)."""

    dim: int
    bands: tuple[str, ...]

    @abc.abstractmethod
    def forward(self, z: Tensor, given: Given) -> Tensor:
        """Noise-free reflectance (*sample, n, T, band)."""

    @abc.abstractmethod
    def log_likelihood(self, z: Tensor, seen: Observation) -> Tensor:
        """log p(x | z) (*sample, n, T) of the valid entries of each date; 0 for a date without any."""

    @abc.abstractmethod
    def observe(self, z: Tensor, given: Given, generator: torch.Generator | None = None) -> Tensor:
        """Reflectance (*sample, n, T, band) as a sensor would report it."""

    @torch.no_grad()
    def standardise(self, seen: Observation) -> None:
        """Take what there is to take from training data; the default takes nothing."""


class NetworkDecoder(Decoder):
    """A linear map and a network; noise is independent, its standard deviation learned for each band.

    It knows no geometry: what the sun and the view do to a series goes into the noise.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, bands: Sequence[str], dim: int, hidden: int = 64) -> None:
        super().__init__()
        self.bands, self.dim = tuple(bands), dim
        count = len(self.bands)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))
        self.linear = nn.Linear(dim, count)
        self.network = nn.Sequential(
            nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, count)
        )
        self.log_noise = nn.Parameter(torch.full((count,), math.log(0.5)))

    @torch.no_grad()
    def standardise(self, seen: Observation) -> None:
        """Centre and scale outputs as the valid entries of ``seen`` are."""
        for band in range(len(self.bands)):
            values = seen.reflectance[..., band][seen.valid[..., band]]
            self.mean[band] = values.mean()
            self.deviation[band] = values.std().clamp(min=1e-6)

    @property
    def noise(self) -> Tensor:
        """Standard deviation (band) of the noise, reflectance."""
        # A floor: the density of a band that one season fits exactly has no upper bound.
        return self.deviation * (self.log_noise.exp() + 1e-3)

    def forward(self, z: Tensor, given: Given) -> Tensor:
        return self.mean + self.deviation * (self.linear(z) + self.network(z))

    def log_likelihood(self, z: Tensor, seen: Observation) -> Tensor:
        wanted = torch.where(seen.valid, seen.reflectance.to(z), 0.0)
        error = (wanted - self(z, seen)) / self.noise
        each = -0.5 * (error.square() + LOG_2PI) - self.noise.log()
        return torch.where(seen.valid, each, 0.0).sum(-1)

    def observe(self, z: Tensor, given: Given, generator: torch.Generator | None = None) -> Tensor:
        value = self(z, given)
        noise = torch.randn(value.shape, generator=generator, dtype=value.dtype, device=value.device)
        return value + self.noise * noise


class PixelDecoder(Decoder):
    """The generative model of a pixel: coordinates of a path are its probit coordinates."""

    def __init__(self, pixel: Generative) -> None:
        super().__init__()
        self.pixel, self.bands = pixel, pixel.bands
        self.dim = len(pixel.space.names)

    def physical(self, z: Tensor, given: Given) -> Tensor:
        """States (*sample, n, T, D) of the pixel model, in physical units."""
        return self.pixel.prior(given).to_physical(self.pixel.from_probit(z))

    def forward(self, z: Tensor, given: Given) -> Tensor:
        flat = dates(given, self.pixel.platforms)
        value = self.pixel.decode(self.physical(z, flat).flatten(-3, -2), flat)
        return value.unflatten(-2, z.shape[-3:-1])

    def log_likelihood(self, z: Tensor, seen: Observation) -> Tensor:
        flat = dates(seen, self.pixel.platforms)
        known = flat.valid.any(-1)
        value = self.pixel.log_likelihood(self.physical(z, flat).flatten(-3, -2), flat)
        return torch.where(known, value, 0.0).unflatten(-1, z.shape[-3:-1])

    def observe(self, z: Tensor, given: Given, generator: torch.Generator | None = None) -> Tensor:
        flat, value = dates(given, self.pixel.platforms), self(z, given)
        rows = value.flatten(0, -2)
        copies = len(rows) // len(flat)
        blank = Observation(
            geometry=flat.geometry.repeat(copies, 1),
            platform=flat.platform.repeat(copies),
            bands=self.bands,
            reflectance=rows,
            valid=torch.ones_like(rows, dtype=torch.bool),
        )
        free = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        noisy = self.pixel.observe(Sample(blank, None, free), generator)
        return noisy.reflectance.reshape(value.shape)


def dates(given: G, platforms: Sequence[str] = ()) -> G:
    """Seasons (n, T) as n·T pixels. Circumstances of dates without a valid band become harmless ones."""
    if isinstance(given, Observation):
        known = given.valid.any(-1)
        usual = torch.tensor(_USUAL_GEOMETRY, dtype=given.geometry.dtype, device=given.geometry.device)
        first = given.platform.new_tensor(PLATFORMS.index(platforms[0]) if platforms else 0)
        given = replace(
            given,
            geometry=torch.where(known[..., None], given.geometry, usual),
            platform=torch.where(known, given.platform, first),
            reflectance=torch.where(given.valid, given.reflectance, 0.0),
        )
    changed = replace(given, day=None, proxies=None, view=View.PIXEL)
    return changed.each(lambda tensor: tensor.flatten(0, 1))
