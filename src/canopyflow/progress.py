"""Progress of long work: a bar on a terminal, plain log lines everywhere else."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.progress import Progress

T = TypeVar("T")
log = logging.getLogger("canopyflow")


def track(items: Sequence[T], what: str, every: float = 10.0) -> Iterator[T]:
    """Iterate over ``items`` and show how far it is; off a terminal, a log line each ``every`` seconds."""
    if sys.stderr.isatty():
        with Progress(transient=True) as bar:
            yield from bar.track(items, description=what)
        return
    started = reported = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - reported >= every or done == len(items):
            log.info("%s: %d of %d, %.0f s", what, done, len(items), now - started)
            reported = now
