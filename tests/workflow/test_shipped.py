"""A model is trained, put into the package, and taken from there by a campaign that trains nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from checkouts import MINI, Checkout

pytestmark = pytest.mark.slow

FEW = {
    "simulations": {"train": 2000, "validation": 200, "test": 200, "platforms": ["S2A", "S2B"]},
    "encoder": {"width": 16, "blocks": 1, "hidden": 0.2},
    "models": {"s2": {"family": "truncated_normal"}},
    "reference": {"simulated": 1, "draws": 100, "rounds": 1},
}


@pytest.fixture(scope="module")
def shipping(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout that ships a small model, whatever models it came with; the archive is there."""
    here = finished.copy(tmp_path_factory.mktemp("shipping") / "canopyflow")
    shutil.rmtree(here.folder / "src/canopyflow/models/shipped/s2", ignore_errors=True)
    campaign = yaml.safe_load((here.folder / "config/campaigns/shipped.yaml").read_text())
    campaign["training"] |= {"summaries": {"epochs": 1, "width": 16, "layers": 2}}
    campaign["training"]["phases"][0]["epochs"] = 1
    (here.folder / "config/campaigns/shipped.yaml").write_text(yaml.safe_dump(campaign | FEW))
    here.of("config/campaigns/shipped.yaml").snakemake("ship")
    return here


def test_a_shipped_model_has_all_of_its_files(shipping: Checkout) -> None:
    folder = shipping.folder / "src/canopyflow/models/shipped/s2"
    assert {path.name for path in folder.iterdir()} == {
        "weights.safetensors", "model.json", "history.jsonl", "record.json", "card.md",
    }  # fmt: skip
    trained = shipping.folder / "results/shipped/models/s2/seed0"
    for name in ("weights.safetensors", "model.json"):
        assert (folder / name).read_bytes() == (trained / name).read_bytes()
    record = json.loads((folder / "record.json").read_text())
    assert (
        record["made_by"]["code"]["train"] == json.loads((folder / "model.json").read_text())["code"]["code"]
    )
    assert record["simulations"]["lai"]["n"] == 200


def test_a_campaign_maps_with_it_and_trains_nothing(shipping: Checkout) -> None:
    ready = yaml.safe_load(MINI)
    del ready["training"]
    ready |= {"campaign": "ready", "families": [], "models": {"ready": {"shipped": "s2"}}}
    ready["simulations"] |= {"platforms": ["S2A", "S2B"]}
    ready["baselines"] = []
    del ready["physics"]
    (shipping.folder / "ready.yaml").write_text(yaml.safe_dump(ready))
    told = shipping.of("ready.yaml").snakemake("maps")
    assert "Taking s2 for ready" in told
    results = Path(shipping.folder / "results/ready")
    assert list(results.glob("products/ready/*/*.zarr/zarr.json"))
    assert not (results / "simulations").exists()
    shipping.of("ready.yaml").snakemake()
    assert (results / "comparison/table.csv").is_file()
    assert list(results.glob("published/ready/*/*/provenance.json"))
    assert "rule train" not in told and "Nothing to be done" in shipping.of("ready.yaml").snakemake("-n")


def test_another_shipped_model_is_taken_anew(shipping: Checkout) -> None:
    path = shipping.folder / "src/canopyflow/models/shipped/s2/model.json"
    kept = path.read_text()
    path.write_text(json.dumps(json.loads(kept) | {"seed": 7}, indent=2))
    try:
        assert "take_shipped" in shipping.of("ready.yaml").snakemake("-n")
        record = path.with_name("record.json")
        path.write_text(kept)
        record.write_text(record.read_text() + "\n")
        assert "Nothing to be done" in shipping.of("ready.yaml").snakemake("-n")
    finally:
        path.write_text(kept)
