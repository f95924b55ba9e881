"""The page of a campaign: one file that opens anywhere, without a network.

What was asked, the verdict, maps, trajectories, calibration, scenes, provenance and licences. The same inputs
give the same bytes: nothing of the moment is in it but what the record of the run says.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from canopyflow.atomic import atomic_file
from canopyflow.errors import DataError
from canopyflow.evaluation.against.plots import OK
from canopyflow.evaluation.measurands import MEASURANDS, label
from canopyflow.evaluation.pages import maps_data, series, templates
from canopyflow.evaluation.pages.scenes import Row, told
from canopyflow.evaluation.pages.verdict import COLUMNS, LEGEND, Tables, Verdict, as_rst, cells, judge, notes
from canopyflow.evaluation.shown import DOUBTFUL
from canopyflow.vocabulary import FLAGS

MOST_BYTES = 15_000_000
"""Of the whole page."""

SCENES, MATCHED = 400, 1200
"""Rows of scenes, and points of a scatter, that a page shows at most."""

COPERNICUS = "Contains modified Copernicus Sentinel data {years}, processed by ESA and by canopyflow."
"""What the legal notice on the use of Copernicus Sentinel Data asks for, of products that were made from
them: https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice."""


@dataclass(frozen=True)
class Inputs:
    """What a page is made of.

    Attributes:
        tables: of :func:`canopyflow.evaluation.pages.verdict.read_tables`, without ``flags``.
        asked: plain values: ``name``, ``what`` (one line), ``facts`` ([[name, text], ...]), ``kinds`` (text
            by model), ``years`` (text; "" where no scenes of Sentinel-2 were read) and ``synthetic`` (whether
            they come from a made-up archive).
        scores: ``evaluation/{model}/scores.json`` of each model.
        products: product stores of each model that is mapped.
        truth: folder of reference maps, if there are any.
        parcels: tables of parcels (Parquet), one per model.
        run: the record of the run that makes the page, if there is one.
    """

    tables: Tables
    asked: Mapping[str, Any]
    scores: Mapping[str, Path]
    products: maps_data.Products = field(default_factory=dict)
    truth: Path | None = None
    parcels: Sequence[Path] = ()
    run: Mapping[str, Any] = field(default_factory=dict)


def write_page(inputs: Inputs, page: Path, flags: Path, verdict: Path, told: Path) -> Verdict:
    """Write the page, and the tables that others show of it.

    Args:
        inputs: what there is.
        page: HTML.
        flags: CSV, pixels by flag of each model's tile-months; only its head where nothing is mapped.
        verdict: CSV, the verdict's table.
        told: reStructuredText, the verdict for the report.
    """
    counts, acquisitions = maps_data.survey(inputs.products)
    tables = Tables(**{**inputs.tables.__dict__, "flags": counts if len(counts) else None})
    found = judge(tables)
    content = render(inputs, tables, found, acquisitions)
    with atomic_file(flags) as scratch:
        counts.to_csv(scratch, index=False)
    with atomic_file(verdict) as scratch:
        pd.DataFrame([cells(row) for row in found.rows], columns=list(COLUMNS)).to_csv(scratch, index=False)
    with atomic_file(told) as scratch:
        scratch.write_text(as_rst(found), encoding="utf-8")
    with atomic_file(page) as scratch:
        scratch.write_text(content, encoding="utf-8")
    return found


def render(
    inputs: Inputs, tables: Tables, verdict: Verdict, acquisitions: Sequence[maps_data.Acquisition]
) -> str:
    """The page as text. Raises DataError if it is larger than :data:`MOST_BYTES`."""
    models = [row.model for row in verdict.rows]
    measured = series.plots_to_show(tables.matchups)
    shown = {name: inputs.products[name] for name in models if name in inputs.products}
    shown = dict(list(shown.items())[: maps_data.MODELS])
    plots = series.told(series.plot_series(measured, shown, DOUBTFUL), measured) if len(measured) else None
    parcels = series.told(series.parcel_series(inputs.parcels, DOUBTFUL))
    maps = maps_data.map_layers(acquisitions, list(shown), inputs.truth) if shown else None
    matchups = _matchups(tables.matchups, models)
    scores = {name: json.loads(path.read_text()) for name, path in inputs.scores.items()}
    data = {
        "models": models,
        "variable": verdict.variable,
        "labels": {name: label(name) for name in MEASURANDS},
        "calibration": _calibration(scores, models),
        "matchups": matchups,
        "maps": maps,
        "plots": plots,
        "parcels": parcels,
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {
        "separators": (",", ":"),
        "ensure_ascii": False,
        # No browser reads NaN: the whole page would stay empty.
        "allow_nan": False,
    }
    content = environment.get_template("index.html.j2").render(
        asked=inputs.asked,
        sources={name: _source(name) for name in ("page.css", "page.js", "charts.js", "maps.js")},
        verdict=_verdict(verdict),
        maps=maps,
        map_layers=_map_layers(maps) if maps else [],
        plots=plots,
        parcels=parcels,
        left_out={"plots": (plots or {}).get("left_out"), "parcels": (parcels or {}).get("left_out")},
        matchups=matchups,
        has_plots=bool(tables.matchups),
        statuses=_statuses(tables.matchups),
        scenes=_scenes(tables.scenes) if tables.scenes is not None else None,
        flags=_flags(tables.flags, models),
        provenance=_provenance(inputs, scores),
        licences=licences(inputs.asked),
        parts=_parts(maps, plots, parcels, tables.scenes),
        data=data,
    )
    size = len(content.encode("utf-8"))
    if size > MOST_BYTES:
        raise DataError(f"the page would be {size / 1e6:.1f} MB", "report this: its parts are bounded")
    return content


_FOLDER = Path(templates.__file__).parent


def _source(name: str) -> Any:
    """A style sheet or script of ours, which goes into the page as it is."""
    import markupsafe

    return markupsafe.Markup((_FOLDER / name).read_text(encoding="utf-8"))


def _parts(maps: Any, plots: Any, parcels: Any, scenes: Any) -> list[tuple[str, str]]:
    every = [
        ("asked", "Asked", True),
        ("verdict", "Verdict", True),
        ("maps", "Maps", maps),
        ("plots", "Plots", plots),
        ("parcels", "Parcels", parcels),
        ("calibration", "Calibration", True),
        ("scenes", "Scenes", scenes is not None),
        ("provenance", "Provenance", True),
        ("licences", "Licences", True),
    ]
    return [(anchor, title) for anchor, title, there in every if there]


def _map_layers(maps: Mapping[str, Any]) -> list[tuple[str, str]]:
    centre, width = maps["words"]
    truth = [("truth", "truth")] if maps["truth"] else []
    return [("mean", centre), ("width", width), ("flags", "flags"), *truth]


def _verdict(verdict: Verdict) -> dict[str, Any]:
    texts = [cells(row) for row in verdict.rows]
    rows = [
        {"cells": text, "best": row.best, "tied": row.tied}
        for row, text in zip(verdict.rows, texts, strict=True)
    ]
    shown = [name for name in COLUMNS if name == "model" or any(text[name] != "–" for text in texts)]
    known = MEASURANDS.get(verdict.variable)
    return {
        "sentence": verdict.sentence,
        "level": verdict.level,
        "warnings": verdict.warnings,
        "of": f"{known.long_name}, {known.label}" if known else verdict.variable,
        "measurements": verdict.measurements,
        "plots": verdict.plots,
        "columns": [(name, COLUMNS[name]) for name in shown],
        "rows": rows,
        "legend": LEGEND,
        "notes": notes(verdict),
    }


def _calibration(scores: Mapping[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """By variable and model, [probability, share inside] of simulations and of plots."""
    out: dict[str, Any] = {}
    for model in models:
        result = scores.get(model)
        if result is None:
            continue
        for variable, shares in result["calibration"]["coverage"].items():
            if variable in MEASURANDS:
                line = sorted(
                    [float(level), round(share, 4)] for level, share in shares.items() if _known(share)
                )
                out.setdefault(variable, {}).setdefault(model, {})["simulations"] = line
        for variable, metrics in result["scores"]["plots"].items():
            points = [[level / 100, metrics.get(f"coverage{level}_label")] for level in (50, 80, 90, 95)]
            marks = [[level, round(share, 4)] for level, share in points if _known(share)]
            out.setdefault(variable, {}).setdefault(model, {})["plots"] = marks
    order = ["lai", "gai", "ccc", "fapar", *MEASURANDS, *sorted(out)]
    return {name: out[name] for name in sorted(out, key=order.index)}


def _known(share: float | None) -> bool:
    return share is not None and np.isfinite(share)


def _matchups(matchups: Mapping[str, pd.DataFrame], models: Sequence[str]) -> dict[str, Any]:
    """By variable and model, [value, error, q05, centre, q95, plot] of matched measurements."""
    out: dict[str, Any] = {}
    for model in models:
        table = matchups.get(model)
        if table is None:
            continue
        for variable, rows in table[table["status"] == OK].groupby("variable", sort=True):
            every = max(1, -(-len(rows) // MATCHED))
            some = rows.iloc[::every]
            centre = some["mean"].fillna(some["q50"])
            columns = [some["value"], some["error"], some["q05"], centre, some["q95"]]
            points = [
                [*map(_short, numbers), str(plot)]
                for *numbers, plot in zip(*columns, some["plot_id"], strict=True)
            ]
            out.setdefault(str(variable), {})[model] = points
    order = ["lai", "gai", "ccc", "fapar", *MEASURANDS, *sorted(out)]
    return {name: out[name] for name in sorted(out, key=order.index)}


def _short(value: Any) -> float | None:
    return float(f"{float(value):.4g}") if np.isfinite(float(value)) else None


def _statuses(matchups: Mapping[str, pd.DataFrame]) -> list[tuple[str, int]]:
    """What became of the measurements, by the model that matched most."""
    if not matchups:
        return []
    most = max(matchups.values(), key=lambda table: int((table["status"] == OK).sum()))
    counts = most["status"].value_counts()
    words = {OK: "matched"}
    return [(words.get(str(name), str(name)), int(n)) for name, n in sorted(counts.items(), key=_by_count)]


def _by_count(pair: tuple[Any, Any]) -> tuple[int, str]:
    return -int(pair[1]), str(pair[0])


def _scenes(rows: Sequence[Row]) -> dict[str, Any]:
    """Scenes for the table: those with a problem first, then those in doubt."""

    def share(row: Row, name: str) -> str:
        return f"{100 * float(row[name]):.1f}" if row.get(name) else "0.0"

    order = sorted(
        rows, key=lambda row: (not row["problem"], not row.get("evidence"), row["tile"], row["date"])
    )
    names = {"valid": "valid_share", "cloud": "cloud_share", "shadow": "shadow_share"}
    table = [
        {
            **{name: row.get(name, "") for name in ("tile", "date", "platform", "item", "problem")},
            "evidence": row.get("evidence", "").replace("_", " "),
            **{name: share(row, column) for name, column in names.items()},
        }
        for row in order[:SCENES]
    ]
    return {"told": list(told(rows)), "rows": table, "more": max(0, len(rows) - SCENES)}


def _flags(flags: pd.DataFrame | None, models: Sequence[str]) -> dict[str, Any] | None:
    """Shares of clear pixels with each flag."""
    if flags is None:
        return None
    names = [name for name in FLAGS if name != "masked" and flags[name].sum() > 0]
    rows = []
    for model in models:
        of = flags[flags["model"] == model]
        clear = int(of["clear"].sum())
        if len(of):
            shares = [f"{100 * int(of[name].sum()) / clear:.2f}" if clear else "–" for name in names]
            rows.append({"model": model, "pixels": f"{clear:,}", "shares": shares})
    return {"names": names, "rows": rows}


def _provenance(inputs: Inputs, scores: Mapping[str, Any]) -> dict[str, Any]:
    run = inputs.run
    facts = [
        ("run", run.get("id")),
        ("command", " ".join(run.get("command", ()))),
        ("commit", run.get("commit")),
        ("SHA-256 of the settings", run.get("config_sha256")),
        ("records", "runs/, ro-crate-metadata.json" if run else None),
    ]
    bundles = [
        {"model": name, "kind": inputs.asked["kinds"].get(name, ""), "digest": result["bundle_sha256"]}
        for name, result in scores.items()
    ]
    return {
        "facts": [(name, text) for name, text in facts if text],
        "bundles": bundles,
        "versions": sorted(run.get("versions", {}).items()),
    }


def licences(asked: Mapping[str, Any]) -> list[str]:
    """Under what the maps and the software may be used."""
    said = []
    if asked["years"] and asked["synthetic"]:
        said.append(
            "Scenes: synthetic, made by canopyflow; they contain no Copernicus Sentinel data. Maps of a real "
            f"archive have to carry: “{COPERNICUS.format(years=asked['years'])}”"
        )
    elif asked["years"]:
        said.append(
            f"Scenes and maps: {COPERNICUS.format(years=asked['years'])} Access and use are free, full and "
            "open (Commission Delegated Regulation (EU) No 1159/2013); say this wherever you show the maps."
        )
    said.append("Software: canopyflow, Apache License 2.0.")
    said.append(
        "Physics: PROSPECT and SAIL as published; absorption coefficients and soil spectra under MIT, "
        "response functions under Apache 2.0, sunlight under BSD-3-Clause (canopyflow/physics/DATA.md)."
    )
    return said
