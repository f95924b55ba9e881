"""Does the wake step help: labelled pixels scored as they are, and without the discrepancy that it finds.

    OMP_NUM_THREADS=1 python benchmarks/wake.py --model FOLDER --table pixels.csv --measured gai=lai

The factors are learned from the spectra of the table alone, never from its labels. Two controls: factors from
simulations of the model's own law, which are one if the posterior is right; and, of a larger table, factors
from each half of it, which agree if they are a property of the set and not of its rows.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from canopyflow.evaluation.against.tables import SetOptions, measured_pair, score_table
from canopyflow.inference.tables import TableOptions
from canopyflow.models import load
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.estimators.refined import Refined
from canopyflow.models.runtime import generator, one_thread
from canopyflow.models.simulate import Survey, draw
from canopyflow.observations.observation import Observation, pixels
from canopyflow.training.wake import wake
from canopyflow.vocabulary import ANGLES

SHOWN = (
    "n", "rmse", "bias", "crps", "crps_label", "coverage90", "coverage90_label", "width90_label", "flagged",
)  # fmt: skip
CONTROL = 500


def observed(table: pd.DataFrame, model: Amortised, platform: str) -> Observation:
    """Spectra of the table's rows."""
    reflectance, angles = (
        torch.from_numpy(table[list(names)].to_numpy(np.float32)) for names in (model.bands, ANGLES)
    )
    return pixels(reflectance, angles, platform, model.bands)


def told(name: str, factor: Tensor) -> None:
    print(f"{name:28s}", " ".join(f"{value:+.3f}" for value in factor.tolist()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--measured", required=True, help="VARIABLE=COLUMN")
    parser.add_argument("--platform", default="S2A", help="of all rows")
    parser.add_argument("--group", help="column of rows that belong together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--proposals", type=int, default=400, help="0: draws are not refined")
    parser.add_argument("--draws", type=int, default=8)
    given = parser.parse_args()
    model, table = load(given.model), pd.read_csv(given.table)
    assert isinstance(model, Amortised)
    posterior = Refined(model, given.proposals, 1.0) if given.proposals else model
    options = SetOptions(
        group=given.group, platform=given.platform, prediction=TableOptions(samples=500, summaries="drawn")
    )
    with one_thread():
        print(f"{'log factor':28s}", " ".join(f"{band:>6s}" for band in model.bands))
        seen = observed(table, model, given.platform)
        clean = draw(model.generative, Survey(), CONTROL, 1, lambda batches, _: batches)
        own = model.generative.observe(clean, generator("control", 0))
        told("of simulations of the law", wake(posterior, own, rounds=given.rounds, draws=given.draws))
        factor = wake(posterior, seen, rounds=given.rounds, draws=given.draws)
        told("of the table", factor)
        if len(table) >= 2 * 20 * len(model.bands):
            for number in range(2):
                half = seen.rows(torch.arange(number, len(seen), 2))
                told(
                    f"of its half {number + 1}", wake(posterior, half, rounds=given.rounds, draws=given.draws)
                )
        corrected = table.copy()
        corrected[list(model.bands)] *= np.exp(-factor.numpy())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pixels.csv"
            for name, rows in (("as it is", table), ("after the wake step", corrected)):
                rows.to_csv(path, index=False)
                measured = dict([measured_pair(given.measured)])
                scores = score_table(path, [given.model], measured, options).scores
                for variable, metrics in next(iter(scores.values())).items():
                    line = ", ".join(
                        f"{metric} {metrics[metric].value:.3g} "
                        f"[{metrics[metric].low:.3g}, {metrics[metric].high:.3g}]"
                        for metric in SHOWN
                    )
                    print(f"{name}, {variable}: {line}", flush=True)


if __name__ == "__main__":
    main()
