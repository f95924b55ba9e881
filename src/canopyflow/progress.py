"""Progress of long work: a bar on a terminal, plain log lines everywhere else."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Self, TypeVar

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
log = logging.getLogger("canopyflow")


class Bar:
    """The bar of some steps, while the block runs; on anything but a terminal there is none."""

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self.shown = sys.stderr.isatty()
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, transient=True, disable=not self.shown)
        self._task = self._bar.add_task(what, total=total, completed=done)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def update(self, **changes: Any) -> None:
        """Set ``completed`` steps, their ``total`` or the ``description``."""
        self._bar.update(self._task, **changes)


def track(items: Sequence[T], what: str, every: float = 10.0) -> Iterator[T]:
    """Iterate over ``items`` and show how far it is; off a terminal, a log line each ``every`` seconds."""
    started = reported = time.monotonic()
    with Bar(what, len(items)) as bar:
        for done, item in enumerate(items, start=1):
            yield item
            bar.update(completed=done)
            now = time.monotonic()
            if not bar.shown and (now - reported >= every or done == len(items)):
                log.info("%s: %d of %d, %.0f s", what, done, len(items), now - started)
                reported = now
