"""A model of the package with what is known of it: bundle, ``record.json`` and a model card.

The record holds what made the model and how it scores, on simulations and on sets of labelled pixels; the
card is rendered from it, so that no figure is typed by hand.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from canopyflow.atomic import atomic_file, atomic_folder, write_json
from canopyflow.errors import DataError
from canopyflow.shipped import MODEL, digest

RECORD, CARD = "record.json", "card.md"
BUNDLE = ("weights.safetensors", MODEL, "history.jsonl")

KEPT = (
    "n", "rmse", "bias", "crps", "crps_label", "coverage50", "coverage80", "coverage90", "coverage95",
    "coverage50_label", "coverage80_label", "coverage90_label", "coverage95_label",
    "width90", "width90_label", "flagged", "flagged_ratio",
)  # fmt: skip
"""Scores that a record keeps."""


def ship(
    bundle: Path,
    scores: Mapping[str, Any],
    made_by: Mapping[str, Any],
    rehearsal: Mapping[str, Any],
    out: Path,
) -> None:
    """Put a trained model into the folder ``out``, with its scores and card.

    ``scores``: of :func:`canopyflow.evaluation.evaluate.evaluate`; ``made_by``: of
    :func:`canopyflow.campaigns.shipping.made_by`; ``rehearsal``: its training in small, of
    :func:`canopyflow.campaigns.rehearsal.rehearse`. Scores on sets that were recorded for this very model
    stay.
    """
    description = json.loads((bundle / MODEL).read_text())
    known = read_record(out)["sets"] if (out / RECORD).is_file() else {}
    model = digest(bundle)
    record = {
        "made_by": dict(made_by),
        "rehearsal": dict(rehearsal),
        "simulations": {
            variable: _kept(metrics) for variable, metrics in scores["scores"]["simulations"].items()
        },
        "against": scores["against"],
        "sets": {name: each for name, each in known.items() if each["model_sha256"] == model},
    }
    with atomic_folder(out) as scratch:
        for name in BUNDLE:
            shutil.copyfile(bundle / name, scratch / name)
        write_json(scratch / RECORD, record)
        (scratch / CARD).write_text(card(description, record))


def read_record(folder: Path) -> dict[str, Any]:
    """``record.json`` of a shipped model. Raises DataError if there is none."""
    path = folder / RECORD
    if not path.is_file():
        raise DataError(f"{folder} holds no {RECORD}", "ship the model by the rule `ship`")
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def add_set(folder: Path, name: str, scores: Path) -> None:
    """Record how the shipped model in ``folder`` scores on the set ``name``, and render its card anew.

    ``scores``: JSON that ``canopyflow score --out`` wrote, where this model is among those scored. Raises
    DataError if it is not.
    """
    record, description = read_record(folder), json.loads((folder / MODEL).read_text())
    try:
        found = json.loads(scores.read_text())
        models = found["scores"]
        mine = models[folder.name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{scores} holds no scores of {folder.name}",
            f"write it by canopyflow score TABLE --model {folder.name} --out {scores.name}",
        ) from error
    record["sets"][name] = {
        "model_sha256": digest(folder),
        "groups": found["groups"],
        "scores": {
            variable: _kept({metric: interval["value"] for metric, interval in metrics.items()})
            for variable, metrics in mine.items()
        },
    }
    write_json(folder / RECORD, record)
    with atomic_file(folder / CARD) as scratch:
        scratch.write_text(card(description, record))


def _kept(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What a record keeps of scores, to four digits: more of them mean nothing."""
    return {
        name: None if metrics[name] is None else float(f"{metrics[name]:.4g}")
        for name in KEPT
        if name in metrics
    }


