"""Which posterior, and should it be believed: one verdict from the tables of a campaign.

The page of a campaign, ``canopyflow results`` and the report all say what :func:`judge` says.
"""

import json
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd

from canopyflow.evaluation.against.plots import NOT_ESTIMATED, OK
from canopyflow.evaluation.measurands import MEASURANDS
from canopyflow.evaluation.pages.scenes import Row, read_scenes
from canopyflow.evaluation.scores.clustered import Difference, bootstrap, codes, paired
from canopyflow.evaluation.scores.predictive import Predictive
from canopyflow.vocabulary import STATISTICS

DECIDING = ("lai", "gai", "ccc", "fapar", "cab")
"""Variables that a verdict may be about: the one that plots measured most often, else the first there is."""

LEVEL = 0.9
NEAR = 0.05
"""An interval of 90 % that holds between 85 and 95 % of the truth means what it says."""

FLAGGED_MANY, MISFIT_MANY = 0.1, 0.05
"""Shares of clear pixels from which a reader is warned."""

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Tables:
    """What a verdict follows from.

    Attributes:
        models: ``benchmarks/models.csv``, one row per model.
        scores: ``comparison/table.csv``, one row per source of truth, variable and model.
        matchups: ``matchups/{model}.parquet`` by model; none of a campaign without field plots.
        scenes: rows of ``comparison/scenes.csv``; None of a campaign of simulations.
        flags: ``comparison/flags.csv``: ``model tile month clear doubtful`` and a column per flag, in pixels;
            None where nothing is mapped.
        summaries: of each model whose summaries were learned, whether they passed their check.
        seasons: the models of seasons.
    """

    models: pd.DataFrame
    scores: pd.DataFrame
    matchups: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    scenes: Sequence[Row] | None = None
    flags: pd.DataFrame | None = None
    summaries: Mapping[str, bool] = field(default_factory=dict)
    seasons: Set[str] = frozenset()


@dataclass(frozen=True)
class Judged:
    """One model; a number that is not known is NaN. CRPS are in the unit of the variable, coverage is that
    of 90 % intervals, on plots with the error of labels counted."""

    model: str
    mapped: bool
    c2st: float
    efficiency: float
    coverage_simulations: float
    coverage_plots: float
    crps_simulations: float
    crps_plots: float
    seconds: float
    """Seconds for the summaries of a million pixels as maps take them."""
    flagged: float
    misfit: float
    seasons: bool = False
    """Whether it is a model of seasons: its simulations are seasons of its own prior."""
    ranked: bool = True
    """Whether its score is of the same truth as that of the others."""
    best: bool = False
    difference: Difference | None = None
    """Its loss at the plots less that of the best, on the measurements that both have; the p-value counts
    how many models are held against the best (:func:`holm`)."""

    @property
    def tied(self) -> bool:
        """Whether the plots do not tell it apart from the best."""
        return self.difference is not None and not self.difference.p < SIGNIFICANT

    @property
    def better(self) -> bool:
        """Whether it is closer than the best on the measurements that both have: its own were harder."""
        return self.difference is not None and not self.tied and self.difference.value < 0


@dataclass(frozen=True)
class Verdict:
    """What a reader has to know first.

    Attributes:
        variable: what it is about.
        source: "plots" or "simulations", where the models were told apart; "" if they could not be.
        rows: all models, best first.
        measurements: matched measurements of the variable, on ``plots`` plots.
        sentence: in plain words.
        level: "good", "care" or "unknown": whether the sentence recommends, warns or cannot tell.
        warnings: what must not be overlooked.
    """

    variable: str
    source: str
    rows: tuple[Judged, ...]
    measurements: int
    plots: int
    sentence: str
    level: str
    warnings: tuple[str, ...]


