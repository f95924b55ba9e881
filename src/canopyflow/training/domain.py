"""Learn what spectra the law holds, and how often each flag may be wrong about them."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from canopyflow.models.descent import descent
from canopyflow.models.domain import Domain
from canopyflow.models.encoders._spectra import REFLECTANCE_FLOOR
from canopyflow.models.generative.contract import Generative
from canopyflow.models.runtime import generator
from canopyflow.observations.observation import Observation, Sample
from canopyflow.training.foreign import foreign

FALSE_ALARMS = 0.006
"""Share of the law's own spectra that count as foreign."""

_STEPS, _BATCH, _RATE = 6000, 512, 6e-3
_PER_STEP = 8
"""Simulations for each step: few of them would be learned by heart."""

_INCOMPLETE = 0.4
"""Share of the pixels that lack bands while it is learned; of those, each band with one probability."""


def learn_domain(domain: Domain, generative: Generative, simulations: Sample, seed: int) -> None:
    """Train ``domain`` to tell ``simulations`` (n), noise drawn anew at each step, from foreign spectra.

    All randomness comes from ``seed``. A scene store cuts reflectance off at the floor and a table does not,
    so half of the pixels are cut off. Both lie on one device.
    """
    device = simulations.seen.geometry.device
    g = generator("domain", seed, device=device)
    domain.standardise(generative.observe(simulations, g))
    steps = max(1, min(_STEPS, len(simulations) // _PER_STEP))

    def loss(step: int) -> Tensor:
        rows = torch.randint(len(simulations), (2 * _BATCH,), device=device, generator=g)
        seen = generative.observe(simulations.rows(rows), g)
        is_foreign = (torch.arange(2 * _BATCH, device=device) >= _BATCH).to(seen.reflectance)
        x = torch.cat([seen.reflectance[:_BATCH], foreign(seen.reflectance[_BATCH:], g)])
        odds = domain(_incomplete(_cut_off(replace(seen, reflectance=x), g), g))
        return torch.nn.functional.binary_cross_entropy_with_logits(odds, is_foreign)

    domain.requires_grad_(True)
    for _ in descent(domain.parameters(), loss, steps=steps, rate=_RATE):
        pass
    domain.requires_grad_(False)


def calibrate(domain: Domain, seen: Observation, seed: int) -> None:
    """Set the limits of ``domain`` such that :data:`FALSE_ALARMS` of the complete pixels ``seen`` (n), which
    it was not trained on, are outside, whatever number of bands they lack."""
    g = generator("domain limits", seed, device=seen.geometry.device)
    bands = len(seen.bands)
    with torch.no_grad():
        for count in range(1, bands + 1):
            order = torch.rand(seen.valid.shape, device=g.device, generator=g).argsort(-1)
            odds = torch.cat([domain(part) for part in replace(seen, valid=order < count).split(8192)])
            domain.limits[count] = torch.quantile(odds, 1.0 - FALSE_ALARMS)


def _cut_off(seen: Observation, g: torch.Generator) -> Observation:
    """Half of the pixels as a scene store holds them."""
    half = torch.rand(len(seen), 1, device=g.device, generator=g) < 0.5
    floor = torch.where(half, REFLECTANCE_FLOOR, -math.inf)
    return replace(seen, reflectance=torch.maximum(seen.reflectance, floor))


def _incomplete(seen: Observation, g: torch.Generator) -> Observation:
    """Some pixels without a random part of their bands."""

    def uniform(columns: int) -> Tensor:
        return torch.rand(len(seen), columns, device=g.device, generator=g)

    share = torch.where(uniform(1) < _INCOMPLETE, uniform(1), 0.0)
    return replace(seen, valid=uniform(len(seen.bands)) >= share)
