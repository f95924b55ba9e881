"""Scores and references made by several workers are those of one."""

import json
from pathlib import Path

import pytest
import torch
import zarr

from canopyflow.evaluation.against import reference as accuracy
from canopyflow.evaluation.against import reference_store as reference
from canopyflow.evaluation.against.reference_store import write_reference
from canopyflow.evaluation.evaluate import score_seed
from canopyflow.inference.allocation import Allocation, spread
from canopyflow.models.bundle import save
from canopyflow.models.retrieval import ModelOptions, RetrievalModel
from canopyflow.training.data import simulate
from canopyflow.vocabulary import BANDS

PLATFORMS = ("S2A", "S2B")


def test_one_worker_is_this_process_on_one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with spread(Allocation()) as over:
            assert over is map
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def bundle(tmp_path):
    torch.manual_seed(0)
    options = ModelOptions("nsf", BANDS, PLATFORMS, encoder_options={"width": 16, "blocks": 1})
    geometry = {"lower": [20.0, 0.0, 0.0], "upper": [65.0, 12.0, 180.0]}
    about = {"angle_range": geometry, "fit_threshold": 3.0, "training": {}, "data": {}, "code": {}, "seed": 0}
    save(
        RetrievalModel(options),
        tmp_path / "seed0",
        {"reflectance_range": {"lower": [-0.05] * 10, "upper": [0.9] * 10}, **about},
    )
    return tmp_path / "seed0"


@pytest.mark.slow
def test_references_and_scores_do_not_depend_on_the_number_of_workers(tmp_path, bundle, monkeypatch):
    simulate(
        tmp_path / "test.zarr", n=150, bands=BANDS, platforms=list(PLATFORMS), leaf="prospect-d",
        prior_name="uniform", seed=0, sun_zenith=(20, 40), view_zenith=(0, 5),
    )  # fmt: skip
    # Two groups, hence two tasks.
    monkeypatch.setattr(reference, "_GROUP", 1)
    # A cost is no part of what has to be the same.
    monkeypatch.setattr(accuracy, "_TIMED", 16)
    with spread(Allocation(1)) as one, spread(Allocation(2)) as two:
        for name, over in (("one", one), ("two", two)):
            write_reference(
                tmp_path / name, tmp_path / "test.zarr", observed=False, n=2, draws=100, rounds=1,
                bands=BANDS, platforms=PLATFORMS, leaf="prospect-d", prior_name="uniform",
                noise={"additive_independent": 0.2}, seed=0, over=over,
            )  # fmt: skip
        assert contents(tmp_path / "one") == contents(tmp_path / "two")
        # The chains of this test are too short to be believed, and are to be scored nevertheless.
        zarr.open_group(tmp_path / "one", mode="r+")["reliable"][:] = True
        for name, over in (("one", one), ("two", two)):
            score_seed(
                bundle,
                simulations=tmp_path / "test.zarr",
                references={"simulated": tmp_path / "one"},
                out=tmp_path / f"{name}.json",
                cost_out=tmp_path / "cost.json",
                n=150,
                samples=50,
                seed=0,
                over=over,
            )
    scores = json.loads((tmp_path / "one.json").read_text())
    assert scores["laws"]["simulated"]["pixels"] == 2
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