def read_tables(results: Path) -> Tables:
    """The tables of a finished campaign; what it does not have is left empty."""
    scenes, flags = results / "comparison/scenes.csv", results / "comparison/flags.csv"
    passed: dict[str, bool] = {}
    seasons: set[str] = set()
    for path in sorted((results / "models").glob("*/*/model.json")):
        about, name = json.loads(path.read_text()), path.parent.parent.name
        if "dynamics" in about:
            seasons.add(name)
        said = about.get("summaries") or {}
        if "passed" in said:
            passed[name] = passed.get(name, True) and bool(said["passed"])
    models = _of_models(results / "benchmarks/models.csv")
    names = [str(name) for name in models["model"]]
    matchups = {name: results / f"matchups/{name}.parquet" for name in names}
    return Tables(
        models,
        _of_models(results / "comparison/table.csv"),
        {name: pd.read_parquet(path) for name, path in matchups.items() if path.exists()},
        read_scenes(scenes) if scenes.exists() else None,
        _of_models(flags) if flags.exists() else None,
        {name: good for name, good in passed.items() if name in names},
        seasons.intersection(names),
    )


def _of_models(path: Path) -> pd.DataFrame:
    """A table with a column of models, whose names stay text: ``1`` and ``NA`` are names."""
    return pd.read_csv(path, converters={"model": str})


def judge(tables: Tables) -> Verdict:
    """The verdict on a campaign; a pure function of its tables."""
    variable = deciding(tables)
    matched = {name: _matched(table, variable) for name, table in tables.matchups.items()}
    judged = [_judged(tables, str(row["model"]), row, variable) for _, row in tables.models.iterrows()]
    at_plots = any(math.isfinite(row.crps_plots) for row in judged)
    source = "plots" if at_plots else "simulations"
    if not at_plots and len(judged) > 1:
        judged = [replace(row, ranked=not row.seasons) for row in judged]
    loss = {row.model: row.crps_plots if at_plots else row.crps_simulations for row in judged}
    loss |= {row.model: math.nan for row in judged if not row.ranked}
    order = sorted(judged, key=lambda row: (_last(loss[row.model]), row.model))
    rows = _with_tests(order, matched if at_plots else {}, loss)
    if not any(row.best for row in rows):
        source = ""
    best = matched.get(rows[0].model) if rows and at_plots else None
    count = 0 if best is None else len(best)
    plots = 0 if best is None else int(best["plot_id"].nunique())
    sentence, level = _sentence(rows, variable, source, best)
    warnings = tuple(_warnings(tables, rows, variable))
    if level == "good" and warnings:
        level = "care"
    return Verdict(variable, source, tuple(rows), count, plots, sentence, level, warnings)


def deciding(tables: Tables) -> str:
    """The variable that the models are judged by."""
    plots = tables.scores[tables.scores["source"] == "plots"]
    counts = plots.groupby("variable")["n"].max()
    measured = [name for name in DECIDING if counts.get(name, 0) > 0]
    if measured:
        return max(measured, key=lambda name: (counts[name], -DECIDING.index(name)))
    there = set(tables.scores["variable"])
    return next((name for name in DECIDING if name in there), min(there, default="lai"))


def _judged(tables: Tables, model: str, row: "pd.Series[float]", variable: str) -> Judged:
    def score(source: str, *metrics: str) -> float:
        s = tables.scores
        found = s[(s["source"] == source) & (s["variable"] == variable) & (s["model"] == model)]
        values = [
            found[m].iloc[0] for m in metrics if len(found) and m in found and pd.notna(found[m].iloc[0])
        ]
        return float(values[0]) if values else math.nan

    def cost(*names: str) -> float:
        values = [row[name] for name in names if name in row and pd.notna(row[name])]
        return float(values[0]) if values else math.nan

    flagged = misfit = math.nan
    mapped = False
    if tables.flags is not None:
        of = tables.flags[tables.flags["model"] == model]
        clear, mapped = float(of["clear"].sum()), len(of) > 0
        if clear:
            flagged, misfit = float(of["doubtful"].sum()) / clear, float(of["misfit"].sum()) / clear
    learned = tables.summaries.get(model, True)
    times = ("seconds_per_million_learned", "seconds_per_million")
    return Judged(
        model,
        mapped,
        cost("c2st"),
        cost("efficiency"),
        score("simulations", "coverage90"),
        score("plots", "coverage90_label", "coverage90"),
        score("simulations", "crps"),
        score("plots", "crps_label", "crps"),
        cost(*times[0 if learned else 1 :]),
        flagged,
        misfit,
        model in tables.seasons,
    )