def card(description: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """The model card, of ``model.json`` and ``record.json``."""
    made, family = record["made_by"], description["family"]
    simulations = made["settings"]["simulations"]
    sun, view = simulations["sun_zenith"], simulations["view_zenith"]
    ingredients = description["generative"]["options"].get("ingredients", {})
    off = [name for name, wanted in ingredients.items() if not wanted]
    variables = "".join(
        f"| {v['name']} | {v['unit']} | {v['lower']:g} | {v['upper']:g} |\n" for v in description["variables"]
    )
    return f"""# The model of the campaign `{made["campaign"]}`

Rendered from `model.json` and `record.json` beside it.

## What it is

The posterior of leaf and canopy variables given one Sentinel-2 Level-2A surface reflectance
spectrum and its geometry: family `{family["name"]}` over all variables of the law, encoder
`{description["encoder"]["name"]}`, and a network that says mean, standard deviation and quantiles at once.

- Bands: {", ".join(description["bands"])}
- Platforms: {", ".join(description["platforms"])}
- Sun zenith {sun[0]:g} to {sun[1]:g} degrees, view zenith {view[0]:g} to {view[1]:g}, any azimuth
- Intended use: crops and grass, and with more caution shrubs and forests, from pixels that clouds,
  their shadows, snow and water do not touch; as a table (`canopyflow predict`) or as maps.
- Not for: water, snow, built-up ground, top-of-atmosphere reflectance, other sensors. Flags find
  water, snow, clouds, glint and most roofs; what looks like a soil, as clay tiles and bitumen do,
  no flag finds (docs/how_it_works.md).

## What it learned from

{simulations["train"]:,} simulated spectra, and nothing else: no field measurement, no image. The law of
the simulations is `{description["generative"]["name"]}`{_without(off)}, see docs/physics.md.
Recorded campaign: `config/campaigns/{made["campaign"]}.yaml`.

| variable | unit | least | most |
| --- | --- | --- | --- |
{variables}
`lai` is the area of all leaves and stems, `gai` of their green part; an instrument measures one or
the other.

## How it scores

Where the truth is known, on held-back simulations of the law:

{_table(record["simulations"], "")}
{_reference(record["against"])}
{_sets(record["sets"])}
## Limits

- An interval is right on average over what the law holds. On one field, crop or instrument it can be
  too narrow or off to one side: compare bias and coverage of the set that is nearest to yours.
- What no set above measured is known from simulations alone.
- Each pixel and date is judged by itself. Errors of neighbours in time and space are alike: they do
  not average out.
"""


def _without(off: list[str]) -> str:
    return f" without {', '.join(off)}" if off else ""


_COLUMNS = {
    "n": "n", "rmse": "RMSE", "bias": "bias", "crps": "CRPS", "coverage50": "50 %", "coverage80": "80 %",
    "coverage90": "90 %", "coverage95": "95 %", "width90": "width of 90 %",
}  # fmt: skip
_WITH_LABEL = ("crps", "coverage50", "coverage80", "coverage90", "coverage95", "width90")


def _table(scores: Mapping[str, Mapping[str, float | None]], ending: str) -> str:
    """Rows of variables. ``ending``: "_label" for scores that count the error of the labels."""
    heads = ("variable", *_COLUMNS.values())
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for variable, metrics in scores.items():
        names = (f"{name}{ending}" if name in _WITH_LABEL else name for name in _COLUMNS)
        lines.append(f"| {variable} | {' | '.join(_number(metrics.get(name)) for name in names)} |")
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _reference(against: Mapping[str, Mapping[str, float | None]]) -> str:
    found = against.get("simulated", {})
    if found.get("c2st") is None:
        return ""
    return (
        f"A classifier tells its draws from those of long Markov chains with an accuracy of\n"
        f"{_number(found['c2st'])} ({_number(found.get('pixels'))} pixels; 0.5 is best).\n"
    )


def _sets(sets: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(_set(name, each) for name, each in sets.items()) or (
        "On field measurements: not recorded for this model.\n"
    )


def _set(name: str, found: Mapping[str, Any]) -> str:
    return (
        f"On field measurements, **{name}** ({found['groups']} groups), the error of the labels counted:\n\n"
        f"{_table(found['scores'], '_label')}\n{''.join(_flagged(found['scores']))}"
    )


def _flagged(scores: Mapping[str, Mapping[str, float | None]]) -> Iterator[str]:
    for variable, metrics in scores.items():
        share = metrics.get("flagged")
        if share is not None:
            ratio = _number(metrics.get("flagged_ratio"))
            yield f"- Flags doubt {100 * share:.1f} % of the rows of {variable}; these err\n"
            yield f"  {ratio} times as much as the others (mean absolute error).\n"
