"""What every job of the workflow has in common: a log file, and errors as one clear line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from canopyflow.errors import CanopyflowError

log = logging.getLogger("canopyflow")


@contextmanager
def job(log_file: str) -> Iterator[None]:
    """Log to ``log_file`` and to standard error while the block runs.

    A CanopyflowError ends the job with one line and status 1; any other error keeps its traceback.
    """
    configure_logging(log_file)
    try:
        yield
    except CanopyflowError as error:
        log.error("%s", error)
        sys.exit(1)
    except Exception:
        log.exception("this is a defect of the program, please report it")
        raise


def configure_logging(log_file: str | None = None, level: int = logging.INFO) -> None:
    """Send the package's log to standard error, and to a file when one is named."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log_file is not None:
        handlers.append(logging.FileHandler(log_file, mode="w"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    log.handlers = handlers
    log.setLevel(level)
    log.propagate = False
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").handlers = handlers
