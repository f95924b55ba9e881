"""Gaussian process regression on labelled plots: no physics at all, what a campaign with labels can do alone.

A process of its own for each measured variable, with a squared exponential kernel whose length scales, one
per input, and whose noise maximise the marginal likelihood (Rasmussen & Williams 2006, Gaussian Processes for
Machine Learning, chapters 2 and 5). The process is one of the square root of the variable: what is small is
known better than what is large. Maps use all plots. A plot is never predicted by a process that has seen
its site: :meth:`Gpr.without` gives the one that has not, hyperparameters included.
"""

from __future__ import annotations

import logging
import math
from typing import ClassVar

import torch
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.models.baseline import Direct, History, Lesson, Normal, line_of
from canopyflow.models.generative.contract import Generative
from canopyflow.observations.labels import Labels
from canopyflow.observations.observation import Observation
from canopyflow.samplers.contract import Draws
from canopyflow.vocabulary import Variable

log = logging.getLogger("canopyflow")

LEAST = 10
"""Measurements of a variable without which there is no process of it."""

_KNEE = 0.05
"""Reflectance at which the scale of the inputs turns from linear to logarithmic."""

_PRIOR_SCALE = 0.5
"""Standard deviation of each logarithm of a hyperparameter: without it few labels would fit themselves."""

_JITTER = 1e-8


