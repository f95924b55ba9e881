"""The autoencoder of maps whose latents weather predicts (LLAAE).

An encoder reads a map Y into a law of latents z, a decoder makes a map of latents, and h predicts the latents
from coarse weather X. Then decoder(h(X)) is a fine map made of weather alone. After the latent linear
adjustment autoencoder (Heinze-Deml, Sippel, Pendergrass, Lehner & Meinshausen 2021,
doi:10.5194/gmd-14-4977-2021), with h non-linear in some drivers and laws other than the Gaussian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.weather.latents.contract import Latents
from canopyflow.models.weather.laws import Law, law_of
from canopyflow.posteriors._bounds import shrunk
from canopyflow.registry import WEATHER_LATENTS

_LEAST_SCALE = 1e-6
"""Values that never change are divided by this at least, and so stay at their mean."""


@dataclass(frozen=True)
class WeatherOptions:
    """Everything the model is built from, as plain values.

    ``drivers``: names of the columns of weather; ``values``: number of values of a map; ``cells``: coarse
    cells of weather; ``dim``: latents of each. ``latents`` and ``latents_options``: entry of
    ``WEATHER_LATENTS`` (linear, quadratic, exponential, seasonal); ``law``: gaussian or gev. ``encoder`` and
    ``decoder``: widths of hidden layers, none for a linear map. ``dropout``: of the hidden layers.
    ``lowest``: least possible value of a map (0 for precipitation), or None. ``alike``: all values are
    divided by one scale, so that errors count in their unit; else each by its own.
    """

    drivers: tuple[str, ...]
    values: int
    dim: int = 8
    cells: int = 1
    latents: str = "linear"
    latents_options: dict[str, Any] = field(default_factory=dict)
    law: str = "gaussian"
    encoder: tuple[int, ...] = (128,)
    decoder: tuple[int, ...] = (128,)
    dropout: float = 0.0
    lowest: float | None = None
    alike: bool = False

    def __post_init__(self) -> None:
        for name in ("values", "dim", "cells"):
            if getattr(self, name) < 1:
                raise ConfigError(f"weather: {name} is {getattr(self, name)}", "give at least 1")
        if not self.drivers or len(set(self.drivers)) != len(self.drivers):
            raise ConfigError("weather: drivers are missing or named twice", "name each column once")


class Skip(nn.Module):
    """A linear map plus, where ``hidden`` has widths, a network of them that starts near zero."""

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.bend: nn.Sequential | None = None
        if hidden:
            layers: list[nn.Module] = []
            for before, width in zip((inputs, *hidden[:-1]), hidden, strict=True):
                layers += [nn.Linear(before, width), nn.SiLU(), nn.Dropout(dropout)]
            self.bend = nn.Sequential(*layers, shrunk(nn.Linear(hidden[-1], outputs)))

    def forward(self, v: Tensor) -> Tensor:
        straight: Tensor = self.linear(v)
        return straight if self.bend is None else straight + self.bend(v)


class WeatherAutoencoder(nn.Module):
    """Encoder, decoder and h. Maps are ``y`` (*batch, values) in their own unit, NaN where missing; weather
    is ``x`` (*batch, cells, drivers) in its own; latents are ``z`` (*batch, cells × dim).

    ``standardise`` must have been called, or weights loaded, before anything is asked. Of the n days it
    learned from, the model keeps ``day_predicted`` (n, D), latents predicted by an h that did not know the
    day, ``day_errors`` (n, D), e(Y) less these, and ``day_left`` (n, values), Y less d(e(Y)), and of how
    many ``groups`` (years) they were.
    """

    x_centre: Tensor
    x_scale: Tensor
    y_centre: Tensor
    y_scale: Tensor
    error_factor: Tensor
    day_predicted: Tensor
    day_errors: Tensor
    day_left: Tensor
    groups: Tensor

    def __init__(self, options: WeatherOptions) -> None:
        super().__init__()
        self.options = options
        self.law: type[Law] = law_of(options.law)
        size = options.cells * options.dim
        self.encoder = Skip(options.values, self.law.numbers * size, options.encoder, options.dropout)
        self.decoder = Skip(size, options.values, options.decoder, options.dropout)
        self.latents: Latents = WEATHER_LATENTS.build(
            options.latents, options.drivers, options.dim, options.cells, **options.latents_options
        )
        shape = (options.cells, len(options.drivers))
        for name, tensor in (
            ("x_centre", torch.zeros(shape)),
            ("x_scale", torch.ones(shape)),
            ("y_centre", torch.zeros(options.values)),
            ("y_scale", torch.ones(options.values)),
            ("error_factor", torch.eye(size)),
            ("day_predicted", torch.zeros(1, size)),
            ("day_errors", torch.zeros(1, size)),
            ("day_left", torch.zeros(1, options.values)),
            ("groups", torch.tensor(1)),
        ):
            self.register_buffer(name, tensor)

    @torch.no_grad()
    def standardise(self, x: Tensor, y: Tensor) -> None:
        """Take centre and scale from days ``x`` (n, cells, drivers) and ``y`` (n, values), and start encoder
        and decoder at the principal components of ``y``, scaled to variance one.

        Raises DataError for shapes that do not fit, missing weather, or values never seen.
        """
        self._check(x, y)
        seen = ~y.isnan()
        if not bool(seen.any(0).all()):
            raise DataError(
                f"{int((~seen.any(0)).sum())} values of the maps are missing on all days", "leave them out"
            )
        self.x_centre.copy_(x.mean(0))
        self.x_scale.copy_(x.std(0, correction=0).clamp(min=_LEAST_SCALE))
        self.latents.standardised_by(self.x_centre, self.x_scale)
        self.y_centre.copy_(y.nanmean(0))
        variance = (y - self.y_centre).square().nanmean(0)
        if self.options.alike:
            variance = variance.mean().expand_as(variance)
        self.y_scale.copy_(variance.sqrt().clamp(min=_LEAST_SCALE))
        self._start(self.scaled_maps(y)[0])

    def _start(self, y: Tensor) -> None:
        """Encoder and decoder at the principal components of standardised maps ``y`` (n, values)."""
        size = min(self.options.cells * self.options.dim, *y.shape)
        _, spread, directions = torch.linalg.svd(y.double(), full_matrices=False)
        deviation = (spread[:size] / len(y) ** 0.5).clamp(min=1e-3).unsqueeze(-1)
        self.encoder.linear.weight.zero_()
        self.encoder.linear.bias.zero_()
        self.decoder.linear.bias.zero_()
        self.encoder.linear.weight[:size] = (directions[:size] / deviation).to(y)
        self.decoder.linear.weight[:, :size] = (directions[:size] * deviation).mT.to(y)

    def scaled_maps(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised maps, 0 where missing, and their mask, 1 where known, each (*batch, values)."""
        known = ~y.isnan()
        scaled = torch.where(known, (y - self.y_centre) / self.y_scale, 0.0)
        return scaled, known.to(y.dtype)

    def scaled_weather(self, x: Tensor) -> Tensor:
        """Standardised drivers (*batch, cells, drivers)."""
        return (x - self.x_centre) / self.x_scale

    def encode(self, y: Tensor) -> Law:
        """The law of the latents of maps ``y``."""
        return self.law.of(self.encoder(self.scaled_maps(y)[0]))

    def decode(self, z: Tensor) -> Tensor:
        """Maps (*batch, values) of latents ``z``."""
        return self.bounded(self.free(z))

    def free(self, z: Tensor) -> Tensor:
        """As :meth:`decode`, before values below the lowest are lifted to it."""
        found: Tensor = self.y_centre + self.y_scale * self.decoder(z)
        return found

    def bounded(self, y: Tensor) -> Tensor:
        """Maps ``y`` (..., values) with no value below the lowest."""
        return y if self.options.lowest is None else y.clamp(min=self.options.lowest)

    def predict(self, x: Tensor) -> Tensor:
        """Latents h(X) (*batch, cells × dim) of weather ``x``."""
        found: Tensor = self.latents(self.scaled_weather(x))
        return found

    def downscale(self, x: Tensor) -> Tensor:
        """Fine maps (*batch, values) of weather alone: decoder(h(X))."""
        return self.decode(self.predict(x))

    def _check(self, x: Tensor, y: Tensor) -> None:
        shape = (self.options.cells, len(self.options.drivers))
        if tuple(x.shape[1:]) != shape or tuple(y.shape[1:]) != (self.options.values,) or len(x) != len(y):
            raise DataError(
                f"weather {tuple(x.shape)} and maps {tuple(y.shape)} do not fit",
                f"give (days, {shape[0]}, {shape[1]}) and (days, {self.options.values})",
            )
        if not bool(x.isfinite().all()):
            raise DataError("weather has missing values", "leave out such days")
