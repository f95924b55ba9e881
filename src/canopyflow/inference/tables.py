"""Pixels in a table, posterior out; what cannot be right in the table is said, not computed.

The table is read twice, piece by piece: once to be judged as a whole, once to be computed. Its length is
bounded by the disk.
"""

import logging
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray

from canopyflow.errors import ConfigError, DataError
from canopyflow.inference.summaries import BATCH_PIXELS, LEARNED, Wanted, summarise
from canopyflow.inference.table_checks import Census, Pixels, check_ids, platforms_of
from canopyflow.inference.table_files import (
    CSV,
    GZIP,
    Table,
    check_target,
    numbers,
    table_of,
    writer,
)
from canopyflow.models import load
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.estimators.contract import Estimator, Learning
from canopyflow.models.estimators.refined import refined
from canopyflow.models.runtime import one_thread
from canopyflow.observations.observation import pixels as observed
from canopyflow.progress import Bar
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import ANGLES, MASKED, STATISTICS, TABLE_OUTPUTS

log = logging.getLogger("canopyflow")

SHIPPED, SHIPPED_WITHOUT, LEFT_OUT = "s2", "s2-9", "B08"
"""Names of the models that a table is given to unless another one is named: of all ten bands, and of nine
where the table has no band :data:`LEFT_OUT`."""

_DRAWS = 16_384
"""Draws of a piece of work: a flow holds some kilobytes for each, beside all else that is in memory."""

_EVERY = 10.0
"""Seconds between two lines of a log that say how far it is."""


@dataclass(frozen=True)
class TableOptions:
    """All statistics of the variables ``outputs``, by default of those in
    :data:`canopyflow.vocabulary.TABLE_OUTPUTS` that the model estimates.

    ``summaries``: "learned", or "drawn" from ``samples`` draws per row; with ``refine`` "importance" they are
    resampled from ``proposals`` draws, and rows with fewer than ``least_ess`` effective ones flagged.
    ``keep``: further columns that are written beside the id.
    """

    samples: int = 100
    seed: int = 0
    outputs: Sequence[str] | None = None
    summaries: str = LEARNED
    refine: str = "none"
    proposals: int = 10_000
    least_ess: float = 100.0
    device: str = "cpu"
    keep: Sequence[str] = ()


def predict_table(
    table: str | Path, bundle: str | Path | None, out: str | Path, options: TableOptions | None = None
) -> list[str]:
    """Read pixels from CSV or Parquet, write ``id`` and their posterior summaries; returns the warnings.

    Columns in: id, platform, the model's bands (reflectance 0-1), and the three angles in degrees; out: ids
    in their order and as they came, the columns ``options.keep``, summaries, fit and flags. ``bundle``:
    folder or name of a model, None for the one that is shipped. A row that cannot be right comes out empty
    with the flag "masked"; of one that lacks bands the posterior is that of the others, where the model was
    trained for it. Raises DataError for a missing column, another unit, an unknown platform, a repeated id,
    and for files that cannot be read or written, before anything is computed.
    """
    options = options or TableOptions()
    source, out = Table(table), Path(out)
    kind = check_target(out, source.path)
    model = load(_shipped_for(source) if bundle is None else bundle, options.device)
    reader = _Reader(source, model, options.keep)
    _check_kept(source, kind, reader, options)
    warnings, rows = _judged(reader, options)
    if bundle is None and LEFT_OUT not in source.columns:
        text = f"{source.path}: there is no band {LEFT_OUT!r}; {SHIPPED_WITHOUT} answers, a model without it"
        warnings.insert(0, f"missing-band: {text}")
    for warning in warnings:
        log.warning("%s", warning)
    with writer(out, kind) as target, ThreadPoolExecutor(1, "write") as writing, one_thread():
        written: Future[None] | None = None
        for number, (kept, pixels) in enumerate(_shown(_ahead(reader), rows)):
            columns = _posterior(model, pixels, options, seed_of(options.seed, number))
            if written is not None:
                written.result()
            written = writing.submit(target.write, table_of(kept, columns))
        if written is not None:
            written.result()
    return warnings


def predict(model: Estimator, pixels: pd.DataFrame, options: TableOptions | None = None) -> pd.DataFrame:
    """Posterior summaries of ``pixels``, columns as of :func:`predict_table`, one row each, in their order.

    Warnings are logged. Raises DataError for what cannot be right.
    """
    options = options or TableOptions()
    for warning in check_pixels(pixels, model, "the table"):
        log.warning("%s", warning)
    columns = _posterior(model, _of_frame(pixels, model), options, options.seed)
    kept = {name: pixels[name].to_numpy() for name in ("id", *options.keep)}
    return pd.DataFrame({**kept, **columns})


def check_pixels(pixels: pd.DataFrame, model: Estimator, name: str) -> list[str]:
    """Raise DataError for what cannot be right; return warnings, each opening with its name (see
    :mod:`canopyflow.inference.table_checks`), for what is wrong with some rows or probably wrong with all."""
    absent = _absent(pixels.columns.tolist(), model, name)
    census = _census(model, absent)
    if len(pixels):
        rows = _of_frame(pixels, model)
        census.add(rows)
        check_ids([rows.ids], census.twice(), name)
    return census.finish(name)


