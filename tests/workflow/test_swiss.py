"""The Swiss campaign, on its real scenes and field measurements, with few simulations."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
import yaml

TOP = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("CANOPYFLOW_REAL_DATA", TOP.parent / "shared/real")) / "swiss_wheat_2022"

BASELINES = ("climatology", "lut", "supervised", "sl2p", "gpr")


@pytest.mark.slow
@pytest.mark.by_hand
@pytest.mark.real
def test_the_swiss_campaign_runs_on_real_scenes_and_plots(checkout, tmp_path, monkeypatch):
    if not (REAL / "catalog.json").exists():
        pytest.skip(f"no real data: {REAL} is not there (set CANOPYFLOW_REAL_DATA)")
    monkeypatch.setenv("SWISS_WHEAT", str(REAL.resolve()))
    copy = checkout.copy(tmp_path / "swiss")
    campaign = yaml.safe_load((copy.folder / "config/campaigns/swiss_wheat_2022.yaml").read_text())
    campaign |= {
        "campaign": "swiss",
        # The model that comes with the package, and baselines: all other campaigns of the tests train one.
        "families": [],
        "simulations": campaign["simulations"] | {"train": 20_000, "validation": 1000, "test": 500},
        "inference": {"samples": 40, "outputs": ["gai", "ccc"]},
        "reference": {"simulated": 4, "observed": 4, "draws": 100, "rounds": 1},
    }
    (copy.folder / "mini.yaml").write_text(yaml.safe_dump(campaign))
    # Scores alone: what is published and drawn of a campaign is tested on smaller ones.
    copy.snakemake("results/swiss/comparison/table.csv")
    table = pd.read_csv(copy.folder / "results/swiss/comparison/table.csv")
    gai = table[(table["source"] == "plots") & (table["variable"] == "gai")].set_index("model")
    assert set(gai.index) == {"ready", *BASELINES}
    assert (gai["n"] > 150).all()
    ready = gai.loc["ready"]
    assert ready["rmse"] < 0.8 * ready["rmse_constant"]
    # The model that comes with the package: its interval holds what it promises on these fields.
    assert ready["rmse"] < 1.2 and 0.86 <= ready["coverage90_label"] <= 0.96
    masks = pd.concat(map(pd.read_csv, (copy.folder / "results/swiss/masks").rglob("*.csv")))
    assert set(masks["offset"]) == {-1000}
