"""The demo campaign as the README runs it: the truth is known, so its intervals can be held to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio

from canopyflow.archive.grid import Grid
from canopyflow.inference.parcels.footprints import footprint_of, projected

TOP = Path(__file__).resolve().parents[2]


def snakemake(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=TOP,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


@pytest.mark.slow
def test_intervals_hold_what_they_promise_where_the_truth_is_known():
    snakemake("--cores", "2")  # nothing is to be done if the demo has been run
    assert "Nothing to be done" in snakemake("-n")
    table = (
        pd.read_csv(TOP / "results/demo/comparison/table.csv")
        .set_index(["source", "variable", "model"])
        .sort_index()
    )
    maps = table.loc[("maps", "lai")]
    assert (maps["n"] > 200_000).all()
    assert maps["coverage90"].between(0.87, 0.95).all(), maps["coverage90"]
    assert (maps["rmse"] <= maps["rmse_constant"] / 2).all(), maps[["rmse", "rmse_constant"]]
    simulated = table.loc["simulations"]
    assert simulated.loc[("lai", "nsf"), "coverage90"] == pytest.approx(0.9, abs=0.02)
    # What independence costs: the variables trade off, and an interval of their product has to be wider.
    assert simulated.loc[("ccc", "nsf"), "width90"] < simulated.loc[("ccc", "truncated_normal"), "width90"]


@pytest.mark.slow
def test_the_interval_of_a_parcel_holds_the_true_mean_as_often_as_it_says():
    """One landscape, whose parcels are seen many times: benchmarks/parcel_intervals.py has more of them."""
    snakemake("--cores", "2")
    table = gpd.read_parquet(TOP / "results/demo/parcels/nsf.parquet")
    table = table[(table["variable"] == "lai") & (table["clear_share"] >= 0.5) & (table["edge_share"] == 0)]
    truth = np.full(len(table), np.nan)
    for item, rows in table.reset_index().groupby("item"):
        with rasterio.open(TOP / f"demo-archive/truth/{item}/lai.tif") as source:
            known, bounds, epsg = source.read(1), source.bounds, source.crs.to_epsg()
        grid = Grid(epsg, tuple(bounds), 10.0)
        for row, outline in zip(rows.index, rows["geometry"], strict=True):
            shape = footprint_of(projected(outline, grid), grid)
            if shape.weights.sum() > 0.95 * shape.area:
                truth[row] = np.average(known[shape.rows, shape.columns], weights=shape.weights)
    there = np.isfinite(truth)
    assert there.sum() > 800
    held, width = {}, {}
    for way in ("", "averaged_", "independent_"):
        low, high = (table[f"{way}{name}"].to_numpy() for name in ("q05", "q95"))
        held[way] = ((low <= truth) & (truth <= high))[there].mean()
        width[way] = (high - low)[there].mean()
    assert 0.86 <= held[""] <= 0.94, held
    assert held["independent_"] < 0.4 and held["averaged_"] > held[""] + 0.01, held
    assert width[""] < 0.92 * width["averaged_"], width