def _shipped_for(source: Table) -> str:
    """Which of the shipped models reads this table. Raises DataError for a band that is there under another
    name."""
    if LEFT_OUT in source.columns:
        return SHIPPED
    meant = next((name for name in source.columns if _alike(name, LEFT_OUT)), None)
    if meant is not None:
        raise DataError(f"{source.path} has no band {LEFT_OUT!r}", f"rename the column {meant!r}")
    return SHIPPED_WITHOUT


class _Reader:
    """The rows of a table as a model wants them: the columns to keep, and the pixels, piece by piece."""

    def __init__(self, source: Table, model: Estimator, keep: Sequence[str]) -> None:
        self.name, self.model, self._source = str(source.path), model, source
        self.absent = _absent(source.columns, model, self.name)
        self.kept = ["id", *keep]
        for column in keep:
            if column not in source.columns:
                raise DataError(
                    f"{self.name} has no column {column!r} to keep", f"it has {', '.join(source.columns)}"
                )
        bands = [band for band in model.generative.bands if band not in self.absent]
        self._columns = [*self.kept, "platform", *bands, *ANGLES]

    def __iter__(self) -> Iterator[tuple[pa.Table, Pixels]]:
        for piece in self._source.pieces(self._columns):
            kept = piece.select(self.kept)
            ids = kept.column("id").to_pandas()
            try:
                values = {
                    name: numbers(piece.column(name), name, ids)
                    for name in (*self.model.generative.bands, *ANGLES)
                    if name not in self.absent
                }
                pixels = _pixels(values, piece.column("platform").to_pylist(), ids, self.model)
            except DataError as error:
                raise DataError(f"{self.name}: {error.problem}", error.remedy) from None
            yield kept, pixels

    def ids(self) -> Iterator["pd.Series[Any]"]:
        """The ids alone."""
        for piece in self._source.pieces(["id"]):
            yield piece.column("id").to_pandas()

    def census(self) -> Census:
        """One that has seen nothing yet."""
        return _census(self.model, self.absent)


def _judged(reader: _Reader, options: TableOptions) -> tuple[list[str], int]:
    """The warnings about a table, and how many rows it has. Raises DataError if none of them can be used."""
    census, said = reader.census(), time.monotonic()
    for _, pixels in _ahead(reader):
        census.add(pixels)
        if time.monotonic() - said >= _EVERY:
            said = time.monotonic()
            log.info("check: %d rows", census.rows)
    warnings = census.finish(reader.name)
    check_ids(reader.ids(), census.twice(), reader.name)
    model = reader.model
    learns = options.summaries == LEARNED and isinstance(model, Learning) and model.learns
    if learns and census.partly and not model.meta["summaries"].get("incomplete", {}).get("passed"):
        text = f"{census.partly} rows lack bands; this model draws the posteriors of such rows"
        warnings.append(f"drawn: {reader.name}: {text}, which takes some hundred times as long")
    if not census.good:
        raise DataError("no row can be used: " + "; ".join(warnings), "give at least one that can be")
    return warnings, census.rows


def _ahead(reader: _Reader) -> Iterator[tuple[pa.Table, Pixels]]:
    """The pieces of a table; while one is worked on the next one is read."""
    pieces = iter(reader)
    with ThreadPoolExecutor(1, "read") as reading:
        coming = reading.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = reading.submit(next, pieces, None)
            yield piece


def _shown(pieces: Iterator[tuple[pa.Table, Pixels]], rows: int) -> Iterator[tuple[pa.Table, Pixels]]:
    """The pieces, and how far it is: a bar on a terminal, else lines in the log."""
    begun = said = time.monotonic()
    done = 0
    with Bar("predict", rows) as bar:
        for piece in pieces:
            yield piece
            done += len(piece[0])
            bar.update(completed=done)
            now = time.monotonic()
            if not bar.shown and (now - said >= _EVERY or done == rows):
                said = now
                log.info("predict: %d of %d rows, %.0f s", done, rows, now - begun)