def _last(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _matched(table: pd.DataFrame, variable: str) -> pd.DataFrame:
    """Matched rows of a variable, with the row of the table as index."""
    rows: pd.DataFrame = table[(table["status"] == OK) & (table["variable"] == variable)]
    return rows


def _losses(rows: pd.DataFrame) -> "pd.Series[float]":
    """CRPS of each measurement, with its own error counted."""
    summary = {name: rows[name].to_numpy(float) for name in STATISTICS if name in rows}
    law = Predictive.of(summary, np.nan_to_num(rows["error"].to_numpy(float)))
    return pd.Series(law.crps(rows["value"].to_numpy(float)), index=rows.index)


def _with_tests(
    order: Sequence[Judged], matched: Mapping[str, pd.DataFrame], loss: Mapping[str, float]
) -> list[Judged]:
    """Mark the best, and hold each other model against it on the same measurements.

    All matchup tables of a campaign have one row per measurement, in one order.
    """
    if not order or not math.isfinite(loss[order[0].model]):
        return list(order)
    best = order[0].model
    losses = {name: _losses(rows) for name, rows in matched.items() if len(rows)}
    out = []
    for row in order:
        test = None
        if row.model != best and row.model in losses and best in losses:
            both = losses[row.model].index.intersection(losses[best].index)
            if len(both):
                groups = codes(matched[best].loc[both, "plot_id"])
                mine, its = (np.asarray(losses[n].loc[both], np.float64) for n in (row.model, best))
                test = paired(mine, its, groups, seed=0)
        out.append(replace(row, best=row.model == best, difference=test))
    tests = [row.difference for row in out if row.difference is not None]
    corrected = iter(holm([test.p for test in tests]))
    return [
        row if row.difference is None else replace(row, difference=row.difference._replace(p=next(corrected)))
        for row in out
    ]


def holm(values: Sequence[float]) -> list[float]:
    """p-values that hold for all tests together (Holm, 1979, Scand. J. Statist. 6, 65-70); NaN stays NaN and
    counts as no test."""
    known = sorted((value, at) for at, value in enumerate(values) if math.isfinite(value))
    out, least = [math.nan] * len(values), 0.0
    for rank, (value, at) in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * value))
        out[at] = least
    return out


def _sentence(
    rows: Sequence[Judged], variable: str, source: str, best: pd.DataFrame | None
) -> tuple[str, str]:
    """What to do, in plain words, and whether that is a recommendation."""
    ranked = [row for row in rows if row.ranked]
    unranked = _apart([row.model for row in rows if not row.ranked])
    if not source:
        return f"There is no score to tell the models apart by. {unranked}".rstrip(), "unknown"
    first, symbol = rows[0], _symbol(variable)
    parts, good = [], True
    unit = MEASURANDS[variable].unit if variable in MEASURANDS else ""
    where, crps = "the truth of simulations", first.crps_simulations
    if first.seasons:
        where = "seasons of its own prior"
    extent = ""
    if best is not None:
        where, crps = "the field plots", first.crps_plots
        extent = f", {len(best)} measurements on {best['plot_id'].nunique()} plots"
    score = f"{symbol}: CRPS {number(crps)} {unit}".rstrip() + extent
    kind = " of single dates" if unranked else ""
    if len(ranked) > 1:
        lead = f"Take {first.model}: of {len(ranked)} models{kind} its posterior is closest to {where}"
    else:
        lead = f"{first.model} is the only model{kind}, held against {where}"
    parts += [f"{lead} ({score}).", unranked]
    if not first.mapped and any(row.mapped for row in ranked):
        inside = next(row for row in ranked if row.mapped)
        apart = "not told apart from it" if inside.tied or inside.better else "behind it"
        parts.append(f"It has no maps here; the best that has is {inside.model}, {apart}.")
    parts += _others(rows) if best is not None else []
    covered, trusted = _coverage(first, best)
    good = good and trusted and not any(row.better for row in rows)
    parts.append(covered)
    if math.isfinite(first.c2st):
        close = "close to" if first.c2st < 0.6 else "not far from" if first.c2st < 0.75 else "far from"
        parts.append(
            f"It is {close} the true posterior of the physics: a classifier tells the two apart in "
            f"{percent(first.c2st)} of cases (50 % is guessing)."
        )
        good = good and first.c2st < 0.75
    return " ".join(part for part in parts if part), "good" if good else "care"


