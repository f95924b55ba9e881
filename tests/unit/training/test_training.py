"""Training: simulations, determinism, resume after an interruption, bad batches, bad plans."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from canopyflow.atomic import content_digest
from canopyflow.config.physics import Physics
from canopyflow.config.simulations import Simulations
from canopyflow.errors import CanopyflowError, ConfigError, DataError
from canopyflow.models import load
from canopyflow.models.objectives import OBJECTIVES, Batch, Objective
from canopyflow.models.retrieval import FIT_DRAWS, RetrievalModel
from canopyflow.models.runtime import seed_of
from canopyflow.training import observations, trainer
from canopyflow.training.data import (
    concatenate,
    generator,
    load_simulations,
    simulate,
    simulate_table,
)
from canopyflow.training.loop import train
from canopyflow.training.observations import load_observed

BANDS = ["B02", "B03", "B04", "B08", "B11"]
NPE = {"objective": "npe", "epochs": 3, "learning_rate": 2e-3, "data": "simulations"}
ELBO = {"objective": "elbo", "epochs": 2, "learning_rate": 1e-3, "data": "simulations", "steps": 3}


def make(path: Path, n: int = 512, seed: int = 1) -> Path:
    simulate(
        path,
        n=n,
        bands=BANDS,
        platforms=["S2A", "S2B"],
        leaf="prospect-d",
        prior_name="atbd",
        seed=seed,
        sun_zenith=(20.0, 65.0),
        view_zenith=(0.0, 12.0),
    )
    return path


@pytest.fixture(scope="module")
def simulations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("simulations")
    return {"train": make(folder / "train.zarr"), "validation": make(folder / "validation.zarr", 128, 2)}


def fit(folder: Path, simulations: dict[str, Path] | None, **changes: Any) -> Path:
    options: dict[str, Any] = {
        "family": "truncated_normal",
        "family_options": {},
        "encoder": {"kind": "pixel", "width": 16, "blocks": 1},
        "bands": BANDS,
        "phases": [NPE, ELBO],
        "simulations": simulations,
        "patches": None,
        "batch_size": 64,
        "samples": 2,
        "device": "cpu",
        "seed": 4,
        "checkpoint": folder / "checkpoint",
    }
    train(folder / "bundle", **(options | changes))
    return folder / "bundle"


def digests(bundle: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(bundle.iterdir())}


def test_simulations_are_deterministic_and_follow_the_contract(tmp_path: Path) -> None:
    one, two, other = (make(tmp_path / f"{i}.zarr", 100, seed) for i, seed in enumerate((1, 1, 2)))
    assert content_digest(one) == content_digest(two) != content_digest(other)
    with xr.open_zarr(one, consolidated=False) as store:
        assert dict(store.sizes) == {"sample": 100, "variable": 11, "angle": 3, "band": 5}
        assert store.attrs["bands"] == BANDS and store.attrs["platforms"] == ["S2A", "S2B"]
        assert {str(store[name].dtype) for name in ("variables", "angles", "reflectance")} == {"float32"}
        assert store["platform"].dtype == np.uint8 and set(store["platform"].values) == {0, 1}
        assert ((store["reflectance"] > 0) & (store["reflectance"] < 2)).all()


def test_simulations_hold_no_noise(simulations: dict[str, Path]) -> None:
    from canopyflow.physics import Prosail

    pixels = load_simulations(simulations["train"], BANDS, ["S2A", "S2B"])
    assert pixels.variables is not None
    prosail = Prosail(sensor=["S2A", "S2B"], bands=BANDS)
    again = prosail(pixels.variables, pixels.angles, platform=pixels.platform)
    torch.testing.assert_close(pixels.reflectance, again, rtol=1e-4, atol=1e-5)


def test_bands_and_platforms_are_matched_by_name(simulations: dict[str, Path]) -> None:
    straight = load_simulations(simulations["train"], BANDS, ["S2A", "S2B"])
    turned = load_simulations(simulations["train"], BANDS[::-1], ["S2C", "S2B", "S2A"])
    assert torch.equal(turned.reflectance, straight.reflectance.flip(1))
    assert torch.equal(turned.platform, 2 - straight.platform)
    with pytest.raises(DataError, match="lack band B12"):
        load_simulations(simulations["train"], ["B12"], ["S2A", "S2B"])
    with pytest.raises(DataError, match="S2B"):
        load_simulations(simulations["train"], BANDS, ["S2A"])


def test_a_table_of_simulations_can_be_predicted_from(tmp_path: Path) -> None:
    simulate_table(tmp_path / "out.parquet", n=20, sensor="S2B", seed=1)
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert {"id", "platform", "sun_zenith", "B02", "B12", "B8A_noise_free", "lai"} <= set(table.columns)
    assert 0.003 < (table["B03"] - table["B03_noise_free"]).std() < 0.05


def test_a_table_of_simulations_follows_the_campaign_defaults(tmp_path: Path) -> None:
    simulate_table(tmp_path / "default.parquet", n=300, sensor="S2A", seed=1)
    asked = Simulations()
    ranges = {"sun_zenith": asked.sun_zenith, "view_zenith": asked.view_zenith}
    simulate_table(
        tmp_path / "asked.parquet", n=300, sensor="S2A", seed=1, prior_name=Physics().prior, **ranges
    )
    default, same = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("default", "asked"))
    pd.testing.assert_frame_equal(default, same)
    for name, (lower, upper) in ranges.items():
        assert default[name].between(lower, upper).all() and default[name].max() > 0.95 * upper


def test_seeds_depend_on_every_word() -> None:
    seeds = {
        seed_of("a", 1, 2),
        seed_of("a", 2, 1),
        seed_of("b", 1, 2),
        seed_of("a", 1, 2, 0),
        seed_of("a", 1),
    }
    assert len(seeds) == 5
    assert torch.equal(torch.rand(3, generator=generator("x", 1)), torch.rand(3, generator=generator("x", 1)))


def test_training_improves_and_writes_a_bundle(simulations: dict[str, Path], tmp_path: Path) -> None:
    bundle = fit(tmp_path, simulations, phases=[{**NPE, "epochs": 8}], fingerprints={"models": "abc"})
    history = [json.loads(line) for line in (bundle / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == list(range(1, 9))
    assert history[-1]["validation"] < history[0]["validation"] - 0.5
    assert history[0].keys() == {
        "phase", "objective", "epoch", "loss", "validation", "learning_rate", "skipped"
    }  # fmt: skip
    model = load(bundle)
    assert model.meta["code"] == {"models": "abc"} and len(model.meta["data"]) == 2
    lower, upper = (np.array(model.meta["reflectance_range"][k]) for k in ("lower", "upper"))
    assert (lower < upper).all() and (upper < 1.2).all()
    assert model.platforms == ("S2A", "S2B") and model.meta["fit_threshold"] > 0
    geometry = np.array([model.meta["angle_range"][k] for k in ("lower", "upper")])
    np.testing.assert_allclose(geometry, [[20, 0, 0], [65, 12, 180]], atol=1)
    assert not (tmp_path / "checkpoint").exists()


def test_the_fit_threshold_is_exceeded_by_one_simulation_in_a_thousand(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also below three, and with the thread count and generators of the run."""
    kept: list[tuple[int, int]] = []
    fit_of = RetrievalModel.fit

    def near(self: RetrievalModel, z: torch.Tensor, *given: Any) -> torch.Tensor:
        kept.append((len(z), torch.get_num_threads()))
        return fit_of(self, z, *given).clamp(max=1.0) * torch.linspace(0.5, 1.0, z.shape[1])

    monkeypatch.setattr(RetrievalModel, "fit", near)
    before = torch.get_num_threads()
    bundle = fit(tmp_path, simulations, threads=before + 1, phases=[{**ELBO, "epochs": 1}])
    assert 0.99 < load(bundle).meta["fit_threshold"] <= 1.0
    assert kept == [(FIT_DRAWS, before + 1)] and torch.get_num_threads() == before


