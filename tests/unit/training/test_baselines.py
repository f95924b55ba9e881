"""From stores to the bundle of a baseline, and back."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lessons import uniform_pixels
from training_runs import BANDS, digests, make

from canopyflow.atomic import write_json
from canopyflow.errors import ConfigError, DataError
from canopyflow.models import load
from canopyflow.models.baseline import Baseline, BaselineOptions
from canopyflow.registry import ESTIMATORS
from canopyflow.training.baselines import train_baseline
from canopyflow.vocabulary import ANGLES

SMALL: dict[str, dict[str, int]] = {
    "climatology": {"entries": 100},
    "gpr": {"steps": 5},
    "lut": {"entries": 300, "nearest": 100},
    "sl2p": {"cases": 300, "steps": 20},
    "supervised": {"width": 8, "epochs": 1},
}

Stores = dict[str, dict[str, Path]]

every_baseline = pytest.mark.parametrize("name", sorted(SMALL))


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    folder = tmp_path_factory.mktemp("stores")
    return {
        "simulations": {s: make(folder / f"{s}.zarr", 600, n) for n, s in enumerate(("train", "validation"))}
    }


@pytest.fixture(scope="module")
def spectra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    seen = uniform_pixels(30, BANDS)
    table = pd.DataFrame(seen.reflectance.numpy(), columns=list(BANDS))
    table[list(ANGLES)] = seen.geometry.numpy()
    table["value"], table["uncertainty"] = 6 * table["B08"], np.nan
    table["variable"], table["platform"] = "lai", "S2A"
    table["site"] = ["a", "b", "c"] * 10
    path = tmp_path_factory.mktemp("labels") / "spectra.parquet"
    table.to_parquet(path)
    return path


def train(out: Path, name: str, stores: Stores, spectra: Path | None, seed: int = 1) -> Path:
    options = BaselineOptions(name, BANDS, ("S2A", "S2B"), SMALL[name])
    train_baseline(out, options, stores, labels=spectra, seed=seed, fingerprints={"code": "abc"})
    return out


def test_every_baseline_is_here() -> None:
    """A new one is tested by a line in SMALL."""
    assert {name for name in ESTIMATORS if issubclass(ESTIMATORS[name], Baseline)} == set(SMALL)


@every_baseline
def test_a_bundle_holds_it_to_the_bit(name: str, stores: Stores, spectra: Path, tmp_path: Path) -> None:
    folder = train(tmp_path / "one", name, stores, spectra)
    assert digests(folder) == digests(train(tmp_path / "two", name, stores, spectra))
    model = load(folder)
    assert isinstance(model, Baseline) and model.options.options == SMALL[name]
    assert not any(parameter.requires_grad for parameter in model.parameters())
    meta = model.meta
    assert meta["estimator"] == {"name": name, "options": SMALL[name]} and meta["code"] == {"code": "abc"}
    assert "family" not in meta and ("fit_threshold" in meta) == model.has_fit
    seen = uniform_pixels(5, BANDS, seed=3)
    again = load(folder)
    z, other = (each.posterior(seen).draw(9, torch.Generator().manual_seed(0)).z for each in (model, again))
    assert torch.equal(z, other) and z.isfinite().all()
    assert name in (folder / "card.md").read_text()
    for line in (folder / "history.jsonl").read_text().splitlines():
        assert {"phase", "objective", "epoch", "loss", "validation"} <= json.loads(line).keys()


@pytest.mark.parametrize("name", ["sl2p", "supervised"])
def test_the_seed_counts(name: str, stores: Stores, spectra: Path, tmp_path: Path) -> None:
    one, two = (train(tmp_path / str(seed), name, stores, spectra, seed) for seed in (1, 2))
    assert digests(one)["weights.safetensors"] != digests(two)["weights.safetensors"]


def test_sites_outlive_the_bundle(stores: Stores, spectra: Path, tmp_path: Path) -> None:
    """A process that is loaded can still leave a site out, and what it was fitted to is told."""
    model = load(train(tmp_path / "gpr", "gpr", {}, spectra))
    seen = uniform_pixels(5, BANDS, seed=3)
    assert isinstance(model, ESTIMATORS["gpr"]) and model.sites == ["a", "b", "c"]
    assert not torch.equal(model.without("a").posterior(seen).roots.mean, model.posterior(seen).roots.mean)
    assert list(model.meta["data"]) == ["labels"]
    assert model.meta["angle_range"]["lower"] == [40.0, 5.0, 90.0]


def test_without_a_label_there_is_a_bundle_that_estimates_nothing(spectra: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(spectra).assign(B08=np.nan)
    table.to_parquet(tmp_path / "none.parquet")
    model = load(train(tmp_path / "gpr", "gpr", {}, tmp_path / "none.parquet"))
    assert model.estimates == ()


def test_what_a_baseline_needs_must_be_there(stores: Stores, spectra: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gpr is fitted to labelled plots, and there are none"):
        train(tmp_path / "gpr", "gpr", stores, None)
    with pytest.raises(ConfigError, match="lut is fitted to simulations, and there are none"):
        train(tmp_path / "lut", "lut", {}, spectra)
    assert not list(tmp_path.iterdir())


def test_bundles_that_cannot_be_right_are_refused(stores: Stores, spectra: Path, tmp_path: Path) -> None:
    good = train(tmp_path / "good", "climatology", stores, spectra)

    def changed(**changes: object) -> Path:
        folder = tmp_path / "bad"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        write_json(folder / "model.json", json.loads((good / "model.json").read_text()) | changes)
        return folder

    with pytest.raises(DataError, match="estimates other variables"):
        load(changed(estimates=[]))
    with pytest.raises(DataError, match="'estimates' is missing or not a list"):
        load(changed(estimates=None))
    with pytest.raises(DataError, match="weights do not belong to this model"):
        load(changed(estimator={"name": "supervised", "options": {}}))
    with pytest.raises(ConfigError, match=r"unknown estimator 'look-up'.*lut"):
        load(changed(estimator={"name": "look-up", "options": {}}))
