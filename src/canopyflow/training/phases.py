"""What a training run is told: its phases, and what holds for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from canopyflow.registry import OBJECTIVES
from canopyflow.training.objectives.contract import Objective
from canopyflow.vocabulary import ADAMW


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    ``objective`` with its ``options``, or ``cycle``: several ``{"objective", "options"}`` that take turns,
    one step each. ``data``: a source, several joined by "+", or "both" for simulations and patches.
    ``steps``: batches per epoch, None for one pass over the data. ``optimizer``: one of
    :data:`canopyflow.vocabulary.OPTIMIZERS`; the ``learning_rate`` is Adam's.
    """

    epochs: int
    learning_rate: float
    objective: str | None = None
    data: str = "simulations"
    steps: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    cycle: Sequence[Mapping[str, Any]] = ()
    optimizer: str = ADAMW

    @property
    def goals(self) -> list[Objective]:
        """The objectives, in their turns. Raises ConfigError for an unknown one or option."""
        return [OBJECTIVES.build(name, **options) for name, options in self._named()]

    @property
    def name(self) -> str:
        """Name of the objective; of a cycle, the names joined."""
        return "+".join(name for name, _ in self._named())

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources that the phase looks at."""
        return ("simulations", "patches") if self.data == "both" else tuple(self.data.split("+"))

    def _named(self) -> list[tuple[str, Mapping[str, Any]]]:
        if self.objective is not None:
            return [(self.objective, self.options)]
        return [(turn["objective"], turn.get("options", {})) for turn in self.cycle]


@dataclass(frozen=True)
class Plan:
    """How a model is trained: ``phases``, and what holds for all of them.

    ``samples``: posterior draws per pixel and step; ``patience``: epochs without improvement before a phase
    ends; ``max_pixels``: at most this many observed pixels.
    """

    phases: tuple[Phase, ...]
    batch_size: int = 512
    samples: int = 4
    patience: int = 5
    clip_norm: float = 5.0
    weight_decay: float = 1e-4
    max_pixels: int = 200_000
    seed: int = 0
