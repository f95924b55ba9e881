"""The network of the Sentinel-2 toolbox, trained here in its manner: what most users have today.

One small network per variable: eleven inputs (eight bands and the cosines of three angles), five neurons
with a hyperbolic tangent, one linear output, all scaled to [-1, 1], trained on simulations of the ATBD's law
whatever law the campaign has (Weiss & Baret 2016, S2ToolBox Level 2 products, version 1.1). A second network
of the same form says how large the error is that one has to expect, as in the Simplified Level 2 Processor
(SL2P; https://github.com/rfernand387/SL2PD). The weights are our own, not those of the toolbox.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from canopyflow.errors import DataError
from canopyflow.models.baseline import Direct, History, Lesson, Normal, line_of, outputs_of
from canopyflow.models.generative.contract import Generative
from canopyflow.models.runtime import generator
from canopyflow.observations.observation import Given, Observation
from canopyflow.registry import GENERATIVE
from canopyflow.vocabulary import Variable

INPUTS: tuple[str, ...] = ("B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12")
"""Its bands; of a campaign without one of them the network has an input less."""

VARIABLES: tuple[str, ...] = ("lai", "fapar", "fcover", "ccc", "cwc")
"""Its networks. In its law no leaf is dead: the network of ``lai`` speaks of ``gai`` too."""

CASES = 40_000
"""Simulations that it is trained on."""

_HELD_BACK = 4
"""One case of so many teaches the error and not the variable."""

_A_LINE = 20
"""Iterations between two lines of the history."""

_NARROWEST = -5.0
"""Least logarithm of an error, in half ranges of the variable."""


class Networks(nn.Module):
    """One network of its own per output: (n, inputs) → (n, outputs), both scaled to [-1, 1]."""

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(outputs, hidden, inputs))
        self.shift = nn.Parameter(torch.zeros(outputs, hidden))
        self.last = nn.Parameter(torch.zeros(outputs, hidden))
        self.offset = nn.Parameter(torch.zeros(outputs))

    def start(self, g: torch.Generator) -> None:
        """Random weights of a size that leaves most neurons unsaturated."""
        with torch.no_grad():
            for weights in (self.first, self.shift, self.last):
                weights.normal_(0.0, 1.0 / weights.shape[-1] ** 0.5, generator=g)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(torch.einsum("ohi,ni->noh", self.first, x) + self.shift)
        return (hidden * self.last).sum(-1) + self.offset


class Sl2p(Direct):
    """Options: ``hidden`` neurons of each network, ``cases`` simulated, ``steps`` of training at most."""

    constants: ClassVar[tuple[str, ...]] = ("generative.", "law.")
    centre: Tensor
    scale: Tensor
    middle: Tensor
    reach: Tensor

    def __init__(self, base: Generative, hidden: int = 5, cases: int = CASES, steps: int = 400) -> None:
        super().__init__(base)
        self.cases, self.steps = cases, steps
        # Its law is its own: neither the campaign's prior nor the campaign's noise.
        self.law: Generative = GENERATIVE.build("prosail", base.bands, base.platforms)
        self._columns = [base.bands.index(band) for band in INPUTS if band in base.bands]
        inputs = len(self._columns) + 3
        self.value = Networks(inputs, len(VARIABLES), hidden)
        self.error = Networks(inputs, len(VARIABLES), hidden)
        for name, size in (("centre", inputs), ("scale", inputs)):
            self.register_buffer(name, torch.ones(size))
        for name in ("middle", "reach"):
            self.register_buffer(name, torch.ones(len(VARIABLES)))

    @property
    def estimates(self) -> tuple[Variable, ...]:
        known = {quantity.name: quantity for quantity in self.law.estimates}
        return tuple(known[name] for name in (*VARIABLES, "gai"))

    def learn(self, lesson: Lesson) -> History:
        """Draw states of its own law under the geometries and satellites of the simulations, and train on
        them. The error is learned from cases that have not taught the variable."""
        g = generator("sl2p", lesson.seed)
        given = lesson.simulations["train"].seen
        given = given.rows(torch.arange(self.cases) % len(given))
        clean = self.law.render(
            self.law.prior().sample(self.cases, g),
            Given(geometry=given.geometry, platform=given.platform, bands=self.bands),
        )
        x = self._raw(self.law.observe(clean, g))
        y = outputs_of(self.law, clean, VARIABLES)
        for values, middle, reach in ((x, "centre", "scale"), (y, "middle", "reach")):
            low, high = values.amin(0), values.amax(0)
            getattr(self, middle).copy_(0.5 * (low + high))
            getattr(self, reach).copy_((0.5 * (high - low)).clamp_min(1e-6))
        x, y = (x - self.centre) / self.scale, (y - self.middle) / self.reach
        late = torch.arange(self.cases) % _HELD_BACK == 0
        self.value.start(g)
        self.error.start(g)

        def squared(rows: Tensor) -> Tensor:
            return (self.value(x[rows]) - y[rows]).square().mean()

        lines = self._train(self.value, squared, ~late, late, "squared error")
        with torch.no_grad():
            missed = self.value(x) - y

        def gaussian(rows: Tensor) -> Tensor:
            log_deviation = self.error(x[rows]).clamp_min(_NARROWEST)
            return (log_deviation + 0.5 * (missed[rows] / log_deviation.exp()).square()).mean()

        with torch.no_grad():
            self.error.offset.copy_(missed[late].std(0).log())
        return [*lines, *self._train(self.error, gaussian, late, ~late, "error network")]

    def _train(
        self, part: Networks, loss: Callable[[Tensor], Tensor], rows: Tensor, others: Tensor, name: str
    ) -> History:
        """Minimise ``loss`` of the cases ``rows`` (cases,) by a quasi-Newton method, all at once; the loss of
        the ``others`` is watched."""
        optimizer = torch.optim.LBFGS(
            part.parameters(), max_iter=_A_LINE, history_size=30, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            value = loss(rows)
            value.backward()
            return value

        lines: History = []
        for line in range(-(-self.steps // _A_LINE)):
            with torch.enable_grad():
                optimizer.step(closure)
            with torch.no_grad():
                found = [float(loss(which)) for which in (rows, others)]
            lines.append(line_of(1 if part is self.value else 2, name, line + 1, *found))
        return lines

    def _raw(self, seen: Observation) -> Tensor:
        """Bands and cosines of the angles (n, inputs)."""
        cosines = torch.cos(torch.deg2rad(seen.geometry))
        return torch.cat([seen.reflectance[..., self._columns], cosines], dim=-1)

    def posterior(self, seen: Observation) -> Normal:
        """Normal distributions of its variables. Raises DataError for a band it needs that was not seen."""
        seen = self.understood(seen)
        if not seen.valid[..., self._columns].all():
            raise DataError("a pixel lacks a band that the network needs", "leave out such pixels")
        x = (self._raw(seen) - self.centre) / self.scale
        mean = self.middle + self.reach * self.value(x)
        deviation = self.reach * self.error(x).clamp(_NARROWEST, 1.0).exp()
        lower, upper = self.bounds()
        own = len(VARIABLES)
        return Normal(mean, deviation, lower[:own], upper[:own])

    def outputs(self, z: Tensor, seen: Observation, names: Sequence[str]) -> Tensor:
        return z[..., [VARIABLES.index("lai" if name == "gai" else name) for name in names]]


ESTIMATOR = Sl2p
