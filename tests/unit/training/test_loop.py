"""From stores to a bundle: what it holds, the same bits, and plans and data that are refused."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor
from training_runs import BANDS, ELBO, NPE, digests, fit, history, holding, interrupt, make, observed
from untrained import SMALL

from canopyflow.config.training import Training
from canopyflow.errors import CanopyflowError, ConfigError, DataError
from canopyflow.models import load
from canopyflow.models.generative.prosail import ProsailPixel
from canopyflow.observations.sources.patches import Patches
from canopyflow.physics.noise import NoiseModel
from canopyflow.registry import PRIORS
from canopyflow.training import trainer
from canopyflow.training.loop import plan
from canopyflow.training.objectives.beta_elbo import BetaElbo
from canopyflow.training.objectives.npe import Npe
from canopyflow.training.objectives.summaries import SummaryScores
from canopyflow.training.phases import Plan


def test_training_improves_and_writes_a_bundle(simulations: dict[str, Path], tmp_path: Path) -> None:
    bundle = fit(
        tmp_path,
        {"simulations": simulations},
        phases=[{**NPE, "epochs": 8}],
        fingerprints={"models": "abc"},
    )
    lines = history(bundle)
    assert [line["epoch"] for line in lines] == list(range(1, 9))
    assert lines[-1]["validation"] < lines[0]["validation"] - 0.5
    assert lines[0].keys() == {
        "phase", "objective", "epoch", "loss", "validation", "learning_rate", "skipped"
    }  # fmt: skip
    model = load(bundle)
    assert model.meta["code"] == {"models": "abc"}
    assert model.meta["data"].keys() == {"simulations/train", "simulations/validation"}
    lower, upper = (np.array(model.meta["reflectance_range"][k]) for k in ("lower", "upper"))
    assert (lower < upper).all() and (upper < 1.2).all()
    assert model.platforms == ("S2A", "S2B") and model.meta["fit_threshold"] > 0
    geometry = np.array([model.meta["angle_range"][k] for k in ("lower", "upper")])
    np.testing.assert_allclose(geometry, [[20, 0, 0], [65, 12, 180]], atol=1)
    assert not (tmp_path / "checkpoint").exists()


def test_same_seed_same_bits_and_other_seed_other_bits(simulations: dict[str, Path], tmp_path: Path) -> None:
    stores = {"simulations": simulations}
    one, two, three = (fit(tmp_path / str(i), stores, seed=seed) for i, seed in enumerate((4, 4, 5)))
    assert digests(one) == digests(two)
    assert digests(one)["weights.safetensors"] != digests(three)["weights.safetensors"]


@pytest.mark.parametrize("family", ["truncated_normal", "nsf"])
@pytest.mark.parametrize("after", [3, 19, 34])
def test_a_run_interrupted_anywhere_ends_in_the_same_bits(
    family: str, after: int, simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call inside the first epoch, one in the middle of the first phase, one in the second phase."""
    stores, model = {"simulations": simulations}, {"family": family}
    undisturbed = fit(tmp_path / "a", stores, model=model)
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "b", stores, model=model)
    assert not (tmp_path / "b" / "bundle").exists()
    assert digests(fit(tmp_path / "b", stores, model=model)) == digests(undisturbed)


