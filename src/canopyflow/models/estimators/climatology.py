"""What was known before the satellite looked: the law's own distribution, the same for every pixel.

A model that does not beat it has learned nothing from the spectrum; one whose intervals are as wide says
nothing of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.models.baseline import Direct, History, Lesson, outputs_of
from canopyflow.models.generative.contract import Generative
from canopyflow.observations.observation import Observation
from canopyflow.samplers.contract import Draws


class Climatology(Direct):
    """Draws what states of the law would give. Option: ``entries``, outputs that are kept."""

    table: Tensor

    def __init__(self, base: Generative, entries: int = 20_000) -> None:
        super().__init__(base)
        self.entries = entries
        self.register_buffer("table", torch.zeros(0, len(self.estimates)))

    def learn(self, lesson: Lesson) -> History:
        """Keep the outputs of the first simulations, which are draws of the law."""
        sample = lesson.simulations["train"].rows(torch.arange(min(self.entries, self._count(lesson))))
        self.table = outputs_of(self.generative, sample, [quantity.name for quantity in self.estimates])
        return []

    def posterior(self, seen: Observation) -> Kept:
        """The same of every pixel. Raises DataError for bands or platforms that its campaign has not."""
        return Kept(self.table, len(self.understood(seen)))

    @staticmethod
    def _count(lesson: Lesson) -> int:
        count = len(lesson.simulations["train"])
        if not count:
            raise DataError("there are no simulations to learn from", "run the simulate stage")
        return count


class Kept:
    """``n`` times the empirical distribution of the rows of ``table``."""

    def __init__(self, table: Tensor, n: int) -> None:
        self.table, self.n = table, n

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draws:
        """Rows (count, n, V), drawn anew for each pixel."""
        rows = torch.randint(len(self.table), (count, self.n), generator=generator, device=self.table.device)
        return Draws(self.table[rows])


ESTIMATOR = Climatology
