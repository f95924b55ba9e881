"""Curves of training for TensorBoard or MLflow, written from the ``history.jsonl`` of finished models.

Training itself knows of no tracker: what a model is does not depend on who watches. What is written follows
from the history alone, so that a tracker can be chosen, changed and filled again at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from canopyflow.atomic import atomic_file
from canopyflow.errors import CanopyflowError, DataError
from canopyflow.extras import missing
from canopyflow.registry import nearest

log = logging.getLogger("canopyflow")

TRACKERS = ("tensorboard", "mlflow")

EVENTS = "events.out.tfevents.0.canopyflow"
"""The file that TensorBoard reads: it looks for ``tfevents`` in a name."""

CURVES = ("loss", "validation", "learning_rate", "skipped")
"""Keys of a history's line that are drawn; ``phase``, ``objective`` and ``epoch`` say where."""

ADDRESS = "MLFLOW_TRACKING_URI"
"""Environment variable with the address of an MLflow server; without it a folder is written."""

DIGEST = "canopyflow.history"
"""Tag of an MLflow run: which history it was written from."""


class Point(NamedTuple):
    """One value of a curve: ``"phase 2 npe/loss"`` at an epoch of that phase, from 1."""

    curve: str
    step: int
    value: float


def points(history: str | Path) -> Iterator[Point]:
    """Points of all curves in a ``history.jsonl``, line by line; what is not finite is left out.

    A curve is of one phase: losses of two objectives cannot be compared. Raises DataError for a file that is
    no history.
    """
    path = Path(history)
    if not path.is_file():
        raise DataError(f"{path} is not there", "name the folder of a trained model, or its history.jsonl")
    for number, text in enumerate(path.read_text().splitlines(), start=1):
        try:
            line = json.loads(text)
            phase = f"phase {line['phase']:d} {line['objective']}"
            found = [(key, line.get(key)) for key in CURVES]
            yield from [
                Point(f"{phase}/{key}", int(line["epoch"]), float(value))
                for key, value in found
                if value is not None and math.isfinite(value)
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, line {number}: no line of a history ({error})", "see docs/tracking.md"
            ) from None


def track(
    history: str | Path, tracker: str, folder: str | Path, *, experiment: str, run: str
) -> dict[str, Any]:
    """Hand the curves of one training to ``tracker``; returns what was done, as plain values.

    Args:
        history: ``history.jsonl`` of a model, or the folder it lies in.
        tracker: one of :data:`TRACKERS`.
        folder: where TensorBoard's file goes; MLflow's folder of all runs, where no server is named in the
            environment (``MLFLOW_TRACKING_URI``).
        experiment: what MLflow calls the whole, the campaign.
        run: what this training is called, such as ``nsf/seed0``.

    The same history gives the same bytes, and one run: repeated, it finds its own. Raises CanopyflowError
    where the tracker is not installed, DataError for a history that is none.
    """
    path = Path(history)
    path = path / "history.jsonl" if path.is_dir() else path
    curves = list(points(path))
    try:
        if tracker == "tensorboard":
            where = _tensorboard(curves, Path(folder))
        elif tracker == "mlflow":
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            where = _mlflow(curves, Path(folder), experiment, run, digest)
        else:
            raise CanopyflowError(f"tracker {tracker!r} is unknown", nearest(tracker, TRACKERS))
    except ModuleNotFoundError as error:
        raise missing(error) or error from None
    log.info("%s: %d points of %d curves in %s", run, len(curves), len({p.curve for p in curves}), where)
    return {"tracker": tracker, "run": run, "points": len(curves), "where": where}


def _tensorboard(curves: list[Point], folder: Path) -> str:
    """Write TensorBoard's file; no wall-clock time is in it."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    with atomic_file(folder / EVENTS) as scratch, scratch.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=0, file_version="brain.Event:2").SerializeToString())
        for curve, step, value in curves:
            summary = Summary(value=[Summary.Value(tag=curve, simple_value=value)])
            writer.write(Event(wall_time=step, step=step, summary=summary).SerializeToString())
        writer.flush()
    return str(folder)


def _mlflow(curves: list[Point], folder: Path, experiment: str, run: str, digest: str) -> str:
    """Log a run, unless this history has one; returns its id."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    address = os.environ.get(ADDRESS)
    if not address:
        # MLflow 3 asks for this word before it writes a folder and no database.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        folder.mkdir(parents=True, exist_ok=True)
        address = folder.resolve().as_uri()
    client = MlflowClient(tracking_uri=address)
    known = client.get_experiment_by_name(experiment)
    place = known.experiment_id if known is not None else client.create_experiment(experiment)
    same = f"tags.`{DIGEST}` = '{digest}' and attributes.run_name = '{run}'"
    found = client.search_runs([place], filter_string=same)
    if found:
        return str(found[0].info.run_id)
    made = client.create_run(place, run_name=run, tags={DIGEST: digest})
    metrics = [Metric(curve, value, 0, step) for curve, step, value in curves]
    for start in range(0, len(metrics), 1000):  # the most that a server takes at once
        client.log_batch(made.info.run_id, metrics=metrics[start : start + 1000])
    client.set_terminated(made.info.run_id)
    return str(made.info.run_id)
