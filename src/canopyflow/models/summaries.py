"""Summaries as a network: what a product says of a posterior, without drawing from it.

A map asks for a handful of numbers per variable, and a hundred draws per pixel, sorted, are a slow and noisy
way to them. After a model is trained, this network learns the summaries of *its* posterior from its own
draws: mean and standard deviation by the Gaussian score, quantiles by the pinball score, the fit by the gamma
score. Each of these scores is proper: its expectation is least at the true summary (Gneiting & Raftery, JASA
102, 2007).

The network is trusted on inputs like those it was trained on; elsewhere draws are taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from canopyflow.models.encoders._spectra import stretch
from canopyflow.models.fused import activated
from canopyflow.models.missing import filled
from canopyflow.observations.observation import Observation, Sample
from canopyflow.vocabulary import PLATFORMS, QUANTILES, Variable

if TYPE_CHECKING:
    from canopyflow.models.estimators.amortised import Amortised

VERSION = 4
"""Of the network's inputs and outputs; a bundle that holds another one is not read."""

LEVELS: tuple[float, ...] = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
"""Probabilities of the learned quantiles: those of a product, and the ends of the 80 and 95 % intervals."""

_MIDDLE = LEVELS.index(0.5)
_MOMENTS = 2
"""Mean and standard deviation."""

_NUMBERS = _MOMENTS + len(LEVELS)
"""Numbers that the network gives per variable."""

_TAIL = 2e-5
"""Share of what the network was trained on that lies beyond its limits, for each of them."""

_FAR = 6.0
"""Standardised inputs beyond this are told from each other less and less."""

_WIDEST, _NARROWEST = 3.0, -9.0
"""Bounds of the logarithm of a standard deviation, in units of the variable's own under the prior."""


