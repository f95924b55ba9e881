"""The Swiss campaign, on its real scenes and field measurements, with a short training."""

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
@pytest.mark.real
def test_the_swiss_campaign_runs_on_real_scenes_and_plots(checkout, tmp_path, monkeypatch):
    if not (REAL / "catalog.json").exists():
        pytest.skip(f"no real data: {REAL} is not there (set CANOPYFLOW_REAL_DATA)")
    monkeypatch.setenv("SWISS_WHEAT", str(REAL.resolve()))
    copy = checkout.copy(tmp_path / "swiss")
    campaign = yaml.safe_load((copy.folder / "config/campaigns/swiss_wheat_2022.yaml").read_text())
    campaign |= {
        "campaign": "swiss",
        "families": ["truncated_normal"],
        "simulations": campaign["simulations"] | {"train": 20_000, "validation": 1000, "test": 500},
        "training": {
            "phases": [{"objective": "npe", "epochs": 4, "learning_rate": 0.002}],
            # Few pixels: they are drawn sooner than a network has learned to say what draws say.
            "summaries": None,
        },
        "inference": {"samples": 40, "outputs": ["gai", "ccc"]},
        "reference": {"simulated": 4, "observed": 4, "draws": 100, "rounds": 1},
    }
    (copy.folder / "mini.yaml").write_text(yaml.safe_dump(campaign))
    copy.snakemake()
    table = pd.read_csv(copy.folder / "results/swiss/comparison/table.csv")
    gai = table[(table["source"] == "plots") & (table["variable"] == "gai")].set_index("model")
    assert set(gai.index) == {"truncated_normal", "ready", *BASELINES}
    assert (gai["n"] > 150).all()
    learned = gai.loc[["truncated_normal", "ready"]]
    assert (learned["rmse"] < 0.8 * learned["rmse_constant"]).all()
    ready = gai.loc["ready"]
    # The model that comes with the package: its interval holds what it promises on these fields.
    assert ready["rmse"] < 1.2 and 0.86 <= ready["coverage90_label"] <= 0.96
    masks = pd.concat(map(pd.read_csv, (copy.folder / "results/swiss/masks").rglob("*.csv")))
    assert set(masks["offset"]) == {-1000}
