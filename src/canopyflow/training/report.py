"""What a person sees while a model trains: a bar on a terminal, one log line per epoch elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger("canopyflow")


class Report:
    """Counts steps of the whole run. Wall-clock time is shown here and stored nowhere."""

    def __init__(self, total_steps: int, done_steps: int) -> None:
        self._total = total_steps
        self._done = self._first = done_steps
        self._started = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), transient=True
            )
            self._task = self._bar.add_task("training", total=total_steps, completed=done_steps)

    def __enter__(self) -> Report:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self) -> None:
        """One batch done."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)

    def skip(self, steps: int) -> None:
        """Early stopping: ``steps`` will not be needed."""
        self._total -= steps
        if self._bar is not None:
            self._bar.update(self._task, total=self._total)

    def epoch(self, line: dict[str, Any]) -> None:
        """One epoch done; ``line`` is its line of the history."""
        loss, validation = (
            "not finite" if line[name] is None else f"{line[name]:.3f}" for name in ("loss", "validation")
        )
        text = (
            f"phase {line['phase']} {line['objective']} epoch {line['epoch']}: loss {loss} "
            f"validation {validation} learning rate {line['learning_rate']:.1e}"
        )
        if self._bar is not None:
            self._bar.update(self._task, description=text)
        else:
            rate = (time.monotonic() - self._started) / max(1, self._done - self._first)
            log.info("%s, %.0f s left", text, rate * max(0, self._total - self._done))
