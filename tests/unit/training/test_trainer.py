"""Steps of a run, watched: data, noise, order and turns of its phases; early stopping; bad batches."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_runs import (
    BANDS,
    ELBO,
    NPE,
    Call,
    digests,
    fit,
    history,
    holding,
    interrupt,
    make,
    observed,
    spoil,
    watch,
)

from canopyflow.errors import CanopyflowError
from canopyflow.models import load
from canopyflow.models.domain import Domain
from canopyflow.models.estimators.amortised import FIT_DRAWS
from canopyflow.models.generative.contract import Generative
from canopyflow.observations.observation import Observation, Sample
from canopyflow.observations.sources.simulations import Simulations
from canopyflow.registry import OBJECTIVES
from canopyflow.training import trainer
from canopyflow.training.objectives.contract import Objective

NOISE = {
    "additive_independent": 0.1,
    "additive_common": 0.0,
    "multiplicative_independent": 0.0,
    "multiplicative_common": 0.0,
}
"""A campaign's noise, ten times the default and of one kind: a residual is then the noise itself."""

NOISY = {"generative_options": {"noise": NOISE}}


def places(call: Call, simulations: dict[str, Path]) -> Tensor:
    """Which simulations a loss looked at, told by their states."""
    split = "train" if call.training else "validation"
    truth = Simulations().load(simulations[split], BANDS, ["S2A", "S2B"]).truth
    assert truth is not None and call.sample.truth is not None
    same = (call.sample.truth[:, None] == truth[None]).all(-1)
    assert (same.sum(1) == 1).all()
    return same.int().argmax(1)


def residuals(call: Call, simulations: dict[str, Path]) -> Tensor:
    """The noise on what a loss looked at."""
    split = "train" if call.training else "validation"
    clean = Simulations().load(simulations[split], BANDS, ["S2A", "S2B"]).seen.reflectance
    return call.sample.seen.reflectance - clean[places(call, simulations)]