def test_same_seed_same_bits_and_other_seed_other_bits(simulations: dict[str, Path], tmp_path: Path) -> None:
    one, two, three = (fit(tmp_path / str(i), simulations, seed=seed) for i, seed in enumerate((4, 4, 5)))
    assert digests(one) == digests(two)
    assert digests(one)["weights.safetensors"] != digests(three)["weights.safetensors"]


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let the ``after``-th call of any objective fail, as a killed job would, from then on never again."""
    calls = 0

    def failing(kind: type[Objective]) -> None:
        inner = kind.loss

        def loss(self: Objective, *given: Any) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls == after:
                raise KeyboardInterrupt
            return inner(self, *given)

        monkeypatch.setattr(kind, "loss", loss)

    for name in ("npe", "elbo"):
        failing(OBJECTIVES[name])


@pytest.mark.parametrize("family", ["truncated_normal", "nsf"])
@pytest.mark.parametrize("after", [3, 19, 34])
def test_a_run_interrupted_anywhere_ends_in_the_same_bits(
    family: str, after: int, simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call inside the first epoch, one in the middle of the first phase, one in the second phase."""
    undisturbed = fit(tmp_path / "a", simulations, family=family)
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "b", simulations, family=family)
    assert not (tmp_path / "b" / "bundle").exists()
    assert digests(fit(tmp_path / "b", simulations, family=family)) == digests(undisturbed)