def _apart(models: Sequence[str]) -> str:
    """What is said of models of seasons where nothing but simulations tells models apart."""
    if not models:
        return ""
    return (
        f"{_listed(models)} {'is' if len(models) == 1 else 'are'} not ranked: a model of seasons is scored "
        "on seasons of its own prior, and no other model on these."
    )


def _others(rows: Sequence[Judged]) -> list[str]:
    """What the paired test says of the others."""
    tested = [row for row in rows if row.difference is not None and math.isfinite(row.difference.p)]
    tied = [row.model for row in tested if row.tied]
    worse = [row.model for row in tested if not row.tied and not row.better]
    better = [row.model for row in tested if row.better]
    said = []
    if tied:
        said.append(f"The plots cannot tell {_listed(tied)} from it.")
    if worse:
        said.append(f"{_listed(worse)} {'is' if len(worse) == 1 else 'are'} worse (p < {SIGNIFICANT}).")
    if better:
        said.append(
            f"But {_listed(better)} {'is' if len(better) == 1 else 'are'} closer on the measurements that "
            f"both have (p < {SIGNIFICANT}): scores over different measurements do not compare."
        )
    return said


def _coverage(row: Judged, matched: pd.DataFrame | None) -> tuple[str, bool]:
    """Whether the 90 % intervals of a model mean what they say."""
    simulated = row.coverage_simulations
    held = [f"{percent(simulated)} of held-back simulations"] if math.isfinite(simulated) else []
    physics = _too(simulated, (simulated, simulated)) if math.isfinite(simulated) else ""
    plots = ""
    if matched is not None and math.isfinite(row.coverage_plots):
        held.insert(0, f"{percent(row.coverage_plots)} of the measurements, whose own error is counted,")
        plots = _too(row.coverage_plots, _range(matched))
    if not held:
        return "", True
    says = f"Its 90 % intervals hold {' and '.join(held)}: "
    if not plots and not physics:
        return says + "they mean what they say.", True
    if len(held) == 1 or plots == physics:
        return says + f"they are {plots or physics}.", False
    if not physics:
        return says + f"right for the physics, but {plots} for these plots.", False
    if not plots:
        return says + f"{physics} for the physics, though these plots do not show it.", False
    return says + f"{physics} for the physics and {plots} for these plots.", False


def _too(share: float, interval: tuple[float, float]) -> str:
    """What is wrong with a coverage of 90 % intervals; "" if nothing can be said against it."""
    low, high = interval
    if abs(share - LEVEL) <= NEAR + 1e-9 or low <= LEVEL <= high:
        return ""
    return "too narrow" if share < LEVEL else "too wide"


def _range(rows: pd.DataFrame) -> tuple[float, float]:
    """95 % interval, over plots, of the share of measurements inside their 90 % interval; unbounded for a
    single plot."""
    summary = {name: rows[name].to_numpy(float) for name in STATISTICS if name in rows}
    law = Predictive.of(summary, np.nan_to_num(rows["error"].to_numpy(float)))
    inside = law.inside(rows["value"].to_numpy(float), LEVEL)
    keep = np.isfinite(inside)
    if not keep.any():
        return -math.inf, math.inf
    found = bootstrap(
        {"in": inside[keep], "n": np.ones(int(keep.sum()))},
        codes(rows["plot_id"][keep]),
        {"share": lambda sums: sums["in"] / sums["n"]},
        seed=0,
    )["share"]
    known = math.isfinite(found.low)
    return (found.low, found.high) if known else (-math.inf, math.inf)