def test_a_run_sees_the_noise_of_its_campaign(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its steps, in validation, and where it takes its ranges from; not that of the default, nor none."""
    calls = watch(monkeypatch, "npe")
    bundle = fit(tmp_path, {"simulations": simulations}, phases=[{**NPE, "epochs": 1}], model=NOISY)
    for training in (True, False):
        noise = torch.cat([residuals(c, simulations) for c in calls if c.training == training])
        n = noise.numel()
        assert n >= 128 * len(BANDS)
        assert abs(noise.std() / 0.1 - 1.0) < 5 / (2 * n) ** 0.5, training
        assert abs(noise.mean()) < 5 * 0.1 / n**0.5
    loud, plain = (
        load(path).meta["reflectance_range"]["lower"][0]
        for path in (
            bundle,
            fit(tmp_path / "plain", {"simulations": simulations}, phases=[{**NPE, "epochs": 1}]),
        )
    )
    assert loud < -0.15 < plain < 0.02


def test_noise_order_and_draws_are_new_in_each_step_epoch_and_phase(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = watch(monkeypatch, "npe")
    phases = [{**NPE, "epochs": 2}, {**NPE, "epochs": 2, "learning_rate": 1e-3}]
    fit(tmp_path, {"simulations": simulations}, phases=phases, model=NOISY)
    steps = [call for call in calls if call.training]
    assert len(steps) == 4 * 8
    noise = torch.stack([residuals(step, simulations) for step in steps])
    for i, one in enumerate(noise):
        for other in noise[i + 1 :]:
            assert (one - other).abs().amax(-1).min() > 1e-4, "the same noise twice"
    assert len({step.seed for step in steps}) == len(steps), "the same draws twice"
    epochs = [torch.cat([places(s, simulations) for s in steps[i : i + 8]]).tolist() for i in (0, 8, 16, 24)]
    assert all(sorted(epoch) == list(range(512)) for epoch in epochs), "a pass looks at each pixel once"
    epochs.append(list(range(512)))
    for i, one in enumerate(epochs):
        for other in epochs[i + 1 :]:
            assert sum(a == b for a, b in zip(one, other, strict=True)) < 20, "the same order twice"


def test_validation_has_the_same_pixels_noise_and_draws_in_every_epoch(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = watch(monkeypatch, "npe")
    fit(tmp_path, {"simulations": simulations}, phases=[NPE], model=NOISY)
    epochs = [[c for c in calls if not c.training][i : i + 2] for i in (0, 2, 4)]
    assert sum(not call.training for call in calls) == 6
    for epoch in epochs[1:]:
        for call, first in zip(epoch, epochs[0], strict=True):
            assert torch.equal(call.sample.seen.reflectance, first.sample.seen.reflectance)
            assert call.seed == first.seed and call.step is None


def test_objectives_are_told_the_steps_of_the_phase(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = watch(monkeypatch, "npe", "elbo")
    fit(tmp_path, {"simulations": simulations}, phases=[{**NPE, "epochs": 2}, ELBO])
    for name, steps in (("npe", 16), ("elbo", 6)):
        assert [c.step for c in calls if c.training and c.objective == name] == list(range(steps))


@pytest.fixture
def stores(simulations: dict[str, Path], tmp_path: Path) -> dict[str, dict[str, Path]]:
    """Both sources; what the patches hold is for a test to say."""
    patches = {"train": make(tmp_path / "p.zarr", 8), "validation": make(tmp_path / "q.zarr", 8)}
    return {"simulations": simulations, "patches": patches}


def of_patches(call: Call, n: int) -> Tensor:
    """Which pixels of a loss are those of the patches, to the bit."""
    return (call.sample.seen.reflectance[:, None] == observed(n).seen.reflectance[None]).all(-1).any(1)


def test_every_phase_looks_at_its_own_data(
    stores: dict[str, dict[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training and in validation; what was observed keeps the noise that it came with."""
    holding(monkeypatch, 200)
    calls = watch(monkeypatch, "elbo", "beta_elbo", "iwae")
    data = {"elbo": "simulations", "beta_elbo": "patches", "iwae": "both"}
    phases = [{**ELBO, "objective": name, "data": source, "epochs": 1} for name, source in data.items()]
    fit(tmp_path, stores, phases=phases)
    for training in (True, False):
        share = {
            name: torch.cat(
                [of_patches(c, 200) for c in calls if c.objective == name and c.training == training]
            )
            for name in data
        }
        assert not share["elbo"].any() and share["beta_elbo"].all()
        assert 0 < share["iwae"].float().mean() < 1


def test_validation_of_both_looks_at_both(
    stores: dict[str, dict[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where there are more simulations than validation pixels."""
    holding(monkeypatch, 128)
    monkeypatch.setattr(trainer, "_VALIDATION", 64)
    calls = watch(monkeypatch, "elbo")
    fit(tmp_path, stores, phases=[{**ELBO, "data": "both", "epochs": 1}])
    known = torch.cat([of_patches(call, 128) for call in calls if not call.training])
    assert len(known) == 64 and known.sum() == 32


def changed(before: Call, after: Call) -> set[str]:
    """Parts of the model whose weights differ by a bit or more."""
    return {
        name.split(".")[0]
        for name, weight in before.weights.items()
        if not torch.equal(weight, after.weights[name])
    }


def cycle(*names: str, **rest: Any) -> dict[str, Any]:
    return {"cycle": [{"objective": n} for n in names], "epochs": 2, "learning_rate": 1e-2, **rest}


def test_objectives_of_a_cycle_take_turns_and_each_changes_only_what_it_trains(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step each, across the end of an epoch too; weight decay and momentum included."""
    monkeypatch.setattr(OBJECTIVES["npe"], "trains", ("encoder",))
    monkeypatch.setattr(OBJECTIVES["elbo"], "trains", ("family", "learned_prior"))
    calls = watch(monkeypatch, "npe", "elbo")
    model = {"learned_prior": "mixture"}
    fit(tmp_path, {"simulations": simulations}, phases=[cycle("npe", "elbo", steps=5)], model=model)
    steps = [call for call in calls if call.training]
    assert [step.objective for step in steps] == ["npe", "elbo"] * 5
    for before, after in pairwise(steps):
        trained = OBJECTIVES[before.objective].trains
        assert changed(before, after) == set(trained), before.step
    validations = [call for call in calls if not call.training]
    assert {call.objective for call in validations} == {"npe", "elbo"}


def test_npe_leaves_a_learned_prior_as_it_is(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, also between steps of another objective that moves it."""
    calls = watch(monkeypatch, "npe", "elbo")
    model = {"learned_prior": "mixture"}
    fit(tmp_path, {"simulations": simulations}, phases=[cycle("npe", "elbo", steps=4)], model=model)
    for before, after in pairwise([call for call in calls if call.training]):
        parts = {"encoder", "family"} | ({"learned_prior"} if before.objective == "elbo" else set())
        assert changed(before, after) == parts


@pytest.mark.parametrize("after", [2, 4, 13, 20])
def test_a_cycle_interrupted_anywhere_ends_in_the_same_bits(
    after: int, simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five steps and two validations of each objective an epoch: the turns are odd at its end."""
    stores = {"simulations": simulations}
    changes: dict[str, Any] = {
        "phases": [cycle("npe", "elbo", steps=5, epochs=3)],
        "model": {"learned_prior": "mixture"},
    }
    undisturbed = fit(tmp_path / "a", stores, **changes)
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "b", stores, **changes)
    assert digests(fit(tmp_path / "b", stores, **changes)) == digests(undisturbed)


def test_a_cycle_of_one_is_that_one(simulations: dict[str, Path], tmp_path: Path) -> None:
    stores = {"simulations": simulations}
    one = fit(tmp_path / "a", stores, phases=[cycle("elbo", steps=3)])
    alone = {"objective": "elbo", "epochs": 2, "learning_rate": 1e-2, "steps": 3}
    other = fit(tmp_path / "b", stores, phases=[alone])
    assert digests(one)["weights.safetensors"] == digests(other)["weights.safetensors"]
    assert history(one) == history(other)


def test_the_fit_threshold_is_exceeded_by_two_simulations_in_a_thousand(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also below three, and with the thread count and draws that inference has."""
    kept: list[tuple[int, int]] = []
    fit_of = Generative.fit

    def ranked(self: Generative, z: Tensor, *given: Any) -> Tensor:
        kept.append((len(z), torch.get_num_threads()))
        real = fit_of(self, z, *given)
        assert real.isfinite().all()
        return torch.linspace(0.0, 100.0, len(real))[real.argsort().argsort()]

    monkeypatch.setattr(Generative, "fit", ranked)
    before = torch.get_num_threads()
    stores = {"simulations": simulations}
    phases = [{**ELBO, "epochs": 1}]
    bundle = fit(tmp_path, stores, threads=before + 1, phases=phases, held_back=4096)
    meta = load(bundle).meta
    assert meta["fit_threshold"] == pytest.approx(99.8, abs=0.01)
    assert meta["flags"]["misfit"] == {"aim": 0.002, "false_alarms": pytest.approx(0.002, abs=0.0005)}
    assert kept == [(FIT_DRAWS, before + 1)] * 2 and torch.get_num_threads() == before


def test_flags_are_set_on_noisy_spectra_of_no_training(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the geometries of the training, under the campaign's noise; one half sets them, the other one is
    counted."""
    judged: list[Observation] = []
    clean: list[Sample] = []
    fit_of, held_back = Generative.fit, trainer._held_back

    def kept(self: Generative, z: Tensor, seen: Observation) -> Tensor:
        judged.append(seen)
        return fit_of(self, z, seen)

    def drawn(*given: Any) -> Sample:
        clean.append(held_back(*given))
        return clean[-1]

    counted: list[Observation] = []
    outside = Domain.outside

    def asked(self: Domain, seen: Observation) -> Tensor:
        counted.append(seen)
        return outside(self, seen)

    monkeypatch.setattr(Generative, "fit", kept)
    monkeypatch.setattr(Domain, "outside", asked)
    monkeypatch.setattr(trainer, "_held_back", drawn)
    bundle = fit(tmp_path, {"simulations": simulations}, phases=[{**ELBO, "epochs": 1}], model=NOISY)
    trained = Simulations().load(simulations["train"], BANDS, ["S2A", "S2B"])
    (sample,), truth = clean, trained.truth
    assert truth is not None and sample.truth is not None
    assert not (sample.truth[:, None] == truth[None]).all(-1).any()
    assert len(judged) == 2 and sum(map(len, judged)) == len(sample) == 256
    assert len(counted) == 1 and torch.equal(counted[0].reflectance, judged[1].reflectance)
    noise = torch.cat([seen.reflectance for seen in judged]) - sample.seen.reflectance
    assert abs(noise.std() / 0.1 - 1.0) < 5 / (2 * noise.numel()) ** 0.5
    limits = load(bundle).meta["angle_range"]
    slack = 0.05 * (torch.tensor(limits["upper"]) - torch.tensor(limits["lower"]))
    angles = sample.seen.geometry
    assert (angles.amin(0) - torch.tensor(limits["lower"])).abs().le(slack).all()
    assert (torch.tensor(limits["upper"]) - angles.amax(0)).abs().le(slack).all()


def test_flags_that_hit_too_many_simulations_are_reported(
    simulations: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The share is counted on other simulations than those that set the limits: here all limits are low."""

    def low(known: Domain, seen: Observation, seed: int) -> None:
        known.limits.fill_(-1e9)

    stores, phases = {"simulations": simulations}, [{**ELBO, "epochs": 1}]
    fit(tmp_path / "a", stores, phases=phases, held_back=4096)
    assert "flags hit" not in caplog.text
    monkeypatch.setattr(trainer, "calibrate", low)
    flags = load(fit(tmp_path / "b", stores, phases=phases)).meta["flags"]
    assert flags["out_of_domain"]["false_alarms"] == flags["together"] == 1.0
    assert "flags hit 100.0 % of simulations" in caplog.text


def test_early_stopping_restores_the_best_weights(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learning rate that destroys what was learned: the bundle is that of the best epoch, not the last."""
    monkeypatch.setattr(
        trainer.Trainer, "_learning_rate", staticmethod(lambda phase, step, steps: 1e-3 if step < 16 else 3.0)
    )
    stores = {"simulations": simulations}
    bundle = fit(tmp_path / "a", stores, phases=[{**NPE, "epochs": 9}], patience=2)
    lines = history(bundle)
    best = min(range(len(lines)), key=lambda i: lines[i]["validation"])
    assert len(lines) == best + 3 < 9
    short = fit(tmp_path / "b", stores, phases=[{**NPE, "epochs": best + 1}])
    assert digests(short)["weights.safetensors"] == digests(bundle)["weights.safetensors"]


def test_a_batch_without_finite_loss_is_skipped_and_counted(
    simulations: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spoil(monkeypatch, range(2, 4))
    bundle = fit(tmp_path, {"simulations": simulations}, phases=[NPE])
    assert [line["skipped"] for line in history(bundle)] == [2, 0, 0]
    assert "batch 2: loss is not finite, skipped" in caplog.text
    assert all(torch.isfinite(t).all() for t in load(bundle).weights().values())


def test_a_gradient_that_is_not_finite_costs_its_batch_and_no_weight(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss itself is finite there."""
    calls = watch(monkeypatch, "npe")
    inner = OBJECTIVES["npe"].loss

    def steep(self: Objective, model: Any, sample: Any, *rest: Any) -> Tensor:
        value = inner(self, model, sample, *rest)
        return value + (value * 0.0).sqrt() if rest[1:] == (3,) else value

    monkeypatch.setattr(OBJECTIVES["npe"], "loss", steep)
    bundle = fit(tmp_path, {"simulations": simulations}, phases=[{**NPE, "epochs": 1}])
    assert history(bundle)[0]["skipped"] == 1
    steps = [call for call in calls if call.training]
    assert not changed(steps[3], steps[4]) and changed(steps[4], steps[5])


def test_a_loss_that_stays_bad_ends_the_run_but_keeps_the_checkpoint(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, range(12, 1000))
    with pytest.raises(CanopyflowError, match=r"phase 1 \(npe\).*learning_rate"):
        fit(tmp_path, {"simulations": simulations}, phases=[{**NPE, "epochs": 9}])
    assert (tmp_path / "checkpoint" / "state.safetensors").is_file()


def test_the_kept_checkpoint_holds_the_weights_from_before_the_loss_went_bad(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it is mended, the same command goes on from there, to the bits of an undisturbed run."""
    stores: dict[str, Any] = {"simulations": simulations}
    changes: dict[str, Any] = {"phases": [{**NPE, "epochs": 5}], "batch_size": 16}  # 32 batches an epoch
    undisturbed = fit(tmp_path / "a", stores, **changes)
    with monkeypatch.context() as patch:
        spoil(patch, range(41, 1000))  # second epoch: the first took 32 batches and 8 validations
        with pytest.raises(CanopyflowError, match="last good checkpoint is kept"):
            fit(tmp_path / "b", stores, **changes)
    assert digests(fit(tmp_path / "b", stores, **changes)) == digests(undisturbed)


def test_an_objective_that_does_not_stop_early_keeps_its_last_weights(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However its validation loss goes; every epoch is run."""
    losses = iter([1.0, 2.0, 3.0])
    monkeypatch.setattr(trainer.Trainer, "_validate", lambda self, players, watched: next(losses))
    kept: list[dict[str, Tensor]] = []
    remember = trainer.Trainer._remember

    def watched(self: trainer.Trainer, line: dict[str, Any]) -> None:
        remember(self, line)
        kept.append({name: weights.clone() for name, weights in self.model.weights().items()})

    monkeypatch.setattr(trainer.Trainer, "_remember", watched)
    phase = {"objective": "summaries", "epochs": 3, "learning_rate": 1e-3}
    bundle = fit(
        tmp_path, {"simulations": simulations}, model={"summaries": {"width": 8}}, phases=[phase], patience=1
    )
    assert len(kept) == 3
    found = load(bundle).weights()
    assert torch.equal(found["head.last.weight"], kept[-1]["head.last.weight"])
