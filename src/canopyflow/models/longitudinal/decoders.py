"""From the coordinates of a path to spectra: a network with learned noise, or the physics of a pixel."""

import abc
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from canopyflow.models.generative._season import by_date
from canopyflow.models.generative.contract import Generative
from canopyflow.models.longitudinal.law import LOG_2PI
from canopyflow.observations.observation import Given, Observation, Sample
from canopyflow.posteriors._bounds import shrunk

_FIRST_NOISE = 0.1
"""Least standard deviation that the noise starts from, in units of that of a band."""


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
        last = shrunk(nn.Linear(hidden, count))
        self.network = nn.Sequential(
            nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last
        )
        self.log_noise = nn.Parameter(torch.full((count,), math.log(0.5)))

    @torch.no_grad()
    def standardise(self, seen: Observation) -> None:
        """Centre and scale outputs as the valid entries of ``seen`` are; start the linear map and the noise
        from principal components of complete spectra, where there are enough."""
        for band in range(len(self.bands)):
            values = seen.reflectance[..., band][seen.valid[..., band]]
            self.mean[band] = values.mean()
            self.deviation[band] = values.std().clamp(min=1e-6)
        spectra = (seen.reflectance[seen.valid.all(-1)] - self.mean) / self.deviation
        count = len(self.bands)
        if len(spectra) < 10 * count:
            return
        variance, direction = torch.linalg.eigh(torch.cov(spectra.T))
        variance, direction = variance.flip(0).clamp(min=0.0), direction.flip(1)
        used = min(self.dim, count)
        rest = float(variance[used:].mean()) if used < count else 0.0
        self.linear.weight[:, :used] = direction[:, :used] * (variance[:used] - rest).clamp(min=1e-4).sqrt()
        self.linear.bias.zero_()
        self.log_noise.fill_(0.5 * math.log(rest + _FIRST_NOISE**2))

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
    """The generative model of a pixel: coordinates of a path are its normal scores, in which the law of a
    single date is standard normal."""

    def __init__(self, pixel: Generative) -> None:
        super().__init__()
        self.pixel, self.bands = pixel, pixel.bands
        self.dim = len(pixel.space.names)

    def physical(self, z: Tensor, given: Given) -> Tensor:
        """States (*sample, n, T, D) of the pixel model, in physical units."""
        return self.pixel.prior(given).to_physical(self.pixel.from_scores(z))

    def forward(self, z: Tensor, given: Given) -> Tensor:
        dates = by_date(self.pixel, given)
        return self.pixel.decode(self.physical(z, dates), dates)

    def log_likelihood(self, z: Tensor, seen: Observation) -> Tensor:
        dates = by_date(self.pixel, seen)
        pixels = Observation(
            geometry=dates.geometry,
            platform=dates.platform,
            bands=seen.bands,
            reflectance=seen.reflectance.where(seen.valid, 0.0),
            valid=seen.valid,
        )
        value = self.pixel.log_likelihood(self.physical(z, dates), pixels)
        return torch.where(seen.valid.any(-1), value, 0.0)

    def observe(self, z: Tensor, given: Given, generator: torch.Generator | None = None) -> Tensor:
        dates, value = by_date(self.pixel, given), self(z, given)
        rows = value.flatten(0, -2)
        clean = Observation(
            geometry=dates.geometry.expand(*value.shape[:-1], 3).flatten(0, -2),
            platform=dates.platform.expand(value.shape[:-1]).flatten(),
            bands=self.bands,
            reflectance=rows,
            valid=torch.ones_like(rows, dtype=torch.bool),
        )
        free = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        return self.pixel.observe(Sample(clean, None, free), generator).reflectance.reshape(value.shape)