def _posterior(model: Estimator, pixels: Pixels, options: TableOptions, seed: int) -> dict[str, NDArray[Any]]:
    """Summaries of n rows by the name of their column; ``ess`` too if refined."""
    outputs, n = _outputs(model, options), len(pixels.platform)
    bands = model.generative.bands
    good = pixels.good(model.reads_incomplete)
    stats = np.full((len(outputs), len(STATISTICS), n), np.nan, np.float32)
    fit, ess = np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32)
    flags = np.full(n, MASKED, np.uint8)
    if good.any():
        measured = np.where(pixels.judged().valid, pixels.reflectance, np.nan)
        x, a, kind = (
            torch.from_numpy(np.ascontiguousarray(column[good]))
            for column in (
                measured.astype(np.float32),
                _folded(pixels.angles.astype(np.float32)),
                pixels.platform,
            )
        )
        summary = summarise(
            _estimator(model, options),
            observed(x, a, kind, bands),
            Wanted(
                outputs,
                samples=options.samples,
                summaries=options.summaries,
                batch_pixels=max(1, min(BATCH_PIXELS, _DRAWS // options.samples)),
            ),
            seed,
        )
        stats[..., good], fit[good], flags[good] = (
            summary.stats.transpose(1, 2, 0),
            summary.fit,
            summary.flags,
        )
        if summary.ess is not None:
            ess[good] = summary.ess
    columns: dict[str, NDArray[Any]] = {
        f"{name}_{statistic}": stats[i, j]
        for i, name in enumerate(outputs)
        for j, statistic in enumerate(STATISTICS)
    }
    if options.refine != "none":
        columns["ess"] = ess
    return {**columns, "fit": fit, "flags": flags}


def _outputs(model: Estimator, options: TableOptions) -> list[str]:
    """The variables that are written, in the order of a table."""
    if options.outputs is not None:
        return list(options.outputs)
    known = {variable.name for variable in model.estimates}
    return [name for name in TABLE_OUTPUTS if name in known]


def _estimator(model: Estimator, options: TableOptions) -> Estimator:
    """The one that is asked. Raises ConfigError for a refinement of one that has no density."""
    if isinstance(model, Amortised):
        return refined(model, options.refine, options.proposals, options.least_ess)
    if options.refine != "none":
        raise ConfigError("this model has no density that could be refined", "leave out --refine")
    return model


def _census(model: Estimator, absent: Sequence[str]) -> Census:
    return Census(model.generative.bands, model.meta.get("angle_range"), model.reads_incomplete, absent)


def _absent(columns: Sequence[str], model: Estimator, name: str) -> list[str]:
    """Bands that a table has not, and need not have. Raises DataError for a column that it needs."""
    bands = model.generative.bands
    missing = [column for column in ("id", "platform", *bands, *ANGLES) if column not in columns]
    for column in missing:
        kind = "angle" if column in ANGLES else "band" if column in bands else "column"
        meant = next((other for other in columns if _alike(other, column)), None)
        free = kind == "band" and model.reads_incomplete and meant is None
        if not free:
            needed = f"the model needs {', '.join((*bands, *ANGLES))}"
            hint = needed if meant is None else f"rename the column {meant!r}"
            raise DataError(f"{name} has no {kind} {column!r}", hint)
    if missing and all(band in missing for band in bands):
        raise DataError(f"{name} has no band at all", f"the model reads {', '.join(bands)}")
    return missing


def _alike(given: str, wanted: str) -> bool:
    """Whether a column's name is meant for another one: B4, b04, Band 4 and B04_reflectance for B04."""
    plain = re.sub(r"^band_?", "b", given.strip().lower().replace("-", "_").replace(" ", "_"))
    short = wanted.lower().replace("b0", "b")
    return plain in (wanted.lower(), short) or plain.startswith((f"{wanted.lower()}_", f"{short}_"))


def _check_kept(source: Table, kind: str, reader: _Reader, options: TableOptions) -> None:
    """Raise DataError for columns to keep that cannot be written, or would be there twice."""
    own = {f"{name}_{statistic}" for name in _outputs(reader.model, options) for statistic in STATISTICS}
    for column in options.keep:
        if column in own | {"id", "ess", "fit", "flags"} or list(options.keep).count(column) > 1:
            raise DataError(
                f"{reader.name}: column {column!r} would be there twice", "rename it, or do not keep it"
            )
    if kind in (CSV, GZIP):
        for column, of in source.types(reader.kept).items():
            if pa.types.is_nested(of) or pa.types.is_binary(of):
                raise DataError(
                    f"{reader.name}: column {column!r} ({of}) has no place in a CSV file", "write Parquet"
                )


def _of_frame(frame: pd.DataFrame, model: Estimator) -> Pixels:
    values = {
        name: numbers(pa.chunked_array([pa.array(frame[name], from_pandas=True)]), name, frame["id"])
        for name in (*model.generative.bands, *ANGLES)
        if name in frame
    }
    return _pixels(values, frame["platform"].tolist(), frame["id"], model)


def _pixels(
    values: dict[str, NDArray[np.float64]], platform: Sequence[Any], ids: "pd.Series[Any]", model: Estimator
) -> Pixels:
    """Rows of columns by name; a band that is not among them is missing in every row."""
    nowhere = np.full(len(ids), np.nan)
    return Pixels(
        np.column_stack([values.get(band, nowhere) for band in model.generative.bands]),
        np.column_stack([values[name] for name in ANGLES]),
        platforms_of(platform, model.generative.platforms, ids),
        ids,
    )


def _folded(angles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Relative azimuth folded to [0, 180] degrees: the canopy is symmetric about the principal plane."""
    azimuth = np.abs(angles[:, 2]) % 360
    angles = angles.copy()
    angles[:, 2] = np.minimum(azimuth, 360 - azimuth)
    return angles
