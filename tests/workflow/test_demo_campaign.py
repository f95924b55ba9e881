"""The demo campaign as the README runs it: the truth is known, so its intervals can be held to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

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
