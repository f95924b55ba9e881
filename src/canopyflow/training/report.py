"""What a person sees while a model trains: a bar on a terminal, one log line per epoch elsewhere."""

import logging
import time
from typing import Any

from canopyflow.progress import Bar

log = logging.getLogger("canopyflow")


class Report(Bar):
    """Counts steps of the whole run. Wall-clock time is shown here and stored nowhere."""

    def __init__(self, total_steps: int, done_steps: int) -> None:
        super().__init__("training", total_steps, done_steps)
        self._total = total_steps
        self._done = self._first = done_steps
        self._started = time.monotonic()

    def step(self) -> None:
        """One batch done."""
        self._done += 1
        self.update(completed=self._done)

    def skip(self, steps: int) -> None:
        """Early stopping: ``steps`` will not be needed."""
        self._total -= steps
        self.update(total=self._total)

    def epoch(self, line: dict[str, Any]) -> None:
        """One epoch done; ``line`` is its line of the history."""
        loss, validation = (
            "not finite" if line[name] is None else f"{line[name]:.3f}" for name in ("loss", "validation")
        )
        text = (
            f"phase {line['phase']} {line['objective']} epoch {line['epoch']}: loss {loss} "
            f"validation {validation} learning rate {line['learning_rate']:.1e}"
        )
        self.update(description=text)
        if not self.shown:
            rate = (time.monotonic() - self._started) / max(1, self._done - self._first)
            log.info("%s, %.0f s left", text, rate * max(0, self._total - self._done))
