"""What all baselines share: estimators that a comparison holds the posterior families against.

A baseline is one file in ``models/estimators``. It is fitted at once, to the simulations of the campaign or
to labelled plots, and then saved, loaded, mapped and scored like any other model.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from canopyflow.errors import DataError
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.generative.contract import Generative
from canopyflow.observations.labels import Labels
from canopyflow.observations.observation import Observation, Sample
from canopyflow.registry import ESTIMATORS, GENERATIVE
from canopyflow.samplers.contract import Draws

SIMULATIONS, LABELS = "simulations", "labels"
"""What a baseline can be fitted to. A class says it as a literal, which a campaign reads from its source."""

_AT_ONCE = 8192
"""States whose outputs are computed at a time."""


@dataclass(frozen=True)
class BaselineOptions:
    """Everything a baseline is built from, as plain values; ``model.json`` carries exactly these."""

    estimator: str
    bands: tuple[str, ...]
    platforms: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    generative: str = "prosail"
    generative_options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lesson:
    """What a baseline is fitted to: ``simulations`` by split, free of noise, or ``labels``; it needs one of
    them, and the other may be empty or None. ``seed``: of all its random numbers."""

    simulations: Mapping[str, Sample]
    labels: Labels | None = None
    seed: int = 0


History = list[dict[str, Any]]
"""Lines of ``history.jsonl``; empty where nothing is iterated."""


def line_of(phase: int, objective: str, epoch: int, loss: float, validation: float | None) -> dict[str, Any]:
    """A line of the history. What is not finite is None, as JSON wants it."""
    found = {"loss": loss, "validation": validation}
    numbers = {
        name: round(value, 6) if value is not None and math.isfinite(value) else None
        for name, value in found.items()
    }
    return {"phase": phase, "objective": objective, "epoch": epoch, **numbers}


class Baseline(nn.Module, Estimator):
    """Built with the campaign's generative model ``base``, which says bands, platforms, truth and noise, and
    with options of its own. All that it learns are parameters and buffers.

    ``needs``: :data:`SIMULATIONS` or :data:`LABELS`. ``constants``: beginnings of names of what is physics
    and not learned.
    """

    needs: ClassVar[str] = "simulations"
    constants: ClassVar[tuple[str, ...]] = ("generative.",)
    options: BaselineOptions

    def __init__(self, base: Generative) -> None:
        super().__init__()
        self.generative = base
        self.meta: dict[str, Any] = {}

    @abc.abstractmethod
    def learn(self, lesson: Lesson) -> History:
        """Fit to ``lesson``; deterministic in its seed. Raises DataError for a lesson that teaches
        nothing."""

    @property
    def device(self) -> torch.device:
        return next(iter(self.weights().values())).device

    def weights(self) -> dict[str, Tensor]:
        """Everything learned; the physics' own constants are code, not weights."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith(self.constants)}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Inverse of :meth:`weights`. Raises DataError if names or shapes differ; a table of the baseline's
        own has as many rows as it was fitted to."""
        own = self.weights()
        if own.keys() != weights.keys():
            odd = sorted(own.keys() ^ weights.keys())[0]
            raise DataError(f"weights do not belong to this model: {odd!r} is on one side only")
        for name, tensor in weights.items():
            if name in self._buffers and _grown(own[name], tensor):
                self._buffers[name] = tensor
            elif tensor.shape != own[name].shape:
                raise DataError(
                    f"weights do not belong to this model: {name!r} is {tuple(tensor.shape)}, "
                    f"not {tuple(own[name].shape)}"
                )
        self.load_state_dict(dict(weights), strict=False)


def _grown(empty: Tensor, table: Tensor) -> bool:
    """Whether ``table`` is ``empty`` with more rows: the axes that have a length keep it."""
    return empty.ndim == table.ndim and all(
        was in (0, now) for was, now in zip(empty.shape, table.shape, strict=True)
    )


class Direct(Baseline):
    """A baseline that says its variables themselves: its draws are what it estimates, column by column. It
    knows no state behind them and explains no spectrum."""

    has_state: ClassVar[bool] = False
    has_fit: ClassVar[bool] = False

    def outputs(self, z: Tensor, seen: Observation, names: Sequence[str]) -> Tensor:
        columns = [quantity.name for quantity in self.estimates]
        return z[..., [columns.index(name) for name in names]]

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds (V,) of what it estimates."""
        lower, upper = ([getattr(q, side) for q in self.estimates] for side in ("lower", "upper"))
        return torch.tensor(lower, device=self.device), torch.tensor(upper, device=self.device)


class Normal:
    """Independent normal distributions of ``mean`` and ``deviation`` (n, V); draws beyond ``lower`` or
    ``upper`` (V,) are set to the bound, as the toolbox does."""

    def __init__(self, mean: Tensor, deviation: Tensor, lower: Tensor, upper: Tensor) -> None:
        self.mean, self.deviation, self.lower, self.upper = mean, deviation, lower, upper

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draws:
        """Draws (count, n, V)."""
        noise = torch.randn(
            (count, *self.mean.shape), generator=generator, dtype=self.mean.dtype, device=self.mean.device
        )
        z = self.mean + self.deviation * noise
        return Draws(torch.minimum(torch.maximum(z, self.lower), self.upper))


def baseline(options: BaselineOptions) -> Baseline:
    """An untrained baseline. Raises ConfigError for an unknown name or option."""
    base: Generative = GENERATIVE.build(
        options.generative, options.bands, options.platforms, **options.generative_options
    )
    made: Baseline = ESTIMATORS.build(options.estimator, base, **options.options)
    made.options = options
    return made


def outputs_of(model: Generative, sample: Sample, names: Sequence[str]) -> Tensor:
    """True outputs (n, len(names)) of simulations, in pieces that fit into memory."""
    assert sample.truth is not None, "simulations have one"
    parts = zip(sample.truth.split(_AT_ONCE), sample.seen.split(_AT_ONCE), strict=True)
    with torch.no_grad():
        return torch.cat([model.outputs(truth, seen, names) for truth, seen in parts])