def _warnings(tables: Tables, rows: Sequence[Judged], variable: str) -> list[str]:
    """What must not be overlooked, the gravest first."""
    said = [*_about_plots(tables), *_about_maps(rows)]
    failed = [name for name, good in tables.summaries.items() if not good]
    if failed:
        said.append(
            f"Learned summaries of {_listed(failed)} failed their check: its maps are drawn, more slowly."
        )
    off = [row for row in rows if math.isfinite(row.coverage_simulations) and row.best]
    off = [row for row in off if abs(row.coverage_simulations - LEVEL) > NEAR]
    said += [
        f"90 % intervals of {row.model} hold {percent(row.coverage_simulations)} of held-back simulations, "
        "where its own physics is the truth: train it longer before anything else."
        for row in off
    ]
    aside = {row["item"] for row in tables.scenes or () if row["problem"]}
    if aside:
        count = len({row["item"] for row in tables.scenes or ()})
        said.append(f"{len(aside)} of {count} scenes could not be read and are missing from all maps.")
    return said


def _about_plots(tables: Tables) -> list[str]:
    if tables.scenes is None:
        return ["A campaign of simulations: nothing here was held against real ground."]
    if not tables.matchups:
        return [
            "NO FIELD PLOTS: how good the maps are on real ground, nobody has measured here. Simulations "
            "show that the inference is right, not that the world is like the physics."
        ]
    status = pd.concat([table["status"] for table in tables.matchups.values()])
    if (status == OK).any():
        return []
    most = max(len(table) for table in tables.matchups.values())
    reasons = status[status != NOT_ESTIMATED].value_counts()
    why = (
        f"; most often: {reasons.index[0]}" if len(reasons) else ", for no model estimates what they measured"
    )
    return [
        f"NO FIELD PLOT FOUND A PIXEL: none of {most} measurements could be compared{why}. Check places and "
        "dates of the plots, and evaluation.max_days."
    ]


def _about_maps(rows: Sequence[Judged]) -> list[str]:
    said = []
    for row in rows:
        if row.mapped and math.isnan(row.flagged):
            said.append(f"The maps of {row.model} have no clear pixel.")
        elif row.misfit > MISFIT_MANY:
            said.append(
                f"{percent(row.misfit)} of the clear pixels of {row.model} are flagged `misfit`: their "
                "posterior does not reproduce the spectrum. Do not read those pixels."
            )
        elif row.flagged > FLAGGED_MANY:
            said.append(
                f"{percent(row.flagged)} of the clear pixels of {row.model} are flagged: their spectra are "
                "unlike what the model has learned."
            )
    return said


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _symbol(variable: str) -> str:
    return MEASURANDS[variable].symbol if variable in MEASURANDS else variable


def percent(share: float) -> str:
    """A share in per cent."""
    return f"{100 * share:.0f} %"


def number(value: float, digits: int = 3) -> str:
    """A number with as many significant digits; a dash if there is none."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


COLUMNS: dict[str, str] = {
    "model": "model",
    "c2st": "C2ST",
    "efficiency": "ESS/K",
    "coverage_simulations": "90 % holds, simulations",
    "coverage_plots": "90 % holds, plots",
    "crps_simulations": "CRPS, simulations",
    "crps_plots": "CRPS, plots",
    "test": "against the best",
    "seconds": "s / Mpx",
}
"""Columns of the verdict's table, with their headings."""