class Gpr(Direct):
    """Option: ``steps``, at most, in the search for hyperparameters.

    Fitted, it knows which variables were measured: these are what it estimates.
    """

    needs: ClassVar[str] = "labels"
    inputs: Tensor
    value: Tensor  # the root of what was measured
    variance: Tensor
    variable: Tensor
    site: Tensor
    hyper: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, base: Generative, steps: int = 60) -> None:
        super().__init__(base)
        self.steps = steps
        self.excluded: int | None = None
        size = len(base.bands) + 1
        shapes = {"inputs": (0, size), "hyper": (0, 0, size + 2)}
        shapes |= dict.fromkeys(("value", "variance"), (0,)) | {"centre": (size,), "scale": (size,)}
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        for name in ("variable", "site"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.long))

    @property
    def estimates(self) -> tuple[Variable, ...]:
        """Of what the law knows, the variables that were measured often enough, at the sites it knows."""
        return tuple(self.generative.estimates[kind] for _, kind in self._processes())

    def _processes(self) -> list[tuple[int, int]]:
        """Number of each process, and of its variable among those of the law."""
        kinds = self.variable.unique().tolist()
        return [(i, kind) for i, kind in enumerate(kinds) if int(self._rows(kind).sum()) >= LEAST]

    def _rows(self, kind: int) -> Tensor:
        """Which measurements a process of the variable ``kind`` knows, (measurements,)."""
        known = self.variable == kind
        return known if self.excluded is None else known & (self.site != self.excluded)

    @property
    def sites(self) -> list[str]:
        """Names of the sites that it was fitted to, by number."""
        return list(self.meta.get("sites", ()))

    def learn(self, lesson: Lesson) -> History:
        """Fit to all labels, and again without each site. With too few of every variable it estimates
        nothing, and says so. Raises DataError if there are no labels at all."""
        law = [quantity.name for quantity in self.generative.estimates]
        labels = _enough(lesson.labels, law)
        if not len(labels):
            log.warning("too-few-labels: no variable has %d labelled spectra; gpr estimates nothing", LEAST)
            return []
        names = sorted(set(labels.site))
        self.meta["sites"] = names
        raw = self._raw(labels.seen)
        self.centre, self.scale = raw.mean(0), raw.std(0).clamp_min(1e-3)
        self.inputs = (raw - self.centre) / self.scale
        value, error = labels.value.clamp_min(0.0), labels.uncertainty.nan_to_num(nan=0.0)
        self.value = value.sqrt()
        # Of the square root; near 0, where its derivative has no bound, the root of the error itself.
        self.variance = error.square() / (4.0 * (value + error)).clamp_min(1e-12)
        self.variable = torch.tensor([law.index(name) for name in labels.variable])
        self.site = torch.tensor([names.index(name) for name in labels.site])
        kinds = self.variable.unique().tolist()
        start = torch.zeros(self.inputs.shape[1] + 2, dtype=torch.float64)
        start[:-2], start[-1] = 0.5 * math.log(self.inputs.shape[1]), math.log(0.4)
        found: list[list[Tensor]] = []
        lines: History = []
        for number, kind in enumerate(kinds):
            whole, loss = self._search(number, self.variable == kind, start, self.steps)
            lines.append(line_of(number + 1, law[kind], 1, loss, None))
            found.append([whole])
            for site in range(len(names)):
                rest = (self.variable == kind) & (self.site != site)
                # Not from where all plots led: that start would know the labels of the site.
                enough = int(rest.sum()) >= LEAST
                found[-1].append(self._search(number, rest, start, self.steps)[0] if enough else start)
        self.hyper = torch.stack([torch.stack(each) for each in found])
        return lines

    def without(self, site: str) -> Gpr:
        """The same as if no plot of ``site`` had been measured; itself for a site that it never saw.

        A variable of which too few measurements are left is no longer estimated.
        """
        if site not in self.sites:
            return self
        other = Gpr(self.generative, self.steps)
        other.load_weights(self.weights())
        other.meta, other.excluded = self.meta, self.sites.index(site)
        return other

    def posterior(self, seen: Observation) -> Squares:
        """Distributions of the measured variables: the process, and what varies between pixels that look the
        same; not the error of a label. Raises DataError for a pixel without one of the bands."""
        seen = self.understood(seen)
        if not seen.complete:
            raise DataError("a pixel lacks a band that the process needs", "leave out such pixels")
        x = (self._raw(seen) - self.centre) / self.scale
        moments = x.new_zeros(2, len(x), len(self.estimates))
        for column, (number, kind) in enumerate(self._processes()):
            moments[..., column] = torch.stack(self._predicted(number, kind, x))
        mean, deviation = moments.float()
        lower, upper = self.bounds()
        return Squares(Normal(mean, deviation, lower.sqrt(), upper.sqrt()))

    def _predicted(self, number: int, kind: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (n,) of the root of variable ``number`` at scaled inputs ``x`` (n, inputs)."""
        rows = self._rows(kind)
        hyper = self.hyper[number, 0 if self.excluded is None else self.excluded + 1]
        centre, spread = _level(self.value[rows])
        known, y = self.inputs[rows], (self.value[rows] - centre) / spread
        cholesky = torch.linalg.cholesky(
            _kernel(known, known, hyper) + torch.diag(self.variance[rows] / spread**2 + _noise(hyper))
        )
        between = _kernel(known, x, hyper)
        mean = between.T @ torch.cholesky_solve(y[:, None], cholesky)[:, 0]
        explained = torch.linalg.solve_triangular(cholesky, between, upper=False).square().sum(0)
        variance = (_signal(hyper) - explained).clamp_min(0.0) + _noise(hyper)
        return centre + spread * mean, spread * variance.sqrt()

    def _search(self, number: int, rows: Tensor, start: Tensor, steps: int) -> tuple[Tensor, float]:
        """Hyperparameters that maximise marginal likelihood × prior on ``rows``, and the loss per row."""
        centre, spread = _level(self.value[rows])
        known, y = self.inputs[rows], (self.value[rows] - centre) / spread
        label = self.variance[rows] / spread**2
        hyper = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([hyper], max_iter=steps, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = -log_evidence(known, y, label, hyper) / len(y)
            loss = loss + 0.5 * ((hyper - start) / _PRIOR_SCALE).square().sum() / len(y)
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
            last = closure()
        return hyper.detach(), float(last.detach())

    def _raw(self, seen: Observation) -> Tensor:
        """Stretched bands and the cosine of the sun's zenith (n, inputs)."""
        bands = torch.asinh(seen.reflectance.double() / _KNEE)
        return torch.cat([bands, torch.cos(torch.deg2rad(seen.geometry[..., :1].double()))], dim=-1)


class Squares:
    """Squares of what ``roots`` draw."""

    def __init__(self, roots: Normal) -> None:
        self.roots = roots

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draws:
        """Draws (count, n, V)."""
        return Draws(self.roots.draw(count, generator).z.square())


def log_evidence(x: Tensor, y: Tensor, label_variance: Tensor, hyper: Tensor) -> Tensor:
    """Log marginal likelihood of standardised values ``y`` (n,) at inputs ``x`` (n, inputs); ``hyper``:
    logarithms of the length scales, of the signal's and of the noise's standard deviation."""
    covariance = _kernel(x, x, hyper) + torch.diag(label_variance + _noise(hyper))
    cholesky = torch.linalg.cholesky(covariance)
    whitened = torch.linalg.solve_triangular(cholesky, y[:, None], upper=False)
    constant = 0.5 * len(y) * math.log(2.0 * math.pi)
    return -0.5 * whitened.square().sum() - cholesky.diagonal().log().sum() - constant


def _kernel(a: Tensor, b: Tensor, hyper: Tensor) -> Tensor:
    scale = hyper[:-2].exp()
    distance2 = (a / scale).unsqueeze(1).sub((b / scale).unsqueeze(0)).square().sum(-1)
    return _signal(hyper) * torch.exp(-0.5 * distance2)


def _signal(hyper: Tensor) -> Tensor:
    return (2.0 * hyper[-2]).exp()


def _noise(hyper: Tensor) -> Tensor:
    return (2.0 * hyper[-1]).exp() + _JITTER


def _level(value: Tensor) -> Tensor:
    """Mean and standard deviation (2,) that the process is about."""
    return torch.stack([value.mean(), value.std().clamp_min(1e-9)])


def _enough(labels: Labels | None, known: list[str]) -> Labels:
    """The labels of variables that the law knows and that were measured often enough."""
    if labels is None:
        raise DataError("there are no labelled spectra to learn from", "give evaluation.plots")
    counts = {name: labels.variable.count(name) for name in known}
    return labels.rows([i for i, name in enumerate(labels.variable) if counts.get(name, 0) >= LEAST])


ESTIMATOR = Gpr
