"""The campaign of seasons from end to end, in small: what it makes, and what a new scene makes it redo."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml
from checkouts import Checkout

from canopyflow.demo.archive import add_scene
from canopyflow.inference.stored import open_product

pytestmark = pytest.mark.slow

CAMPAIGN = "config/campaigns/seasons.yaml"
FEW = {
    # The model of seasons alone: that of single dates beside it is what all other campaigns run.
    "families": [],
    "grid": {"resolution": 120},
    "simulations": {"train": 1000, "validation": 100, "test": 100, "platforms": ["S2A", "S2B"]},
    "training": {
        "phases": [{"objective": "npe", "epochs": 1, "learning_rate": 0.002}],
        "summaries": {"epochs": 1, "width": 16, "layers": 2},
    },
    "encoder": {"width": 16, "blocks": 1},
    "seasons": {
        # May and June of a period that goes on to July.
        "months": [5, 6],
        "every_days": 20,
        "train": 128,
        "validation": 50,
        "test": 50,
        "dates": 4,
        "encoder": {"width": 16, "layers": 1},
        "phases": [{"objective": "npe", "epochs": 1, "learning_rate": 0.002, "data": "seasons_drawn"}],
        "summaries": {"epochs": 1, "draws": 2, "width": 16, "state": 16},
    },
    "period": {"start": "2021-05-01", "end": "2021-07-31"},
    "inference": {"samples": 20, "outputs": ["lai", "ccc"]},
    "reference": {"simulated": 1, "observed": 0, "draws": 100, "rounds": 1},
    "publication": {"variables": ["lai"]},
}
RESULTS = "results/seasons"


@pytest.fixture(scope="module")
def mapped(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose campaign of seasons ran to its end, on the archive of the mini campaign."""
    here = finished.copy(tmp_path_factory.mktemp("seasons") / "canopyflow")
    path = here.folder / CAMPAIGN
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | FEW))
    here.of(CAMPAIGN).snakemake()
    return here


def published(here: Checkout, what: str) -> list[Path]:
    return sorted((here.folder / RESULTS / "published/season").glob(what))


def test_the_year_is_mapped_published_and_told_of(mapped: Checkout) -> None:
    assert "Nothing to be done" in mapped.of(CAMPAIGN).snakemake("-n")
    results = mapped.folder / RESULTS
    products = sorted((results / "products/season").glob("*/*.zarr"))
    assert products and {path.name for path in products} == {"2021.zarr"}
    for path in products:
        with open_product(path) as store:
            dates = [str(time)[:10] for time in store["time"].values]
            assert dates == ["2021-05-01", "2021-05-21", "2021-06-10", "2021-06-30"]
            assert store.attrs["summaries"] in ("drawn", "learned") and 0 <= store.attrs["drawn_share"] <= 1
            known = store["flags"].values[0] & 1 == 0
            assert known.any() and np.isfinite(store["lai_duration"].values[..., known]).all()
    scores = pd.read_csv(results / "comparison/table.csv")
    sources = {model: set(rows["source"]) for model, rows in scores.groupby("model")}
    assert {"maps", "clouded", "hidden", "simulations"} <= sources["season"]
    assert (results / "evaluation/season/trajectories.png").stat().st_size > 20_000


def test_each_date_and_the_season_have_an_item_with_its_maps(mapped: Checkout) -> None:
    records = published(mapped, "*/2021/provenance.json")
    assert records
    for path in records:
        record = json.loads(path.read_text())
        assert record["period"] == ["2021-05-01T00:00:00Z", "2021-06-30T23:59:59Z"]
        assert {scene["id"][11:17] for scene in record["scenes"]} == {"202105", "202106"}
        assert len(record["items"]) == 5 and record["left_out"] == []
    (first, *_) = published(mapped, "*/2021/*_2021/lai_duration_mean.tif")
    with rasterio.open(first) as file:
        values = file.read(1, masked=True) * file.scales[0] + file.offsets[0]
    assert values.min() > 0 and values.max() < 61 * 10
    assert published(mapped, "*/2021/*_2021-05-21/unobserved_days.tif")


def mapped_anew(output: str) -> set[tuple[str, str]]:
    """Window and model of each map that a run makes, or would make."""
    return set(re.findall(r"Mapping \S+ (\S+) with (\S+)", output))


def test_a_scene_of_the_season_maps_its_year_anew_and_one_outside_does_not(
    mapped: Checkout, tmp_path: Path
) -> None:
    after, within = (mapped.copy(tmp_path / name) for name in ("after", "within"))
    assert add_scene(after.folder / "demo-archive", "2021-07-19")
    assert mapped_anew(after.of(CAMPAIGN).snakemake("maps")) == set()
    assert add_scene(within.folder / "demo-archive", "2021-06-17")
    output = within.of(CAMPAIGN).snakemake("maps")
    assert mapped_anew(output) == {("2021", "season")}
    assert "Training season" not in output
