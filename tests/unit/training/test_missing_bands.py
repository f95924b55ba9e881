"""Training with hidden bands: the posterior of what is left, calibrated; which bands, decided by the seed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import BANDS, NPE, fit, make, watch

from canopyflow.inference.summaries import Wanted, summarise
from canopyflow.models import load
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.missing import hide
from canopyflow.models.simulate import Survey, draw
from canopyflow.models.statistics import statistics_of_draws
from canopyflow.models.summaries import LEVELS
from canopyflow.observations.observation import Observation
from canopyflow.training.loop import SUMMARIES
from canopyflow.vocabulary import MISFIT, STATISTICS

NAMES = ("lai", "cab", "ccc", "fapar")
HIDING = {"encoder_options": {"width": 16, "blocks": 1, "hidden": 0.5}}


PHASES = [
    {**NPE, "epochs": 12, "learning_rate": 3e-3},
    {"objective": SUMMARIES, "options": {"own_draws": 8}, "epochs": 4, "learning_rate": 2e-3},
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Amortised:
    """A small flow with learned summaries; half of its pixels lost bands."""
    folder = tmp_path_factory.mktemp("hidden")
    stores = {"simulations": {"train": make(folder / "t", 20_000), "validation": make(folder / "v", 2000, 2)}}
    model = {
        "family": "nsf",
        "encoder_options": {"width": 64, "blocks": 2, "hidden": 0.5},
        "summaries": {"width": 64},
    }
    return load(fit(folder, stores, model=model, phases=PHASES, batch_size=256))


@pytest.fixture(scope="module")
def held_back(trained: Amortised) -> tuple[Observation, torch.Tensor]:
    """Four thousand new pixels, all of which lack bands, and the truth behind them."""
    clean, g = draw(trained.generative, Survey(), 4000, 3), torch.Generator().manual_seed(0)
    seen = hide(trained.generative.observe(clean, g), 1.0, g)
    assert clean.truth is not None
    return seen, trained.generative.outputs(clean.truth, seen, NAMES)


@pytest.mark.slow
def test_the_posterior_under_missing_bands_is_calibrated(
    trained: Amortised, held_back: tuple[Observation, torch.Tensor]
) -> None:
    """Of held-back truths the central intervals of draws hold what they promise, and few bands say less."""
    seen, truth = held_back
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        parts = [
            trained.generative.outputs(trained.posterior(part).rsample((200,), g), part, NAMES)
            for part in seen.split(500)
        ]
    values = torch.cat(parts, dim=1)
    rank = (values < truth).float().mean(0)
    for level in (0.5, 0.8, 0.9, 0.95):
        inside = (2 * rank - 1).abs() < level
        off = inside.float().mean(0) - level
        assert off.abs().max() < 0.02, (level, off)
    left, width = seen.valid.sum(-1), values.std(0)[:, 0]
    assert width[left == 1].mean() > 1.3 * width[left == 4].mean()


@pytest.mark.slow
def test_learned_summaries_of_pixels_that_lack_bands_are_those_of_their_draws(
    trained: Amortised, held_back: tuple[Observation, torch.Tensor]
) -> None:
    seen, truth = held_back
    few, g = seen.rows(slice(0, 300)), torch.Generator().manual_seed(1)
    with torch.no_grad():
        found = trained.learned(few, NAMES, STATISTICS).stats.numpy().T
        z = trained.posterior(few).rsample((1000,), g)
        values = trained.generative.outputs(z, few, NAMES)
        assert trained.head is not None
        quantiles = trained.head(trained.head.inputs(seen), NAMES)[2]
    drawn = statistics_of_draws(values.permute(1, 2, 0).numpy())
    errors = np.abs(found - drawn) / drawn[..., 1:2]
    assert np.median(errors) < 0.25
    low, high = (quantiles[LEVELS.index(level)] for level in (0.05, 0.95))
    # Of a network that was trained for seconds.
    assert (((low <= truth.T) & (high >= truth.T)).float().mean(-1) - 0.9).abs().max() < 0.06


@pytest.mark.slow
def test_summaries_of_incomplete_pixels_are_trusted_by_a_check_of_their_own(
    trained: Amortised, held_back: tuple[Observation, torch.Tensor]
) -> None:
    told = trained.meta["summaries"]
    assert {"passed", "fit_trusted", "worst"} <= told["incomplete"].keys()
    seen = held_back[0].rows(slice(0, 200))
    whole = hide(seen, 0.0).each(lambda tensor: tensor.clone())
    whole.valid[:100] = True
    before = trained.meta
    try:
        for passed, most in ((True, 1e3), (False, 1e3), (True, 0.0)):
            partly = {"passed": passed, "fit_trusted": most}
            trained.meta = {**before, "summaries": {**told, "fit_trusted": 1e3, "incomplete": partly}}
            with torch.no_grad():
                trusted = trained.learned(whole, NAMES, STATISTICS).trusted
            assert trusted[:100].float().mean() > 0.9
            assert (trusted[100:].float().mean() > 0.9) == (passed and most > 0)
        trained.meta = {**before, "summaries": {**told, "fit_trusted": 1e3}}
        del trained.meta["summaries"]["incomplete"]
        with torch.no_grad():
            assert not trained.learned(whole, NAMES, STATISTICS).trusted[100:].any()
    finally:
        trained.meta = before


@pytest.mark.slow
def test_few_bands_raise_no_alarm_of_their_own(
    trained: Amortised, held_back: tuple[Observation, torch.Tensor]
) -> None:
    """The fit of few bands is larger; held against one threshold it would call a third of them foreign."""
    seen = held_back[0].rows(slice(0, 2000))
    factors = trained.meta["fit_by_bands"]
    assert len(factors) == len(BANDS) and factors[-1] == 1.0 and factors[0] < factors[-2] <= 1.1
    found = summarise(trained, seen, Wanted(("lai",), samples=16, summaries="drawn"))
    left = seen.valid.sum(-1).numpy()
    alarms = (found.flags & MISFIT) > 0
    assert alarms.mean() < 0.01
    blind = found.fit > trained.meta["fit_threshold"]
    assert blind[left == 1].mean() > 10 * max(alarms[left == 1].mean(), 0.002)


def test_which_bands_are_hidden_is_decided_by_seed_and_step(
    simulations: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New in each step, the same in each validation, the same in another run; none without the option."""
    calls = watch(monkeypatch, "npe")
    for name in ("one", "two"):
        fit(tmp_path / name, {"simulations": simulations}, phases=[NPE], model=HIDING)
    one, two = calls[: len(calls) // 2], calls[len(calls) // 2 :]
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.sample.seen.valid, b.sample.seen.valid)
    steps = [call.sample.seen.valid for call in one if call.training]
    assert len(steps) == 24 and len({str(valid.tolist()) for valid in steps}) == 24
    lost = (~torch.cat(steps)).any(-1).float().mean()
    assert abs(lost - 0.5) < 0.05
    checks = [call.sample.seen.valid for call in one if not call.training]
    assert len(checks) == 6 and not checks[0].all()
    for epoch in (1, 2):
        assert all(torch.equal(checks[2 * epoch + i], checks[i]) for i in (0, 1))
    calls.clear()
    fit(tmp_path / "none", {"simulations": simulations}, phases=[NPE])
    assert calls and all(call.sample.seen.complete for call in calls)
    assert calls[0].sample.seen.bands == BANDS