LEGEND = (
    "C2ST: how often a classifier tells the model from the true posterior of the physics; 0.5 is best. "
    "ESS/K: share of draws that count after importance weighting; 1 is best. 90 % holds: share of the truth "
    "inside 90 % intervals; 0.90 is right; on plots the error of the labels is counted. CRPS: distance of "
    "the posterior from the truth, in the unit of the variable; smaller is better. Against the best: "
    "difference of CRPS at the plots with its 95 % interval, and the p-value of no difference, paired over "
    "plots and corrected for the number of models (Holm). s / Mpx: seconds for a million pixels on one core."
)

_OF_SEASONS = (
    "On simulations models of seasons and of single dates do not compare: the simulations of a model of "
    "seasons are seasons of its own prior."
)

_SHORT = {
    "coverage_simulations": "90 % sim.",
    "coverage_plots": "90 % plots",
    "crps_simulations": "CRPS sim.",
    "crps_plots": "CRPS plots",
}
"""Headings for a terminal, which is narrow."""


def notes(verdict: Verdict) -> list[str]:
    """What has to stand beside a table in which models are side by side that do not compare."""
    several = len(verdict.rows) > 1
    return [_OF_SEASONS] if several and any(row.seasons for row in verdict.rows) else []


def cells(row: Judged) -> dict[str, str]:
    """The text of each column of :data:`COLUMNS`."""
    shares = ("c2st", "efficiency", "coverage_simulations", "coverage_plots")
    text = {name: "–" if math.isnan(v := getattr(row, name)) else f"{v:.2f}" for name in shares}
    text |= {name: number(getattr(row, name)) for name in ("crps_simulations", "crps_plots", "seconds")}
    test = row.difference
    if row.best:
        told = "best"
    elif not row.ranked:
        told = "not ranked"
    elif test is None or math.isnan(test.p):
        told = "–"
    else:
        told = f"{test.value:+.2g} ({test.low:+.2g} to {test.high:+.2g}), p {_p(test.p)}"
    text |= {"model": row.model, "test": told}
    return {name: text[name] for name in COLUMNS}


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def as_text(verdict: Verdict) -> str:
    """Table, sentence and warnings for a terminal."""
    lines = [[*(COLUMNS | _SHORT).values()], *([*cells(row).values()] for row in verdict.rows)]
    test = list(COLUMNS).index("test")
    lines = [[("* " if line[test] == "best" else "  ") + line[0], *line[1:]] for line in lines]
    shown = [i for i in range(len(COLUMNS)) if i == 0 or any(line[i] != "–" for line in lines[1:])]
    widths = {i: max(len(line[i]) for line in lines) for i in shown}
    table = [
        "  ".join(f"{line[i]:{'<' if i in (0, test) else '>'}{widths[i]}}" for i in shown).rstrip()
        for line in lines
    ]
    head = f"Verdict on {_symbol(verdict.variable)}"
    told = [verdict.sentence, *notes(verdict), *(f"!! {text}" for text in verdict.warnings)]
    told = [fill(text, 100) for text in told]
    return "\n".join([head, table[0], "-" * len(table[0]), *table[1:], "", *told])


def as_rst(verdict: Verdict) -> str:
    """The same as reStructuredText, for the report."""
    lines = [f"**{_plain(verdict.sentence)}**", ""]
    for text in verdict.warnings:
        lines += [f".. warning:: {_plain(text)}", ""]
    shown = [name for name in COLUMNS if name == "model" or any(cells(r)[name] != "–" for r in verdict.rows)]
    lines += [f".. list-table:: {_symbol(verdict.variable)}", "   :header-rows: 1", "   :widths: auto", ""]
    for line in [COLUMNS, *map(cells, verdict.rows)]:
        lines += [f"   {'*' if i == 0 else ' '} - {_plain(line[name])}" for i, name in enumerate(shown)]
    return "\n".join([*lines, "", _plain(" ".join([LEGEND, *notes(verdict)])), ""])


def _plain(text: str) -> str:
    """Text without what reStructuredText takes for markup."""
    return "".join("\\" + c if c in "\\*`|_" else c for c in text)
