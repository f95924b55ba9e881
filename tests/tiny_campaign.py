"""The results of a campaign of a few pixels, written in a second: tables, products, matchups, parcels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from synthetic_product import EPSG, NORTH, PIXEL, WEST, write_product

from canopyflow.evaluation.pages.comparison import METRICS
from canopyflow.evaluation.pages.page import Inputs
from canopyflow.evaluation.pages.verdict import read_tables
from canopyflow.inference.stored import open_product

MODELS = ("good", "wide", "prior")
"""A good posterior, one that is too wide, and a baseline without maps that knows nothing."""

SPREAD = {"good": 0.5, "wide": 2.5, "prior": 2.0}
DAYS = ("2021-05-04T10:30", "2021-05-09T10:30", "2021-05-24T10:30")
SHAPE = (12, 16)
ASKED = {
    "name": "tiny",
    "what": "Leaf and canopy variables from Sentinel-2, 2021-05-01 to 2021-05-31",
    "facts": [["area", "a field"], ["models", "good, wide, <prior>"]],
    "kinds": {
        "good": "posterior family nsf",
        "wide": "posterior family maf",
        "prior": "baseline climatology",
    },
    "years": "2021",
    "synthetic": False,
}


def write_campaign(results: Path, plots: int = 8, status: str = "ok") -> Path:
    """A finished campaign; ``plots`` plots with three measurements each, all with this status."""
    for folder in ("benchmarks", "comparison", "matchups", "evaluation", "runs/2021", "models"):
        (results / folder).mkdir(parents=True, exist_ok=True)
    _products(results)
    _tables(results, plots if status == "ok" else 0)
    if plots:
        for number, model in enumerate(MODELS):
            _matchups(model, number, plots, status).to_parquet(results / f"matchups/{model}.parquet")
    run = {
        "id": "2021",
        "command": ["snakemake", "--cores", "1"],
        "commit": "c0ffee",
        "versions": {"python": "3"},
    }
    (results / "runs/2021/run.json").write_text(json.dumps(run))
    return results


def inputs(results: Path, **changes: Any) -> Inputs:
    """What a page of it is made of."""
    return replace(
        Inputs(
            read_tables(results),
            ASKED,
            {model: results / f"evaluation/{model}/scores.json" for model in MODELS},
            {model: [results / f"products/{model}/32TMT/2021-05.zarr"] for model in MODELS[:2]},
            run=json.loads((results / "runs/2021/run.json").read_text()),
        ),
        **changes,
    )


def write_parcels(results: Path) -> Path:
    """A table of parcels as ``extract`` writes it, without geometry."""
    rows = [
        {
            "parcel": parcel, "time": pd.Timestamp(day), "tile": "32TMT", "item": f"i{day}",
            "variable": "lai", "mean": 2.0, "std": 0.2,
            "q05": 1.7, "q25": 1.9, "q50": 2.0, "q75": 2.1, "q95": 2.3,
            "pixels": 5, "clear_share": 1.0, "flags": 0, "flagged_share": 0.0,
        }
        for parcel in ("north", "south") for day in DAYS
    ]  # fmt: skip
    (results / "parcels").mkdir(exist_ok=True)
    pd.DataFrame(rows).to_parquet(results / "parcels/good.parquet")
    return results / "parcels/good.parquet"


def _products(results: Path) -> None:
    t, y, x = np.mgrid[: len(DAYS), : SHAPE[0], : SHAPE[1]]
    for model in MODELS[:2]:
        store = write_product(
            results / f"products/{model}/32TMT/2021-05.zarr",
            list(DAYS),
            mean=1 + t + 0.1 * y + 0.01 * x,
            masked=(t == 1) & (x < 4),
            shape=SHAPE,
        )
        flags = open_product(store)["flags"].values
        flags[0, 0, 8] = 128 if model == "good" else 2
        import zarr

        zarr.open_group(store, mode="r+", use_consolidated=False)["flags"][:] = flags


def _tables(results: Path, plots: int) -> None:
    rows = []
    for model in MODELS:
        common = {"variable": "lai", "model": model, "rmse": SPREAD[model], "rmse_constant": 2.0, "bias": 0.0}
        held = {"good": 0.9, "wide": 0.97, "prior": 0.9}[model]
        crps = SPREAD[model] / 4
        for source, n in (("simulations", 300), ("plots", 3 * plots)):
            label = {"crps_label": crps, "coverage90_label": held} if source == "plots" else {}
            if n:
                rows.append({"source": source, "n": n, "crps": crps, "coverage90": held, **common, **label})
        folder = results / f"evaluation/{model}"
        folder.mkdir(parents=True, exist_ok=True)
        levels = {f"{k / 10:g}": min(1.0, k / 10 + held - 0.9) for k in range(1, 10)}
        scores = {
            "model": model,
            "bundle_sha256": model[0] * 64,
            "calibration": {"n": 300, "coverage": {"lai": levels}, "ranks": {"lai": [15] * 20}},
            "scores": {
                "simulations": {},
                "maps": {},
                "plots": {"lai": {"coverage90_label": held}} if plots else {},
            },
        }
        (folder / "scores.json").write_text(json.dumps(scores))
    table = pd.DataFrame(rows).reindex(columns=["source", "variable", "model", *METRICS])
    table.to_csv(results / "comparison/table.csv", index=False)
    models = pd.DataFrame(
        {
            "model": MODELS,
            "c2st": [0.55, 0.8, np.nan],
            "efficiency": [0.5, 0.02, np.nan],
            "seconds_per_million": [300.0, 90.0, 9.0],
            "seconds_per_million_learned": [6.0, 3.0, np.nan],
        }
    )
    models.to_csv(results / "benchmarks/models.csv", index=False)
    scenes = [
        {
            "tile": "32TMT", "month": "2021-05", "item": f"S2A_{day[:10]}", "platform": "S2A",
            "date": day[:10], "cloud_share": 0.1, "shadow_share": 0.05, "valid_share": 0.8, "offset": 0,
            "problem": "", "evidence": "",
        }
        for day in DAYS
    ]  # fmt: skip
    pd.DataFrame(scenes).to_csv(results / "comparison/scenes.csv", index=False)


def _matchups(model: str, number: int, plots: int, status: str) -> pd.DataFrame:
    """Three measurements on each plot; each posterior errs by a tenth of its spread, in its own way."""
    from pyproj import Transformer

    g = np.random.default_rng(number)
    plot = np.repeat(np.arange(plots), 3)
    east = WEST + PIXEL * (plot % SHAPE[1] + 0.5)
    north = NORTH - PIXEL * (plot % SHAPE[0] + 0.5)
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(east, north)
    value = 1.0 + plot / 4 + np.tile([0.0, 1.0, 2.0], plots)
    spread = SPREAD[model]
    mean = value + 0.1 * spread * g.normal(size=len(value))
    known = status == "ok"
    out = pd.DataFrame(
        {
            "plot_id": [f"plot {k}" for k in plot],
            "date": pd.to_datetime(np.tile([day[:10] for day in DAYS], plots)),
            "lon": lon, "lat": lat, "variable": "lai", "measurand": "LAI", "value": value, "error": 0.2,
            "model": model, "tile": "32TMT", "status": status, "flags": 0,
        }
    )  # fmt: skip
    normal = {"mean": 0, "q05": -1.645, "q25": -0.674, "q50": 0, "q75": 0.674, "q95": 1.645}
    return out.assign(
        std=spread if known else np.nan,
        **{name: mean + z * spread if known else np.nan for name, z in normal.items()},
    )