def test_a_run_interrupted_while_summaries_are_learned_ends_in_the_same_bits(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = {"simulations": simulations}
    common = {"steps": 3, "learning_rate": 2e-3, "data": "simulations"}
    options: dict[str, Any] = {
        "phases": [{"objective": "npe", "epochs": 1, **common}],
        "summaries": {"epochs": 3, "draws": 4, "mixed": 0.25, "foreign": 0.25, **common},
        "model": {"summaries": {"width": 16, "layers": 2}},
    }
    undisturbed = fit(tmp_path / "a", stores, **options)
    scored, losses = SummaryScores._scored, 0

    def killed(self: SummaryScores, *given: Any) -> Tensor:
        nonlocal losses
        losses += 1
        if losses == 7:
            raise KeyboardInterrupt
        return scored(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(SummaryScores, "_scored", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "b", stores, **options)
    assert losses == 7 and not (tmp_path / "b" / "bundle").exists()
    assert digests(fit(tmp_path / "b", stores, **options)) == digests(undisturbed)


def test_interrupted_while_the_bundle_is_written(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = {"simulations": simulations}
    undisturbed = fit(tmp_path / "a", stores)
    with monkeypatch.context() as patch:
        patch.setattr("canopyflow.models.bundle._card", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "b", stores)
    monkeypatch.setattr(trainer.Trainer, "_run_epoch", None)  # nothing is left to train
    assert digests(fit(tmp_path / "b", stores)) == digests(undisturbed)


def test_a_checkpoint_of_other_options_or_damaged_is_left_aside(
    simulations: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stores = {"simulations": simulations}
    undisturbed = fit(tmp_path / "a", stores, seed=6)
    for folder, seed in (("b", 4), ("c", 6)):
        with monkeypatch.context() as patch:
            interrupt(patch, 19)
            with pytest.raises(KeyboardInterrupt):
                fit(tmp_path / folder, stores, seed=seed)
    state = tmp_path / "c" / "checkpoint" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with caplog.at_level("INFO", logger="canopyflow"):
        for folder, message in (("b", "other options"), ("c", "damaged")):
            assert digests(fit(tmp_path / folder, stores, seed=6)) == digests(undisturbed)
            assert message in caplog.text


CYCLE = {"epochs": 2, "learning_rate": 1e-3}


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({**NPE, "objective": "npee"}, "did you mean 'npe'"),
        ({**NPE, "data": "patches"}, "needs truth, which patches have not"),
        ({**ELBO, "data": "patches"}, "wants patches, but none"),
        ({**ELBO, "data": "pixels"}, "phase 1: unknown source.*'pixels'"),
        ({**ELBO, "epoch": 3}, "'epoch' is unknown"),
        ({**ELBO, "options": {"beta": 2.0}}, "phase 1: unknown option 'beta' of objective 'elbo'"),
        ({**ELBO, "objective": "beta_elbo", "options": {"beta": -1.0}}, "phase 1: option 'beta'.*at least 0"),
        ({**ELBO, "objective": "predictive_nll", "options": {"draws": 1}}, "'draws'.*at least 2"),
        (CYCLE, "either an objective or a cycle"),
        ({**ELBO, "cycle": [{"objective": "npe"}]}, "either an objective or a cycle"),
        ({**CYCLE, "cycle": [{"objective": "elbo"}, {"objective": "npee"}]}, "did you mean 'npe'"),
        ({**CYCLE, "cycle": [{"objective": "elbo", "options": {"beta": 1.0}}]}, "'beta' of objective 'elbo'"),
        ({**CYCLE, "cycle": [{"objective": "elbo"}, {"objective": "npe"}], "data": "patches"}, "needs truth"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    phase: dict[str, Any], message: str, simulations: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(tmp_path, {"simulations": simulations}, phases=[phase])


@pytest.fixture
def patches(tmp_path: Path) -> dict[str, Path]:
    """Stores that are there; what they hold is for a test to say."""
    return {"train": make(tmp_path / "p.zarr", 8), "validation": make(tmp_path / "q.zarr", 8)}


@pytest.mark.parametrize("data", ["patches", "both"])
def test_a_model_learns_from_patches_alone_and_from_both(
    data: str,
    simulations: dict[str, Path],
    patches: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holding(monkeypatch, 200)
    stores = {"patches": patches} | ({"simulations": simulations} if data == "both" else {})
    bundle = fit(tmp_path, stores, phases=[{**ELBO, "data": data}])
    assert load(bundle).meta["training"]["phases"][0]["data"] == data
    assert {name.split("/")[0] for name in load(bundle).meta["data"]} == set(stores)


def test_a_run_on_patches_alone_takes_their_geometry(
    patches: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding(monkeypatch, 200)
    bundle = fit(tmp_path, {"patches": patches}, phases=[{**ELBO, "data": "patches", "epochs": 1}])
    seen = load(bundle).meta["angle_range"]
    assert seen["lower"][:2] == seen["upper"][:2] == [40.0, 5.0]


def test_no_clear_pixels_is_said(
    simulations: dict[str, Path],
    patches: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    holding(monkeypatch, 0)
    with pytest.raises(DataError, match="patches hold nothing to train on"):
        fit(tmp_path / "a", {"patches": patches}, phases=[{**ELBO, "data": "patches"}])
    both = {"simulations": simulations, "patches": patches}
    fit(tmp_path / "b", both, phases=[{**ELBO, "data": "both"}])
    assert "a phase on both: patches hold nothing clear" in caplog.text


def test_as_many_observed_pixels_are_read_as_the_plan_says_and_all_simulations(
    simulations: dict[str, Path], patches: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []

    def loaded(self: Patches, path: Path, bands: Any, platforms: Any, most: int | None, seed: int) -> Any:
        asked.append(most)
        return observed(80)

    monkeypatch.setattr(Patches, "load", loaded)
    stores = {"simulations": simulations, "patches": patches}
    fit(tmp_path, stores, phases=[{**ELBO, "data": "both", "epochs": 1}], max_pixels=77)
    assert asked == [77, 77]


def test_data_that_are_not_finite_are_refused_before_training(
    simulations: dict[str, Path], tmp_path: Path
) -> None:
    """In the normalisation one such value would make every weight useless."""
    with xr.open_zarr(simulations["train"], consolidated=False) as store:
        spoiled = store.load()
    spoiled["reflectance"][7, 2] = np.nan
    spoiled.to_zarr(tmp_path / "train.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(DataError, match=r"train\.zarr: 1 of 512 pixels"):
        fit(tmp_path, {"simulations": {**simulations, "train": tmp_path / "train.zarr"}})


def test_a_phase_that_never_validates_keeps_the_last_good_weights_and_writes_no_bundle(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.Trainer, "_validate", lambda self, players, watched: None)
    with pytest.raises(CanopyflowError, match=r"phase 1 \(npe\) never had a finite validation loss"):
        fit(tmp_path, {"simulations": simulations})
    assert (tmp_path / "checkpoint" / "state.safetensors").is_file()
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("prior", sorted(PRIORS))
def test_a_learned_prior_is_fitted_by_the_bound_saved_and_resumed(
    prior: str, simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores: dict[str, Any] = {"simulations": simulations}
    changes: dict[str, Any] = {"model": {"learned_prior": prior}}
    bundle = fit(tmp_path / "a", stores, phases=[ELBO, NPE], **changes)
    model = load(bundle)
    assert model.meta["learned_prior"] == prior and model.learned_prior is not None
    short = load(fit(tmp_path / "c", stores, phases=[ELBO], **changes))
    learned = [name for name in short.weights() if name.startswith("learned_prior.")]
    assert learned
    for name in learned:
        assert torch.equal(short.weights()[name], model.weights()[name]), "npe has no prior term"
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "b", stores, phases=[ELBO, NPE], **changes)
    assert digests(fit(tmp_path / "b", stores, phases=[ELBO, NPE], **changes)) == digests(bundle)


def test_a_learned_prior_that_nothing_fits_is_refused(simulations: dict[str, Path], tmp_path: Path) -> None:
    stores = {"simulations": simulations}
    with pytest.raises(ConfigError, match="'flow' prior is fitted by no phase"):
        fit(tmp_path, stores, phases=[NPE], model={"learned_prior": "flow"})
    with pytest.raises(ConfigError, match="did you mean 'flow'"):
        fit(tmp_path, stores, model={"learned_prior": "flaw"})


def test_the_plan_is_in_the_bundle(simulations: dict[str, Path], tmp_path: Path) -> None:
    cycle = [{"objective": "elbo"}, {"objective": "beta_elbo", "options": {"beta": 2.0}}]
    phases = [{**CYCLE, "cycle": cycle, "steps": 2, "epochs": 1}]
    bundle = fit(tmp_path, {"simulations": simulations}, phases=phases, patience=3)
    training = json.loads((bundle / "model.json").read_text())["training"]
    assert training["phases"][0]["cycle"] == cycle and training["patience"] == 3
    assert history(bundle)[0]["objective"] == "elbo+beta_elbo"


def test_the_training_block_of_a_campaign_is_a_plan() -> None:
    """With the same defaults, and phases of either kind."""
    cycle = [{"objective": "npe"}, {"objective": "beta_elbo", "options": {"beta": 2.0}}]
    block = Training.model_validate({"phases": [{"objective": "elbo", "data": "both"}, {"cycle": cycle}]})
    given = {k: v for k, v in block.plan.items() if k not in ("threads", "device", "learned_prior")}
    made = plan(**given, seed=3)
    assert [phase.name for phase in made.phases] == ["elbo", "npe+beta_elbo", "summaries"]
    # Patches are inputs of this training as it is, so the summaries are learned on them too.
    assert made.phases[2].data == "both" and made.phases[2].goals == [SummaryScores()]
    assert made.phases[0].sources == ("simulations", "patches")
    assert made.phases[1].goals == [Npe(), BetaElbo(beta=2.0)]
    assert made == Plan(made.phases, seed=3)


class Params(dict[str, Any]):
    """As Snakemake has them: a mapping whose keys are attributes too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def test_the_rule_s_script_hands_on_what_the_campaign_says(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise, prior and encoder above all: the bundle says what the model was trained with."""
    physics = {
        "leaf": "prospect-5b",
        "prior": "uniform",
        "noise": {"additive_independent": 0.05, "multiplicative_common": 0.0},
    }
    splits = ("train", "validation")
    params = Params(
        generative="prosail",
        physics=physics,
        model={"family": "nsf", "family_options": {"bins": 4}},
        encoder={"kind": "pixel", **SMALL},
        bands=list(BANDS),
        platforms=["S2A", "S2B"],
        options={"phases": [ELBO], "batch_size": 32, "threads": 1, "device": "cpu", "learned_prior": "flow"},
        seed=11,
        code="abc",
    )
    snakemake = SimpleNamespace(
        params=params,
        log=[str(tmp_path / "log")],
        input={"simulations": [str(simulations[split] / "zarr.json") for split in splits]},
        output=SimpleNamespace(bundle=str(tmp_path / "seed1" / "model.json")),
    )
    script = Path(__file__).parents[3] / "scripts" / "train.py"
    monkeypatch.setattr("canopyflow.jobs.configure_logging", lambda log_file: None)
    runpy.run_path(str(script), init_globals={"snakemake": snakemake})
    model = load(tmp_path / "seed1")
    assert model.options.generative_options == physics
    assert (model.options.family, model.options.family_options) == ("nsf", {"bins": 4})
    assert (model.options.encoder, model.options.encoder_options) == ("pixel", SMALL)
    assert (model.options.learned_prior, model.meta["seed"]) == ("flow", 11)
    assert model.meta["training"]["batch_size"] == 32 and model.meta["code"] == {"code": "abc"}
    assert isinstance(model.generative, ProsailPixel)
    expected = NoiseModel(additive_independent=0.05, multiplicative_common=0.0, bands=BANDS)
    assert model.generative.noise == expected