class Summaries(nn.Module):
    """A plain network from a spectrum with its geometry to all summaries of its posterior.

    ``variables``: those that it learns, all that a product can hold. Options: ``width`` and number of
    ``layers``. With ``incomplete`` it is told which bands a spectrum lacks; without, what it says of such
    spectra means nothing. Buffers: ``mean`` and ``whitening`` of the stretched bands, ``centre`` and
    ``scale`` of the cosines of the angles, ``location``, ``slope`` and ``spread`` of each variable under the
    prior, and the limits of what it was trained on.
    """

    mean: Tensor
    whitening: Tensor
    centre: Tensor
    scale: Tensor
    location: Tensor
    slope: Tensor
    spread: Tensor
    lower: Tensor
    upper: Tensor
    farthest: Tensor
    own: Tensor
    bounds: Tensor

    def __init__(
        self,
        bands: Sequence[str],
        platforms: Sequence[str],
        variables: Sequence[Variable],
        width: int = 256,
        layers: int = 3,
        incomplete: bool = False,
    ) -> None:
        super().__init__()
        self.names = tuple(variable.name for variable in variables)
        ends = torch.tensor([(v.lower, v.upper) for v in variables], dtype=torch.float32)
        self.register_buffer("bounds", ends.T.contiguous(), persistent=False)
        self.platforms, self.incomplete = len(platforms), incomplete
        places = [list(platforms).index(name) if name in platforms else -1 for name in PLATFORMS]
        self.register_buffer("own", torch.tensor(places), persistent=False)
        inputs = len(bands) + 3
        for name, value in {
            "mean": torch.zeros(len(bands)),
            "whitening": torch.eye(len(bands)),
            "centre": torch.zeros(3),
            "scale": torch.ones(3),
            "location": torch.zeros(len(self.names)),
            "slope": torch.ones(len(self.names)),
            "spread": torch.ones(len(self.names)),
            "lower": torch.full((inputs,), -math.inf),
            "upper": torch.full((inputs,), math.inf),
            "farthest": torch.tensor(math.inf),
        }.items():
            self.register_buffer(name, value)
        marks = len(bands) if incomplete else 0
        sizes = [inputs + self.platforms + marks, *[width] * layers]
        body: list[nn.Module] = []
        for before, after in pairwise(sizes):
            body += [nn.Linear(before, after), nn.SiLU(inplace=True)]
        self.body = nn.Sequential(*body)
        self.last = nn.Linear(width, len(self.names) * _NUMBERS + 1)
        # At first all posteriors are half as wide as the prior, with normal quantiles.
        nn.init.normal_(self.last.weight, std=0.02)
        nn.init.zeros_(self.last.bias)
        with torch.no_grad():
            start = self.last.bias[:-1].view(_NUMBERS, len(self.names))
            start[1] = math.log(0.5)
            start[_MOMENTS + 1 :] = _softplus_inverse(_normal_steps()).unsqueeze(1)

    def standardise(self, seen: Observation, outputs: Tensor) -> None:
        """Take the scales of inputs and outputs from noisy pixels (n) and ``outputs`` (n, variables) of
        them."""
        stretched = stretch(seen.reflectance).double()
        variance, axes = torch.linalg.eigh(torch.cov(stretched.T))
        # Along the principal axes, unlike a symmetric matrix: there the limits bite on narrow directions.
        largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
        self.mean.copy_(stretched.mean(0))
        self.whitening.copy_(axes * largest.sign() * variance.clamp(min=1e-6).rsqrt())
        cosines = torch.cos(torch.deg2rad(seen.geometry))
        self.centre.copy_(cosines.mean(0))
        self.scale.copy_(cosines.std(0).clamp_min(1e-4))
        self.scale_outputs(outputs)

    def scale_outputs(self, outputs: Tensor) -> None:
        """Take the scales of ``outputs`` (n, variables) alone."""
        lower, upper = self.bounds.to(outputs)
        usual = ((outputs.mean(0) - lower) / (upper - lower)).clamp(0.01, 0.99)
        self.spread.copy_(outputs.std(0).clamp_min(1e-6))
        self.location.copy_(torch.logit(usual))
        self.slope.copy_(self.spread / (upper - lower) / (usual * (1.0 - usual)))

    def limit(self, seen: Observation) -> None:
        """Take the limits of trust from pixels as the network was trained on."""
        x = self.inputs(seen)[:, : len(self.lower)].double()
        n = len(x)
        order = x.sort(0).values
        self.lower.copy_(order[int(_TAIL * n)])
        self.upper.copy_(order[n - 1 - int(_TAIL * n)])
        # Angles are drawn evenly from a box: its edges are no tails.
        self.lower[-3:], self.upper[-3:] = order[0, -3:] - 0.05, order[-1, -3:] + 0.05
        distance = x[:, :-3].square().sum(-1).sort().values
        self.farthest.copy_(distance[n - 1 - int(_TAIL * n)])

    def inputs(self, seen: Observation) -> Tensor:
        """Whitened bands, standardised cosines, platform, which bands are missing: (n, inputs)."""
        centred = stretch(seen.reflectance) - self.mean
        if self.incomplete and not seen.complete:
            centred = filled(centred, seen.valid, self.whitening @ self.whitening.T)
        bands = centred @ self.whitening
        kind = nn.functional.one_hot(self.own[seen.platform], self.platforms).to(bands.dtype)
        marks = [(~seen.valid).to(bands.dtype)] if self.incomplete else []
        return torch.cat([bands, self.cosines(seen.geometry), kind, *marks], dim=-1)

    def cosines(self, geometry: Tensor) -> Tensor:
        """Standardised cosines (..., 3) of angles in degrees."""
        return (torch.cos(torch.deg2rad(geometry)) - self.centre) / self.scale

    def inside(self, inputs: Tensor) -> Tensor:
        """Whether ``inputs`` (n, inputs) are like those of the training, (n,)."""
        x = inputs[:, : len(self.lower)]
        near = x[:, :-3].square().sum(-1) <= self.farthest
        return near & ((x >= self.lower) & (x <= self.upper)).all(-1)

    def beside_draws(
        self, model: Amortised, drawn: Sample, generator: torch.Generator
    ) -> dict[str, float] | None:
        """Where it does worst beside draws of ``model``, by the truth of ``drawn``, in words with how much of
        what passes that is; None for one that is held against draws alone."""
        return None

    def answer(
        self, seen: Observation, names: Sequence[str], levels: Sequence[float]
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """What :meth:`forward` gives of ``seen`` (n), and whether its pixels are :meth:`inside`, (n,)."""
        inputs = self.inputs(seen)
        return self(inputs, names, levels), self.inside(inputs)

    def forward(
        self, inputs: Tensor, names: Sequence[str] | None = None, levels: Sequence[float] = LEVELS
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean and standard deviation (names, n), quantiles (levels, names, n), log of fit² (n,); of all
        variables if no ``names`` are given.

        Quantiles are the median plus or minus positive steps, so they never cross. Pixels are the last axis:
        all that is done to a number is done to thousands that lie side by side.
        """
        names = self.names if names is None else names
        places = [LEVELS.index(level) - _MIDDLE for level in levels]
        reach = max(map(abs, places), default=0)
        rows = self._rows(names, reach)
        raw = torch.addmm(self.last.bias[rows].unsqueeze(1), self.last.weight[rows], self.hidden(inputs).T)
        shape = (_MOMENTS + 1 + 2 * reach, len(names), len(inputs))
        numbers, fit = raw[:-1].view(shape), raw[-1]
        columns = torch.tensor(self._places(names), dtype=torch.long, device=raw.device)
        location, slope, spread, lower, upper = (
            values[columns].unsqueeze(1) for values in (self.location, self.slope, self.spread, *self.bounds)
        )
        # Near a bound posteriors are narrow, and the mean moves in small steps there.
        mean = lower + (upper - lower) * torch.sigmoid(location + slope * numbers[0])
        deviation = numbers[1].clamp(_NARROWEST, _WIDEST).exp() * spread
        steps = nn.functional.softplus(numbers[_MOMENTS + 1 :]) * deviation
        found = {0: mean + deviation * numbers[_MOMENTS]}
        for step in range(reach):
            found[-step - 1] = found[-step] - steps[step]
            found[step + 1] = found[step] + steps[reach + step]
        empty = mean.new_zeros((0, *mean.shape))
        return mean, deviation, torch.stack([found[place] for place in places]) if places else empty, fit

    def hidden(self, inputs: Tensor) -> Tensor:
        """What the last layer sees, (n, width).

        Inputs far from all that is usual, as disturbed spectra are, are drawn nearer first: as they stand a
        few of them would make up the whole gradient.
        """
        return activated(self.body, inputs / (1.0 + (inputs / _FAR).square()).sqrt())

    def _rows(self, names: Sequence[str], reach: int) -> Tensor:
        """Rows of the last layer: means, deviations, medians, steps down, steps up, of all ``names`` each,
        quantiles up to ``reach`` steps from the median; then the one of the fit."""
        kinds = [*range(_MOMENTS + 1)]
        kinds += [_MOMENTS + 1 + step for step in range(reach)]
        kinds += [_MOMENTS + 1 + _MIDDLE + step for step in range(reach)]
        rows = [kind * len(self.names) + place for kind in kinds for place in self._places(names)]
        return torch.tensor([*rows, _NUMBERS * len(self.names)], device=self.last.weight.device)

    def _places(self, names: Sequence[str]) -> list[int]:
        return [self.names.index(name) for name in names]

    def within_bounds(self, values: Tensor, names: Sequence[str]) -> Tensor:
        """Means or quantiles (..., names, n), none beyond the bounds of its variable: a network can go there,
        the posterior cannot."""
        lower, upper = self.bounds[:, self._places(names)].to(values).unsqueeze(-1)
        return values.clamp(lower, upper)


def description(variables: Sequence[Variable]) -> dict[str, Any]:
    """What ``model.json`` says of learned summaries of ``variables`` beside their weights."""
    return {"version": VERSION, "variables": [v.name for v in variables], "levels": list(LEVELS)}


def _normal_steps() -> Tensor:
    """Distances between neighbouring :data:`LEVELS` of a standard normal: outwards, down and then up."""
    quantiles = torch.special.ndtri(torch.tensor(LEVELS))
    steps = quantiles.diff()
    return torch.cat([steps[:_MIDDLE].flip(0), steps[_MIDDLE:]])


def _softplus_inverse(value: Tensor) -> Tensor:
    return value + torch.log(-torch.expm1(-value))


def statistics_of(
    mean: Tensor, deviation: Tensor, quantiles: Tensor, levels: Sequence[float], names: Sequence[str]
) -> Tensor:
    """The ``names`` of :data:`canopyflow.vocabulary.STATISTICS`, (names, variables, n), of what
    :class:`Summaries` gives for ``levels``."""
    of: Mapping[str, Tensor] = {"mean": mean, "std": deviation} | {
        name: quantiles[levels.index(level)] for name, level in QUANTILES.items() if level in levels
    }
    return torch.stack([of[name] for name in names])
