"""A plain network from the spectrum to each variable and its error: what deep learning does without physics
in the loop.

It is trained on the campaign's own simulations, with noise drawn anew at each pass, by the likelihood of a
normal distribution whose mean and deviation it gives (Nix & Weigend 1994). Its intervals are symmetric and
its variables independent; a posterior family on the same simulations has neither limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from canopyflow.errors import DataError
from canopyflow.models.baseline import Direct, History, Lesson, Normal, line_of, outputs_of
from canopyflow.models.descent import descent
from canopyflow.models.generative.contract import Generative
from canopyflow.models.runtime import generator
from canopyflow.observations.observation import Observation, Sample
from canopyflow.vocabulary import PLATFORMS

_BATCH = 512
_NARROWEST, _WIDEST = -7.0, 1.0
"""Bounds of the logarithm of a deviation, in those of the law."""

_KNEE = 0.02
"""Reflectance at which the scale of the inputs turns from linear to logarithmic."""


class Supervised(Direct):
    """Options: ``width`` and ``layers`` of the network, ``epochs`` over the simulations, ``learning_rate``
    of Adam at the start."""

    mean: Tensor
    scale: Tensor
    middle: Tensor
    spread: Tensor
    own: Tensor

    def __init__(
        self,
        base: Generative,
        width: int = 128,
        layers: int = 3,
        epochs: int = 6,
        learning_rate: float = 2e-3,
    ) -> None:
        super().__init__(base)
        self.epochs, self.learning_rate = epochs, learning_rate
        self._platforms = len(base.platforms)
        places = [base.platforms.index(name) if name in base.platforms else -1 for name in PLATFORMS]
        self.register_buffer("own", torch.tensor(places), persistent=False)
        inputs, variables = len(base.bands) + 3, len(self.estimates)
        for name, size in (("mean", inputs), ("scale", inputs), ("middle", variables), ("spread", variables)):
            self.register_buffer(name, torch.ones(size))
        sizes = [inputs + self._platforms, *[width] * layers]
        body: list[nn.Module] = []
        for before, after in pairwise(sizes):
            body += [nn.Linear(before, after), nn.SiLU()]
        self.body = nn.Sequential(*body, nn.Linear(sizes[-1], 2 * variables))

    def learn(self, lesson: Lesson) -> History:
        """Train on the simulations; the weights of the epoch that did best on those held back are kept."""
        names = [quantity.name for quantity in self.estimates]
        train, held_back = (lesson.simulations[split] for split in ("train", "validation"))
        y = outputs_of(self.generative, train, names)
        self._prepare(train, y, lesson.seed)
        watched = self.generative.observe(held_back, generator("supervised held back", lesson.seed))
        right = outputs_of(self.generative, held_back, names)
        steps = max(1, len(train) // _BATCH)
        batches = self._batches(train, y, steps, lesson.seed)
        run = descent(
            self.body.parameters(),
            lambda step: self._loss(*next(batches)),
            steps=self.epochs * steps,
            rate=self.learning_rate,
            clip=5.0,
        )
        lines: History = []
        best, kept = math.inf, self.weights()
        for epoch in range(self.epochs):
            losses = [next(run) for _ in range(steps)]
            with torch.no_grad():
                validation = float(self._loss(watched, right))
            lines.append(line_of(1, "likelihood", epoch + 1, sum(losses) / steps, validation))
            if validation < best:
                best = validation
                kept = {name: tensor.detach().clone() for name, tensor in self.weights().items()}
        self.load_weights(kept)
        return lines

    def _batches(
        self, train: Sample, y: Tensor, steps: int, seed: int
    ) -> Iterator[tuple[Observation, Tensor]]:
        """Pixels with fresh noise and what is true of them, epoch after epoch."""
        for epoch in range(self.epochs):
            g = generator("supervised", seed, epoch)
            order = torch.randperm(len(train), generator=g)
            for step in range(steps):
                rows = order[step * _BATCH : (step + 1) * _BATCH]
                yield self.generative.observe(train.rows(rows), g), y[rows]

    def _prepare(self, train: Sample, y: Tensor, seed: int) -> None:
        """Scales of inputs and outputs, and the first weights."""
        x = self._raw(self.generative.observe(train, generator("supervised scales", seed)))
        self.mean.copy_(x.mean(0))
        self.scale.copy_(x.std(0).clamp_min(1e-4))
        self.middle.copy_(y.mean(0))
        self.spread.copy_(y.std(0).clamp_min(1e-6))
        g = generator("supervised weights", seed)
        with torch.no_grad():
            for layer in self.body:
                if isinstance(layer, nn.Linear):
                    layer.weight.normal_(0.0, layer.in_features**-0.5, generator=g)
                    layer.bias.zero_()

    def _loss(self, seen: Observation, right: Tensor) -> Tensor:
        """Minus the log likelihood of the ``right`` outputs (n, V), mean over pixels and variables."""
        mean, log_deviation = self._network(seen)
        missed = ((right - self.middle) / self.spread - mean) / log_deviation.exp()
        return (log_deviation + 0.5 * missed.square()).mean()

    def _raw(self, seen: Observation) -> Tensor:
        bands = torch.asinh(seen.reflectance / _KNEE)
        return torch.cat([bands, torch.cos(torch.deg2rad(seen.geometry))], dim=-1)

    def _network(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """Means and logarithms of deviations (n, V), in scales of the law."""
        x = (self._raw(seen) - self.mean) / self.scale
        kind = nn.functional.one_hot(self.own[seen.platform], self._platforms).to(x.dtype)
        mean, log_deviation = self.body(torch.cat([x, kind], dim=-1)).chunk(2, dim=-1)
        return mean, log_deviation.clamp(_NARROWEST, _WIDEST)

    def posterior(self, seen: Observation) -> Normal:
        """Normal distributions of all variables of the law. Raises DataError for a pixel without one of the
        bands."""
        seen = self.understood(seen)
        if not seen.complete:
            raise DataError("a pixel lacks a band that the network needs", "leave out such pixels")
        mean, log_deviation = self._network(seen)
        lower, upper = self.bounds()
        return Normal(self.middle + self.spread * mean, self.spread * log_deviation.exp(), lower, upper)


ESTIMATOR = Supervised