def test_interrupted_while_the_bundle_is_written(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = fit(tmp_path / "a", simulations)
    with monkeypatch.context() as patch:
        patch.setattr("canopyflow.models.bundle._card", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "b", simulations)
    monkeypatch.setattr(trainer.Trainer, "_run_epoch", None)  # nothing is left to train
    assert digests(fit(tmp_path / "b", simulations)) == digests(undisturbed)


def test_a_checkpoint_of_other_options_or_damaged_is_left_aside(
    simulations: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    undisturbed = fit(tmp_path / "a", simulations, seed=6)
    for folder, options in (("b", {"seed": 4}), ("c", {"seed": 6})):
        with monkeypatch.context() as patch:
            interrupt(patch, 19)
            with pytest.raises(KeyboardInterrupt):
                fit(tmp_path / folder, simulations, **options)
    state = tmp_path / "c" / "checkpoint" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with caplog.at_level("INFO", logger="canopyflow"):
        for folder, message in (("b", "other options"), ("c", "damaged")):
            assert digests(fit(tmp_path / folder, simulations, seed=6)) == digests(undisturbed)
            assert message in caplog.text


def test_early_stopping_restores_the_best_weights(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learning rate that destroys what was learned: the bundle is that of the best epoch, not the last."""
    monkeypatch.setattr(
        trainer.Trainer, "_learning_rate", staticmethod(lambda phase, step, steps: 1e-3 if step < 16 else 3.0)
    )
    bundle = fit(tmp_path / "a", simulations, phases=[{**NPE, "epochs": 9}], patience=2)
    history = [json.loads(line) for line in (bundle / "history.jsonl").read_text().splitlines()]
    best = min(range(len(history)), key=lambda i: history[i]["validation"])
    assert len(history) == best + 3 < 9
    short = fit(tmp_path / "b", simulations, phases=[{**NPE, "epochs": best + 1}])
    assert digests(short)["weights.safetensors"] == digests(bundle)["weights.safetensors"]


def spoil(monkeypatch: pytest.MonkeyPatch, bad: range) -> None:
    calls = 0
    inner = OBJECTIVES["npe"].loss

    def loss(self: Objective, *given: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        value = inner(self, *given)
        return value * float("nan") if calls in bad else value

    monkeypatch.setattr(OBJECTIVES["npe"], "loss", loss)


def test_a_batch_without_finite_loss_is_skipped_and_counted(
    simulations: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spoil(monkeypatch, range(2, 4))
    bundle = fit(tmp_path, simulations, phases=[NPE])
    history = [json.loads(line) for line in (bundle / "history.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in history] == [2, 0, 0]
    assert "batch 2: loss is not finite, skipped" in caplog.text
    assert all(torch.isfinite(t).all() for t in load(bundle).weights().values())


def test_a_loss_that_stays_bad_ends_the_run_but_keeps_the_checkpoint(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, range(12, 1000))
    with pytest.raises(CanopyflowError, match=r"phase 1 \(npe\).*learning_rate"):
        fit(tmp_path, simulations, phases=[{**NPE, "epochs": 9}])
    assert (tmp_path / "checkpoint" / "state.safetensors").is_file()


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({**NPE, "objective": "npee"}, "did you mean 'npe'"),
        ({**NPE, "data": "patches"}, "needs true variables"),
        ({**ELBO, "data": "patches"}, "wants patches, but none"),
        ({**ELBO, "data": "pixels"}, "data 'pixels' is unknown"),
        ({**ELBO, "epoch": 3}, "'epoch' is unknown"),
        ({**ELBO, "options": {"beta": 2.0}}, "phase 1: unknown option 'beta' of objective 'elbo'"),
        ({**ELBO, "objective": "beta_elbo", "options": {"beta": -1.0}}, "phase 1: option 'beta'.*at least 0"),
        ({**ELBO, "objective": "predictive_nll", "options": {"draws": 1}}, "'draws'.*at least 2"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    phase: dict[str, Any], message: str, simulations: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(tmp_path, simulations, phases=[phase])


def observed(n: int) -> SimpleNamespace:
    """Pixels as `cubes.patches.load_pixels` returns them."""
    rng = np.random.default_rng(0)
    return SimpleNamespace(
        reflectance=rng.uniform(0.02, 0.4, (n, len(BANDS))).astype(np.float32),
        angles=np.tile(np.array([40.0, 5.0, 90.0], np.float32), (n, 1)),
        platform=rng.integers(0, 2, n).astype(np.uint8),
        platforms=["S2B", "S2A"],
        bands=BANDS,
    )


def test_training_on_observed_pixels_adds_no_noise_to_them(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observations, "load_pixels", lambda path, max_pixels, seed: observed(200))
    pixels = load_observed(tmp_path, BANDS, ["S2A", "S2B"], 200, 0)
    assert torch.equal(pixels.platform, 1 - torch.from_numpy(observed(200).platform.astype(np.int64)))
    both = concatenate([load_simulations(simulations["validation"], BANDS, ["S2A", "S2B"]), pixels])
    from canopyflow.physics.noise import NoiseModel

    seen = both.observe(NoiseModel(), generator("noise", 1))
    assert torch.equal(seen[128:], pixels.reflectance) and both.variables is None
    assert not torch.equal(seen[:128], both.reflectance[:128])

    patches = {"train": make(tmp_path / "p.zarr", 8), "validation": make(tmp_path / "q.zarr", 8)}
    for name, source in (("patches", None), ("both", simulations)):
        bundle = fit(
            tmp_path / name,
            source,
            patches=patches,
            platforms=["S2A", "S2B"],
            phases=[{**ELBO, "data": name}],
        )
        assert load(bundle).meta["training"]["phases"][0]["data"] == name


def test_validation_of_both_looks_at_both(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where there are more simulations than validation pixels."""
    monkeypatch.setattr(observations, "load_pixels", lambda path, max_pixels, seed: observed(128))
    monkeypatch.setattr(trainer, "_VALIDATION", 64)
    watched: list[Batch] = []
    validate = trainer.Trainer._validate

    def spy(self: trainer.Trainer, batches: list[Batch]) -> float | None:
        watched.extend(batches)
        return validate(self, batches)

    monkeypatch.setattr(trainer.Trainer, "_validate", spy)
    patches = {"train": make(tmp_path / "p.zarr", 8), "validation": make(tmp_path / "q.zarr", 8)}
    fit(tmp_path, simulations, patches=patches, phases=[{**ELBO, "data": "both", "epochs": 1}])
    rows = torch.cat([batch.reflectance for batch in watched])
    pixels = torch.from_numpy(observed(128).reflectance)
    known = (rows[:, None] == pixels[None]).all(-1).any(1)
    assert len(rows) == 64 and known.sum() == 32


def test_a_run_on_patches_alone_takes_their_geometry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "load_pixels", lambda path, max_pixels, seed: observed(200))
    patches = {"train": make(tmp_path / "p.zarr", 8), "validation": make(tmp_path / "q.zarr", 8)}
    phases = [{**ELBO, "data": "patches", "epochs": 1}]
    bundle = fit(tmp_path, None, patches=patches, platforms=["S2A", "S2B"], phases=phases)
    seen = load(bundle).meta["angle_range"]
    assert seen["lower"][:2] == seen["upper"][:2] == [40.0, 5.0]


def test_no_clear_pixels_is_said(
    simulations: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(observations, "load_pixels", lambda path, max_pixels, seed: observed(0))
    patches = {"train": make(tmp_path / "p.zarr", 8), "validation": make(tmp_path / "q.zarr", 8)}
    with pytest.raises(DataError, match="no pixels to train on"):
        fit(tmp_path / "a", None, patches=patches, platforms=["S2A"], phases=[{**ELBO, "data": "patches"}])
    fit(tmp_path / "b", simulations, patches=patches, phases=[{**ELBO, "data": "both"}])
    assert "simulations only" in caplog.text


def test_data_that_are_not_finite_are_refused_before_training(
    simulations: dict[str, Path], tmp_path: Path
) -> None:
    """In the normalisation one such value would make every weight useless."""
    with xr.open_zarr(simulations["train"], consolidated=False) as store:
        spoiled = store.load()
    spoiled["reflectance"][7, 2] = np.nan
    spoiled.to_zarr(tmp_path / "train.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(DataError, match=r"train\.zarr: 1 of 512 pixels"):
        fit(tmp_path, {**simulations, "train": tmp_path / "train.zarr"})


def test_a_phase_that_never_validates_keeps_the_last_good_weights_and_writes_no_bundle(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.Trainer, "_validate", lambda self, watched: None)
    with pytest.raises(CanopyflowError, match=r"phase 1 \(npe\) never had a finite validation loss"):
        fit(tmp_path, simulations)
    assert (tmp_path / "checkpoint" / "state.safetensors").is_file()
    assert not (tmp_path / "bundle").exists()


def test_the_kept_checkpoint_holds_the_weights_from_before_the_loss_went_bad(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it is mended, the same command goes on from there, to the bits of an undisturbed run."""
    changes: dict[str, Any] = {"phases": [{**NPE, "epochs": 5}], "batch_size": 16}  # 32 batches an epoch
    undisturbed = fit(tmp_path / "a", simulations, **changes)
    with monkeypatch.context() as patch:
        spoil(patch, range(41, 1000))  # second epoch: the first took 32 batches and 8 validations
        with pytest.raises(CanopyflowError, match="last good checkpoint is kept"):
            fit(tmp_path / "b", simulations, **changes)
    assert digests(fit(tmp_path / "b", simulations, **changes)) == digests(undisturbed)


@pytest.mark.parametrize("prior", ["mixture", "flow", "vamp"])
def test_a_learned_prior_is_fitted_by_the_bound_saved_and_resumed(
    prior: str, simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"learned_prior": prior, "phases": [ELBO, NPE]}
    bundle = fit(tmp_path / "a", simulations, **changes)
    model = load(bundle)
    assert model.meta["learned_prior"] == prior and model.learned_prior is not None
    short = load(fit(tmp_path / "c", simulations, **(changes | {"phases": [ELBO]})))
    for name, weight in short.weights().items():
        if name.startswith("learned_prior."):
            assert torch.equal(weight, model.weights()[name]), "npe has no prior term"
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "b", simulations, **changes)
    assert digests(fit(tmp_path / "b", simulations, **changes)) == digests(bundle)


def test_a_learned_prior_that_nothing_fits_is_refused(simulations: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'flow' prior is fitted by no phase"):
        fit(tmp_path, simulations, phases=[NPE], learned_prior="flow")
    with pytest.raises(ConfigError, match="did you mean 'flow'"):
        fit(tmp_path, simulations, learned_prior="flaw")
