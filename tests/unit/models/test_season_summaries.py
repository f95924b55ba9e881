"""Learned summaries of seasons: a number for every date, by the scores that pixels have."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from seasons import NETWORK, clouded, learning_seasons, of_dates, some_seasons, spoiled
from torch import Tensor
from training_runs import BANDS, NPE, drawn_seasons, fit, history

from canopyflow.errors import DataError
from canopyflow.models import load, phenology, statistics
from canopyflow.models.descent import descent
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.season_summaries import SeasonSummaries
from canopyflow.models.statistics import errors_of_summaries, errors_of_timing
from canopyflow.models.summaries import LEVELS
from canopyflow.observations.observation import Observation
from canopyflow.training import trainer
from canopyflow.training.objectives.summaries import SummaryScores
from canopyflow.vocabulary import STATISTICS


def test_every_date_has_summaries_and_a_season_one_fit() -> None:
    model = learning_seasons()
    seen = clouded(some_seasons(model.generative, 3).seen, [2])
    found = model.learned(seen, ("fapar", "lai"), ("mean", "std", "q50"))
    assert found.stats.shape == (3, 2, 3, 6) and found.fit.shape == found.trusted.shape == (3,)
    assert found.trusted.all() and found.stats.isfinite().all()
    few = model.learned(seen, ("lai",), ("q50",))
    torch.testing.assert_close(few.stats[0, 0], found.stats[2, 1])
    # In the order of seasons and dates.
    alone = model.learned(seen.rows(slice(1, 2)), ("lai",), ("q50",))
    torch.testing.assert_close(alone.stats[0, 0, 0], few.stats[0, 0, 1], atol=1e-5, rtol=1e-5)


def test_masks_and_order_are_those_of_the_encoder() -> None:
    model = learning_seasons()
    seen = clouded(some_seasons(model.generative, 3).seen, [1, 4])
    found = model.learned(seen, ("lai",), ("mean",)).stats
    assert torch.equal(model.learned(spoiled(seen), ("lai",), ("mean",)).stats, found)
    order = [5, 0, 3, 2]
    turned = model.learned(of_dates(seen, order), ("lai",), ("mean",)).stats
    torch.testing.assert_close(turned, found[..., order], atol=1e-5, rtol=1e-5)


def test_a_season_is_trusted_if_all_of_its_observed_dates_are_usual() -> None:
    model = learning_seasons()
    seen = some_seasons(model.generative, 3).seen
    odd = seen.reflectance.clone()
    odd[1, 2] = torch.tensor([0.9, 0.01]).repeat(5)
    strange = replace(seen, reflectance=odd)
    assert model.learned(strange, ("lai",), ("mean",)).trusted.tolist() == [True, False, True]
    assert model.learned(clouded(strange, [2]), ("lai",), ("mean",)).trusted.all()


def test_the_season_itself_has_summaries() -> None:
    model = learning_seasons()
    seen = clouded(some_seasons(model.generative, 3).seen, [2])
    found = model.learned_seasons(seen, phenology.NAMES, ("mean", "std", "q05", "q95"))
    assert found.stats.shape == (4, 5, 3) and found.trusted.shape == (3,)
    assert (found.stats[2] < found.stats[3]).all() and (found.stats[0, :3] >= 1.0).all()
    order = [5, 0, 3, 2, 1, 4]
    turned = model.learned_seasons(of_dates(seen, order), phenology.NAMES, ("mean",))
    torch.testing.assert_close(turned.stats[0], found.stats[0], atol=1e-3, rtol=1e-4)
    lai = torch.rand(5, 3, 6, 1).expand(-1, -1, -1, 20)
    assert isinstance(model.head, SeasonSummaries)
    timing = model.head.timing(lai, seen)
    torch.testing.assert_close(model.head.timing(lai[:, :, order], of_dates(seen, order)), timing)
    day, places = seen.day.sort(-1)
    torch.testing.assert_close(
        phenology.phenology(lai[..., 0].gather(-1, places.expand(5, 3, 6)), day), timing
    )


@pytest.mark.slow
def test_training_brings_the_summaries_of_all_dates_to_those_of_many_draws() -> None:
    """Two seasons, over and over: the network has nothing to generalise and must find their summaries."""
    model = learning_seasons()
    sample = some_seasons(model.generative, 2)
    sample = replace(sample, seen=clouded(sample.seen, [1]))
    goal = SummaryScores(own_draws=32, mixed=0.0, foreign=0.0)
    head = model.head
    assert head is not None
    learned = [p.requires_grad_() for p in head.parameters()]
    before = _errors(model, sample.seen)
    torch.manual_seed(0)
    for _ in descent(learned, lambda step: goal.loss(model, sample, 1).mean(), steps=100, rate=1e-2):
        pass
    after = _errors(model, sample.seen)
    assert float(after.median()) < 0.2 and float(before.median()) > 0.3
    g = torch.Generator().manual_seed(0)
    of_timing = errors_of_timing(model, sample.seen, many=600, few=10, generator=g)
    assert of_timing["learned"].shape == of_timing["drawn"].shape == (2, 5, len(STATISTICS))
    # Where leaf area is largest is one of six days, whose quantiles jump.
    assert float(np.median(of_timing["learned"])) < 0.4


def _errors(model: Amortised, seen: Observation) -> Tensor:
    g = torch.Generator().manual_seed(0)
    names = ("lai", "cab", "ccc")
    found = errors_of_summaries(model, seen, many=600, few=10, names=names, generator=g)
    assert found["learned"].shape == found["drawn"].shape == (12, 3, len(STATISTICS))
    return torch.from_numpy(found["learned"])


def test_a_season_of_which_nothing_was_seen_is_learned_without_a_fit() -> None:
    model = learning_seasons()
    sample = some_seasons(model.generative, 4)
    valid = sample.seen.valid.clone()
    valid[2] = False
    unseen = replace(sample, seen=replace(sample.seen, valid=valid))
    head = model.head
    assert head is not None
    row = head.last.weight.requires_grad_()
    torch.manual_seed(0)
    loss = SummaryScores(mixed=0.0, foreign=0.0).loss(model, unseen, 1)
    assert loss.isfinite().all()
    (of_unseen,) = torch.autograd.grad(loss[2], row, retain_graph=True)
    (of_seen,) = torch.autograd.grad(loss[1], row)
    assert not of_unseen[-1].any() and of_seen[-1].any() and of_unseen[0].any()


def test_none_are_mixed_and_whole_seasons_are_disturbed() -> None:
    seen = some_seasons(learning_seasons().generative, 8).seen
    varied = SummaryScores(mixed=0.5, foreign=0.25).varied(seen, torch.Generator().manual_seed(0))
    assert torch.equal(varied.reflectance[:6], seen.reflectance[:6])
    assert (varied.reflectance[6:] != seen.reflectance[6:]).any(-1).all()


def test_the_loop_trains_checks_and_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(statistics, "_COMPARED", 40)
    monkeypatch.setattr(trainer, "_CHECKED", 64)
    splits = enumerate(("train", "validation"))
    stores = {split: drawn_seasons(tmp_path / split, seed=i) for i, split in splits}
    common = {"data": "seasons_drawn", "learning_rate": 1e-3, "steps": None}
    bundle = fit(
        tmp_path,
        {"seasons_drawn": stores},
        model={
            "family": "mixture",
            "encoder": "season",
            "dynamics": "season_gp",
            "encoder_options": {"width": 16, "layers": 1, "heads": 2},
            "summaries": NETWORK,
        },
        phases=[{**NPE, "data": "seasons_drawn", "epochs": 1}],
        summaries={"epochs": 1, "draws": 4, "mixed": 0.25, "foreign": 0.25, **common},
        batch_size=32,
    )
    model = load(bundle)
    assert isinstance(model, Amortised) and isinstance(model.head, SeasonSummaries)
    assert [line["objective"] for line in history(bundle)] == ["npe", "summaries"]
    told = model.meta["summaries"]
    assert told["passed"] is False and "incomplete" not in told and told["levels"] == list(LEVELS)
    assert model.bands == BANDS and not model.learns
    assert "maps will be drawn" in caplog.text and "raise seasons.summaries.epochs" in caplog.text


def test_quantiles_of_days_are_held_to_the_mean_error_of_draws() -> None:
    """Draws hit the day of the peak in most seasons, and are far off in the others."""
    shape = (100, 1, len(STATISTICS))
    drawn, learned = np.zeros(shape, np.float32), np.full(shape, 0.3, np.float32)
    drawn[:40] = 1.0
    errors = {"drawn": drawn, "learned": learned}
    assert max(statistics._beside_draws(errors, ["season_peak"]).values()) == pytest.approx(10.0)
    told = statistics._beside_draws(errors, ["season_peak"], jumps=True)
    assert max(told.values()) == pytest.approx(0.75, rel=1e-4)
    assert any("errs by 0.300 sd on average, 50 draws by 0.400" in text for text in told)


@pytest.mark.parametrize("name", ["season_curves"])
def test_a_prior_without_a_density_has_learned_summaries_too(name: str) -> None:
    model = learning_seasons(name)
    sample = some_seasons(model.generative, 2)
    assert SummaryScores().loss(model, sample, 1).isfinite().all()


def test_other_weights_say_something_else_of_the_same_seasons() -> None:
    """What was kept of the last seasons is dropped with the weights that made it."""
    model, other = learning_seasons(), learning_seasons()
    weights = {name: 1.5 * w if w.is_floating_point() else w for name, w in other.weights().items()}
    seen = some_seasons(model.generative, 2).seen
    with torch.no_grad():
        before = model.learned(seen, ["lai"], ["mean"]).stats
        for each in (model, other):
            each.load_weights(weights)
        found, expected = (each.learned(seen, ["lai"], ["mean"]).stats for each in (model, other))
    assert torch.equal(found, expected) and not torch.equal(found, before)


def test_pixels_are_no_seasons_to_its_summaries_either() -> None:
    model, angles = learning_seasons(), torch.tensor([[40.0, 5.0, 90.0]])
    with pytest.raises(DataError, match="a pixel was given to a model of a season"):
        model.summaries(torch.full((1, len(model.bands)), 0.2), angles, "S2A")
