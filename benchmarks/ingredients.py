"""What each ingredient of the field law is worth: models of laws without it, on labelled pixels.

    OMP_NUM_THREADS=1 python benchmarks/ingredients.py FOLDER --set geo=PIXELS.csv:gai=lai,fapar=fapar \
        --set swiss=SPECTRA.csv:gai=gai [--seeds 3] [--group swiss=plot]

FOLDER keeps bundles; what is there is not made again. A set is a table as for `canopyflow score`, with what
was measured in which column. Every model is `nsf`, trained alike on simulations of its law alone with bands
hidden, so that sets without a band are scored by the same model. Printed per law and variable: RMSE, CRPS and
coverage of 90 % intervals with label error, mean over seeds, and the spread of the CRPS between them; `atbd`
is the toolbox's law. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from canopyflow.evaluation.against.tables import SetOptions, score_table
from canopyflow.inference.tables import TableOptions
from canopyflow.models.estimators.amortised import ModelOptions
from canopyflow.models.simulate import Survey, simulate
from canopyflow.physics.field_law import Ingredients
from canopyflow.training.loop import plan, train
from canopyflow.vocabulary import BANDS, PLATFORMS

SWITCHES = tuple(field.name for field in fields(Ingredients))
LAWS = ("all", *(f"without {name}" for name in SWITCHES), "atbd")
TRAINED, EPOCHS, HELD_BACK = 40_000, 5, 4_000
SURVEY = Survey((10.0, 75.0), (0.0, 15.0))
TOLD = ("rmse", "crps_label", "coverage90_label")


def law_of(name: str) -> tuple[str, dict[str, Any]]:
    """Generative model and options of a law."""
    if name == "atbd":
        return "prosail", {"prior": "atbd"}
    left_out = name.removeprefix("without ")
    return "field", {"ingredients": {switch: switch != left_out for switch in SWITCHES}}


def bundle_of(folder: Path, law: str, seed: int) -> Path:
    """The trained model of a law, made unless it is there."""
    home = folder / law.replace(" ", "_") / f"seed{seed}"
    bundle = home / "bundle"
    if (bundle / "model.json").is_file():
        return bundle
    generative, options = law_of(law)
    stores = {}
    for place, (split, n) in enumerate((("train", TRAINED), ("validation", HELD_BACK))):
        stores[split] = home / f"{split}.zarr"
        simulate(
            stores[split], SURVEY, n=n, bands=BANDS, platforms=PLATFORMS, seed=2 * seed + place,
            generative=generative, options=options,
        )  # fmt: skip
    made = ModelOptions(
        family="nsf",
        bands=BANDS,
        platforms=PLATFORMS,
        encoder_options={"hidden": 0.2},
        generative=generative,
        generative_options=options,
    )
    phase = {"objective": "npe", "epochs": EPOCHS, "learning_rate": 2e-3}
    how = plan([phase], seed=seed)
    train(bundle, made, how, {"simulations": stores}, checkpoint=home / "checkpoint", device="cpu")
    return bundle


def scores_of(bundle: Path, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Scores of one model by set and variable, as ``set variable``."""
    out = {}
    groups = dict(pair.split("=", 1) for pair in args.group)
    for text in args.set:
        name, rest = text.split("=", 1)
        path, _, measured = rest.rpartition(":")
        options = SetOptions(
            own_errors=False,
            group=groups.get(name),
            platform=None if name in args.with_platform else "S2A",
            prediction=TableOptions(samples=500, summaries="drawn"),
        )
        columns = dict(pair.split("=") for pair in measured.split(","))
        (found,) = score_table(path, [bundle], columns, options).scores.values()
        for variable, metrics in found.items():
            out[f"{name} {variable}"] = {metric: float(metrics[metric].value) for metric in TOLD}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", action="append", required=True, help="NAME=TABLE:variable=column,...")
    parser.add_argument(
        "--group", action="append", default=[], help="NAME=COLUMN of rows that belong together"
    )
    parser.add_argument("--with-platform", action="append", default=[], help="set whose table has `platform`")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    result: dict[str, Any] = {}
    for law in LAWS:
        seeds = [scores_of(bundle_of(args.folder, law, seed), args) for seed in range(args.seeds)]
        result[law] = {}
        for what in seeds[0]:
            table = np.array([[scores[what][metric] for metric in TOLD] for scores in seeds])
            spread = float(table[:, 1].std(ddof=1)) if len(seeds) > 1 else 0.0
            mean = table.mean(0).round(3).tolist()
            result[law][what] = [*mean, round(spread, 3)]
            told = f"RMSE {mean[0]:.3f} CRPS {mean[1]:.3f} ± {spread:.3f} covers {mean[2]:.3f}"
            print(f"{law:24s} {what:14s} {told}", flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
