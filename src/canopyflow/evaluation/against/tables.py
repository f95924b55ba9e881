"""A table of labelled pixels as a test set: what `predict` says of each, against what was measured there.

Models are asked through the same door as everybody's tables, so a score is that of the columns a user gets,
flags included. Every score stands twice, as if labels were exact and with their error counted; each with a
bootstrap interval over groups of rows that belong together.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from canopyflow.atomic import atomic_file, write_json
from canopyflow.errors import DataError
from canopyflow.evaluation.label_error import LabelError, label_error
from canopyflow.evaluation.measurands import MEASURANDS, Measurand, find, listed
from canopyflow.evaluation.plot_dates import read_dates
from canopyflow.evaluation.scores import set_scores
from canopyflow.evaluation.scores.clustered import DRAWS, Difference, Interval, codes, paired
from canopyflow.evaluation.scores.predictive import Predictive, pit_histogram
from canopyflow.inference.table_files import GZIP, PARQUET, Table, check_place, check_target, kind_of, numbers
from canopyflow.inference.tables import TableOptions, predict
from canopyflow.models import load
from canopyflow.models.estimators.contract import Estimator
from canopyflow.vocabulary import DOUBTS, FLAGS, MASKED, STATISTICS

log = logging.getLogger("canopyflow")

_SCORES = (".json", ".csv")

LOSSES = ("absolute", "crps", "crps_label")
"""Losses of each row."""

PIT = ("pit", "pit_label")
"""Columns of where each label lies in its posterior, as if it were exact and with its error: uniform on
[0, 1] if posteriors are right."""

MONTH = "month"
"""Stands for the month of the column ``date`` where a table has no such column."""

UNCERTAINTY = "_std"
"""A column of this ending beside a measured one holds its standard uncertainty."""

JUDGED = {name: bit for name, bit in FLAGS.items() if name not in ("masked", *DOUBTS)}
"""Flags with which a model doubts its own answer."""


@dataclass(frozen=True)
class SetOptions:
    """How a set is scored.

    ``error``: of labels whose uncertainty the table does not give, or of all with ``own_errors`` False, as
    where the table's is that of the instrument alone and not of a plot for its pixel; ``group``: column of
    rows that belong together, None: each row stands alone; ``by``: columns of whose values each is scored
    apart as well, :data:`MONTH` among them; ``platform``: of all rows, in a table without that
    column; ``prediction``: how models are asked; ``draws`` resamplings behind each interval, from ``seed``.
    """

    error: LabelError = field(default_factory=LabelError)
    own_errors: bool = True
    group: str | None = None
    platform: str | None = None
    prediction: TableOptions = field(default_factory=lambda: TableOptions(samples=500))
    draws: int = DRAWS
    seed: int = 0
    by: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetScores:
    """``scores``: by model, variable and metric; ``paired``: by the two models, variable and loss, the
    first's loss less the second's. ``rows``: every label with what each model says of it. ``by``: by column
    and group of its rows, the scores."""

    scores: dict[str, dict[str, dict[str, Interval]]]
    paired: list[tuple[str, str, str, str, Difference]]
    rows: pd.DataFrame
    groups: int
    by: dict[str, dict[str, dict[str, dict[str, dict[str, Interval]]]]] = field(default_factory=dict)

    def long_table(self) -> pd.DataFrame:
        """``model, variable, metric, value, low, high``: a row per score."""
        return pd.DataFrame(
            [
                (model, variable, metric, *interval)
                for model, variables in self.scores.items()
                for variable, metrics in variables.items()
                for metric, interval in metrics.items()
            ],
            columns=["model", "variable", "metric", "value", "low", "high"],
        )

    def plain(self) -> dict[str, Any]:
        """For JSON, None for what is not defined: ``{"groups", "scores": {model: {variable: {metric:
        {"value", "low", "high"}}}}, "by": {column: {group: scores}}, "pit": {model: {variable: {"exact":
        counts, "label": counts}}}, "paired": [{"first", "second", "variable", "loss", "value", "low",
        "high", "p", "clusters"}]}``."""
        return {
            "groups": self.groups,
            "scores": _plain_scores(self.scores),
            "by": {
                column: {group: _plain_scores(scores) for group, scores in groups.items()}
                for column, groups in self.by.items()
            },
            "pit": self.pit(),
            "paired": [
                {"first": a, "second": b, "variable": variable, "loss": loss, **_plain(difference._asdict())}
                for a, b, variable, loss, difference in self.paired
            ],
        }

    def pit(self) -> dict[str, dict[str, dict[str, list[int]]]]:
        """Histograms of the labels' probabilities by model and variable, as if they were ``exact`` and with
        their error, ``label``."""
        out: dict[str, dict[str, dict[str, list[int]]]] = {}
        for (model, variable), rows in self.rows.groupby(["model", "variable"], sort=False):
            counts = (pit_histogram(rows[name].to_numpy(float)) for name in PIT)
            out.setdefault(str(model), {})[str(variable)] = dict(zip(("exact", "label"), counts, strict=True))
        return out


def _plain_scores(scores: Mapping[str, Mapping[str, Mapping[str, Interval]]]) -> dict[str, Any]:
    return {
        model: {
            variable: {metric: _plain(interval._asdict()) for metric, interval in metrics.items()}
            for variable, metrics in variables.items()
        }
        for model, variables in scores.items()
    }


def score_table(
    table: str | Path,
    models: Sequence[str | Path],
    measured: Mapping[str, str],
    options: SetOptions | None = None,
) -> SetScores:
    """Score models on a table of pixels with measured columns.

    Parameters
    ----------
    table: CSV or Parquet as :func:`canopyflow.inference.tables.predict_table` reads it, with a column per
        measured variable, in the units of :data:`canopyflow.evaluation.measurands.MEASURANDS`, empty where
        nothing was measured; ``{column}_std`` is its standard uncertainty, where there is one.
    models: whatever :func:`canopyflow.models.load` takes; the others are tested against the first. A model
        has no scores of a variable that it does not estimate.
    measured: from a variable of the models, by any of its words, to the column that holds it, ``{"gai":
        "lai"}``.
    options: see :class:`SetOptions`.

    Raises
    ------
    DataError
        for a variable that is unknown or that none of the models estimates, a missing or textual column,
        values that cannot be right, or no label at all; and for whatever `predict` refuses.
    """
    options = options or SetOptions()
    table = Path(table)
    pixels = _pixels(table, options)
    named = {_measurand(word).name: column for word, column in measured.items()}
    labels = {name: _labels(pixels, name, column, table, options) for name, column in named.items()}
    if not labels:
        raise DataError("nothing to score", "say what was measured, as gai=lai")
    cluster = codes(pixels.index if options.group is None else pixels[options.group])
    grouped = _grouped(pixels, table, options)
    by: dict[str, dict[str, Any]] = {column: {} for column in grouped}
    names = _names(models)
    scores: dict[str, dict[str, dict[str, Interval]]] = {}
    losses: dict[tuple[str, str], dict[str, Any]] = {}
    rows = []
    for name, model in zip(names, _loaded(models, labels, options), strict=True):
        estimated = {quantity.name for quantity in model.estimates}
        own = {variable: label for variable, label in labels.items() if variable in estimated}
        scores[name] = {}
        if not own:
            continue
        predicted = predict(model, pixels, replace(options.prediction, outputs=tuple(own)))
        for variable, label in own.items():
            summary = {s: predicted[f"{variable}_{s}"].to_numpy(float) for s in STATISTICS}
            flags = predicted["flags"].to_numpy(int)
            found = _of_variable(variable, label, summary, flags, cluster, options)
            scores[name][variable], losses[name, variable] = found.scores, found.each
            for column, groups in grouped.items():
                for group, metrics in found.of_groups(groups, cluster, options).items():
                    by[column].setdefault(group, {}).setdefault(name, {})[variable] = metrics
            written = summary | {probability: found.each[probability] for probability in PIT}
            rows.append(_rows(pixels, name, variable, label, written, predicted, options.group))
    return SetScores(
        scores, _pairs(names, tuple(labels), losses, cluster, options), pd.concat(rows, ignore_index=True),
        int(cluster.max()) + 1, by,
    )  # fmt: skip


def measured_pairs(texts: Sequence[str]) -> dict[str, str]:
    """Column by variable, of texts such as ``gai=lai`` or ``PAI=plant_area``. Raises DataError for anything
    else, and for a variable that is given twice."""
    out: dict[str, str] = {}
    for text in texts:
        variable, sign, column = text.partition("=")
        if not (variable and sign and column):
            raise DataError(f"{text!r} does not say what was measured", "give VARIABLE=COLUMN, as gai=lai")
        name = _measurand(variable).name
        if name in out:
            raise DataError(f"{name} is measured by {out[name]!r} and by {column!r}", "give one")
        out[name] = column
    return out


@dataclass(frozen=True)
class _Label:
    """Measured values and the standard deviations of their errors, both (n,); NaN where nothing was
    measured."""

    value: np.ndarray[Any, np.dtype[np.float64]]
    error: np.ndarray[Any, np.dtype[np.float64]]


def _pixels(table: Path, options: SetOptions) -> pd.DataFrame:
    """The whole table, read as `predict` reads it, with a platform in each row."""
    source = Table(table)
    columns = [name for name in source.columns if name]
    pixels = pa.concat_tables(source.pieces(columns)).to_pandas()
    _column(pixels, "id", table)
    if options.group is not None:
        _column(pixels, options.group, table)
        if (pixels[options.group].isna() | (pixels[options.group].astype(str).str.strip() == "")).any():
            raise DataError(
                f"{table}: column {options.group!r} is empty in some rows", "give each row its group"
            )
    if "platform" not in pixels.columns:
        if options.platform is None:
            raise DataError(f"{table} has no column 'platform'", "add it, or give one platform for all rows")
        pixels = pixels.assign(platform=options.platform)
    elif options.platform is not None:
        raise DataError(f"{table} has a column 'platform'", "do not give a platform for all rows beside it")
    return pixels


def _labels(pixels: pd.DataFrame, variable: str, column: str, table: Path, options: SetOptions) -> _Label:
    """What was measured of a variable, checked."""
    measurand = MEASURANDS[variable]
    value = _numbers(pixels, column, table)
    if not np.isfinite(value).any():
        raise DataError(f"{table}: column {column!r} holds no measured value")
    _check_range(value, measurand, column, table)
    spread = f"{column}{UNCERTAINTY}"
    given = _numbers(pixels, spread, table) if options.own_errors and spread in pixels.columns else None
    return _Label(value, label_error(variable, value, given, options.error))


def _measurand(name: str) -> Measurand:
    found = find(name)
    if found is None:
        raise DataError(f"{name!r} is no variable that models estimate", f"use one of {listed()}")
    return found


def _check_range(
    value: np.ndarray[Any, np.dtype[np.float64]], measurand: Measurand, column: str, table: Path
) -> None:
    bad = value[(value < measurand.lower) | (value > measurand.upper)]
    if len(bad):
        raise DataError(
            f"{table}: {column} = {bad[0]:g} cannot be {measurand.long_name} "
            f"in {measurand.unit or 'parts of 1'}, "
            f"it lies outside {measurand.lower:g} to {measurand.upper:g}",
            "check the unit; leave fields empty where nothing was measured",
        )


def _numbers(pixels: pd.DataFrame, column: str, table: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    _column(pixels, column, table)
    try:
        return numbers(pa.chunked_array([pa.array(pixels[column], from_pandas=True)]), column, pixels["id"])
    except DataError as error:
        raise DataError(f"{table}: {error.problem}", error.remedy) from None


def _column(pixels: pd.DataFrame, column: str, table: Path) -> None:
    if column not in pixels.columns:
        raise DataError(f"{table} has no column {column!r}", f"it has {', '.join(map(str, pixels.columns))}")


def _names(models: Sequence[str | Path]) -> list[str]:
    """A short name for each: the shortest end of its path that no other has."""
    parts = [Path(model).parts for model in models]
    for count in range(1, max((len(p) for p in parts), default=0) + 1):
        names = ["/".join(p[-count:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise DataError("the same model is given twice" if parts else "no model to score", "give each model once")


def _loaded(
    models: Sequence[str | Path], labels: Mapping[str, _Label], options: SetOptions
) -> list[Estimator]:
    """The models. Raises DataError for a label that none of them estimates."""
    loaded: list[Estimator] = [load(model, options.prediction.device) for model in models]
    estimated = {quantity.name for model in loaded for quantity in model.estimates}
    for variable in labels:
        if variable not in estimated:
            raise DataError(
                f"none of the models estimates {MEASURANDS[variable].symbol}",
                f"they estimate {', '.join(sorted(estimated))}",
            )
    return loaded


def _of_variable(
    variable: str,
    label: _Label,
    summary: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]],
    flags: np.ndarray[Any, np.dtype[np.int_]],
    cluster: np.ndarray[Any, np.dtype[np.intp]],
    options: SetOptions,
) -> "_OfVariable":
    """Scores of a variable. Raises DataError where no row that was measured can be scored."""
    masked = (flags & MASKED) != 0
    known = np.isfinite(label.value)
    keep = known & ~masked
    if not keep.any():
        raise DataError("no row that was measured has a sound spectrum", "see the warnings above")
    predictive = Predictive.of(summary, label.error)
    rows = set_scores.contributions(
        label.value[keep],
        summary["mean"][keep],
        predictive.rows(keep),
        {name: (flags[keep] & bit) != 0 for name, bit in JUDGED.items()},
        variable,
    )
    scores = set_scores.scored(rows, cluster[keep], seed=options.seed, draws=options.draws)
    scores["masked"] = Interval(float((known & masked).sum()), np.nan, np.nan)
    each = {name: np.full(len(keep), np.nan) for name in (*LOSSES, *PIT)}
    for loss in LOSSES:
        each[loss][keep] = rows[loss]
    for name, law in zip(PIT, (predictive.exact(), predictive), strict=True):
        each[name][keep] = law.rows(keep).probability(label.value[keep])
    return _OfVariable(scores, each, rows, keep)


@dataclass(frozen=True)
class _OfVariable:
    """``scores`` by metric; ``each``: losses and probabilities by name (n,), NaN for rows that do not count;
    ``rows``: what each row that is ``kept`` (n,) adds to the scores."""

    scores: dict[str, Interval]
    each: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
    rows: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
    kept: np.ndarray[Any, np.dtype[np.bool_]]

    def of_groups(
        self, names: "pd.Series[str]", cluster: np.ndarray[Any, np.dtype[np.intp]], options: SetOptions
    ) -> dict[str, dict[str, Interval]]:
        """The same scores of the rows of each name (n,), by name and metric."""
        own, where = names.to_numpy()[self.kept], cluster[self.kept]
        out = {}
        for name in sorted({each for each in own if each}):
            mine = own == name
            some = {metric: values[mine] for metric, values in self.rows.items()}
            out[name] = set_scores.scored(some, codes(where[mine]), seed=options.seed, draws=options.draws)
        return out


def _grouped(pixels: pd.DataFrame, table: Path, options: SetOptions) -> dict[str, "pd.Series[str]"]:
    """By each column of ``options.by`` the name of the group (n,) of each row, "" where it has none."""
    out = {}
    for column in options.by:
        if column == MONTH and MONTH not in pixels.columns:
            _column(pixels, "date", table)
            days = pixels["date"].astype(str)
            month = read_dates(days, lambda row: f"{table}, row {row + 2}").dt.strftime("%m")
            out[column] = month.astype(object)
            continue
        _column(pixels, column, table)
        out[column] = pixels[column].fillna("").astype(str).str.strip().astype(object)
    return out


def _pairs(
    names: list[str],
    variables: tuple[str, ...],
    losses: Mapping[tuple[str, str], Mapping[str, Any]],
    cluster: np.ndarray[Any, np.dtype[np.intp]],
    options: SetOptions,
) -> list[tuple[str, str, str, str, Difference]]:
    """The first model against each other one, on the rows that both have."""
    return [
        (
            names[0], other, variable, loss,
            paired(losses[names[0], variable][loss], losses[other, variable][loss], cluster,
                   seed=options.seed, draws=options.draws),
        )
        for other in names[1:] for variable in variables for loss in ("absolute", "crps_label")
        if {(names[0], variable), (other, variable)} <= losses.keys()
    ]  # fmt: skip


def _rows(
    pixels: pd.DataFrame,
    model: str,
    variable: str,
    label: _Label,
    summary: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]],
    predicted: pd.DataFrame,
    group: str | None,
) -> pd.DataFrame:
    known = np.isfinite(label.value)
    columns: dict[str, Any] = {"id": pixels["id"].to_numpy()}
    if group is not None:
        columns["group"] = pixels[group].to_numpy()
    columns |= {"model": model, "variable": variable, "value": label.value, "error": label.error, **summary}
    columns |= {name: predicted[name].to_numpy() for name in ("fit", "flags")}
    return pd.DataFrame(columns)[known]


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


SHOWN = {
    "n": "n", "rmse": "RMSE", "bias": "bias", "crps_label": "CRPS", "interval90_label": "interval score",
    "log_score_label": "log score", "gcos_threshold_label": "GCOS", "coverage50_label": "cover 50",
    "coverage80_label": "cover 80", "coverage90_label": "cover 90", "coverage95_label": "cover 95",
    "width90": "width 90", "coverage90": "cover 90 exact", "flagged": "flagged",
    "flagged_ratio": "error ratio",
}  # fmt: skip
"""Metrics of the printed table with their headings."""


def told(scores: SetScores) -> str:
    """The scores as text for a terminal, each with its 95 % interval, then the tests."""
    lines = []
    for variable in dict.fromkeys(v for of in scores.scores.values() for v in of):
        measurand = MEASURANDS[variable]
        lines += ["", f"{measurand.label}, {measurand.long_name}"]
        head = ["", *scores.scores]
        cells = [head] + [
            [title, *(_cell(of.get(variable, {}).get(metric), metric) for of in scores.scores.values())]
            for metric, title in SHOWN.items()
        ]
        widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
        lines += [
            "  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
        ]
    lines.append("")
    for first, second, variable, loss, d in scores.paired:
        what = {"absolute": "absolute error", "crps_label": "CRPS"}[loss]
        lines.append(
            f"{what} of {MEASURANDS[variable].symbol}, {first} less {second}: "
            f"{d.value:+.3g} ({d.low:+.3g} to {d.high:+.3g}), p = {d.p:.2g}"
        )
    lines.append(
        f"95 % intervals over {scores.groups} groups of rows. CRPS, interval and log score, GCOS and "
        "coverage count the error of the labels; exact: as if they had none. GCOS: share within its "
        "requirement of leaf area, 0.95 is asked. Error ratio: mean absolute error of flagged rows to that "
        "of the others."
    )
    return "\n".join(lines).strip("\n")


def _cell(interval: Interval | None, metric: str) -> str:
    if interval is None or not np.isfinite(interval.value):
        return "–"
    if metric == "n":
        return f"{interval.value:.0f}"
    text = f"{interval.value:.3g}"
    return text if not np.isfinite(interval.low) else f"{text} ({interval.low:.3g} to {interval.high:.3g})"


def check_targets(table: Path, scores: Path | None, rows: Path | None) -> None:
    """Raise DataError, before any work, for files that :func:`write_scores` and :func:`write_rows` cannot
    write, or that are the ``table`` itself."""
    if scores is not None:
        if scores.suffix not in _SCORES:
            raise DataError(f"scores cannot be written to {scores}", f"name it *{' or *'.join(_SCORES)}")
        check_place(scores, table)
    if rows is not None:
        check_target(rows, table)
        if scores is not None and scores.absolute().resolve() == rows.absolute().resolve():
            raise DataError(f"scores and rows would both be written to {rows}", "give another file for one")


def write_scores(scores: SetScores, out: Path) -> None:
    """Write scores as ``.json`` with the tests, or as ``.csv``, a long table."""
    if out.suffix == ".json":
        write_json(out, scores.plain())
    else:
        with atomic_file(out) as scratch:
            scores.long_table().to_csv(scratch, index=False, float_format="%.6g")


def write_rows(scores: SetScores, out: Path) -> None:
    """Write every label with what each model says of it, in the format of the file's ending. Raises DataError
    for one that is not written."""
    kind = kind_of(out)
    with atomic_file(out) as scratch:
        if kind == PARQUET:
            scores.rows.to_parquet(scratch, index=False)
        else:
            scores.rows.to_csv(
                scratch, index=False, float_format="%.6g", compression="gzip" if kind == GZIP else None
            )
