"""Spectra that no field has, made from spectra of fields or from nothing: what the law is told from.

No kind of ground is named: its spectra would be found, and those of others not. They are made by what ails
them. Where the law holds such spectra too, the ratio of the densities says so, and they are not foreign.
"""

import math

import torch
from torch import Tensor

from canopyflow.models.encoders._spectra import REFLECTANCE_FLOOR
from canopyflow.vocabulary import OFFSET

_SHARES = (0.6, 0.12, 0.15, 0.1, 0.03)
"""Of the five kinds: offsets, bands apart, spectra of anything smooth, veils, and bands of no order. Offsets
are the hardest to tell, so most of what is learned is about them."""

_LEAST, _MOST = 0.004, 1.2
"""Level of a spectrum of anything: from clear water to the brightest of clouds."""


def foreign(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Spectra (n, bands) that no field has, of noisy spectra ``x`` (n, bands) by wavelength that fields
    have."""
    kinds = torch.stack([make(x, generator) for make in (_shifted, _torn, _anything, _veiled, _disordered)])
    shares = torch.tensor(_SHARES, device=x.device)
    kind = torch.multinomial(shares, len(x), replacement=True, generator=generator)
    return kinds[kind, torch.arange(len(x), device=x.device)]


def _normal(x: Tensor, bands: int, generator: torch.Generator | None) -> Tensor:
    return torch.randn(len(x), bands, device=x.device, generator=generator)


def _uniform(x: Tensor, bands: int, generator: torch.Generator | None) -> Tensor:
    return torch.rand(len(x), bands, device=x.device, generator=generator)


def _shifted(x: Tensor, g: torch.Generator | None) -> Tensor:
    """All bands too bright or too dark by about the offset of processing baseline 04.00: left in, or taken
    off twice."""
    sign = torch.where(_uniform(x, 1, g) < 0.5, 1.0, -1.0)
    return x + sign * OFFSET * (0.6 + 0.8 * _uniform(x, 1, g))


def _torn(x: Tensor, g: torch.Generator | None) -> Tensor:
    """One band or a few without data, saturated, or of another pixel."""
    n, bands = x.shape
    hit = _uniform(x, bands, g) < 0.12
    hit[torch.arange(n, device=x.device), torch.randint(bands, (n,), device=x.device, generator=g)] = True
    bright = torch.where(_uniform(x, 1, g) < 0.3, 1.5 * _uniform(x, bands, g), 0.0)
    value = x * torch.exp(_normal(x, bands, g)) + bright
    empty = torch.where(_uniform(x, 1, g) < 0.5, REFLECTANCE_FLOOR, -OFFSET)
    value = torch.where(_uniform(x, 1, g) < 0.4, empty, value)
    return torch.where(hit, value, x)


def _anything(x: Tensor, g: torch.Generator | None) -> Tensor:
    """Smooth spectra of any level, tilt and bend, as water, snow, clouds, roofs and roads have."""
    bands = x.shape[1]
    tilt = torch.linspace(-1.0, 1.0, bands, device=x.device)
    level = _LEAST * (_MOST / _LEAST) ** _uniform(x, 1, g)
    shape = 0.6 * _normal(x, 1, g) * tilt + 0.5 * _normal(x, 1, g) * (tilt.square() - 0.4)
    shape = shape + 0.3 * _normal(x, 1, g) * (tilt**3 - 0.7 * tilt) + 0.03 * _normal(x, bands, g)
    return level * torch.exp(shape) + 0.01 * _normal(x, 1, g) + 0.005 * _normal(x, bands, g)


def _veiled(x: Tensor, g: torch.Generator | None) -> Tensor:
    """Fields under the edge of a cloud, or in haze that is stronger in the blue."""
    bands = x.shape[1]
    tilt = torch.linspace(0.0, 1.0, bands, device=x.device)
    cover = 0.1 + 0.7 * _uniform(x, 1, g)
    white = (0.15 + 0.7 * _uniform(x, 1, g)) * torch.exp(-0.6 * _uniform(x, 1, g) * tilt.square())
    haze = (0.03 + 0.17 * _uniform(x, 1, g)) * torch.exp(-3.0 * _uniform(x, 1, g) * tilt)
    return torch.where(_uniform(x, 1, g) < 0.5, torch.lerp(x, white, cover), x + haze)


def _disordered(x: Tensor, g: torch.Generator | None) -> Tensor:
    """Each band by itself too bright or too dark."""
    size = 0.1 * math.e ** (2.0 * _uniform(x, 1, g))
    return x * torch.exp(size * _normal(x, x.shape[1], g))
