"""Learned summaries of seasons: a number for every date, by the scores that pixels have."""

from dataclasses import replace
from pathlib import Path

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
from canopyflow.models.statistics import errors_of_summaries
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


def test_further_dates_that_nobody_saw_change_nothing_of_the_others() -> None:
    model = learning_seasons()
    seen = clouded(some_seasons(model.generative, 3).seen, [0, 3])
    kept = [1, 2, 4, 5]
    few = of_dates(seen, kept)
    names, statistics = ("lai", "fapar"), ("mean", "q95")
    torch.testing.assert_close(
        model.learned(seen, names, statistics).stats[..., kept], model.learned(few, names, statistics).stats
    )
    whole = model.learned_seasons(few, phenology.NAMES, ("mean",)).stats
    torch.testing.assert_close(
        model.learned_seasons(seen, phenology.NAMES, ("mean",), torch.tensor(kept)).stats, whole
    )
    # And those that were seen do.
    all_seen = some_seasons(model.generative, 3).seen
    changed = model.learned(all_seen, names, statistics).stats[..., kept]
    assert (changed - model.learned(few, names, statistics).stats).abs().max() > 1e-3


def test_a_date_that_nobody_saw_is_read_from_the_last_that_was_seen_and_leaves_it_as_it_is() -> None:
    model = learning_seasons()
    seen = clouded(some_seasons(model.generative, 3).seen, [3, 4])
    head = model.head
    assert isinstance(head, SeasonSummaries)
    _, states, order = head._filtered(seen)
    place = order.argsort(-1)
    kept = torch.tensor([0, 1, 2, 5])
    _, without, few = head._filtered(of_dates(seen, kept.tolist()))
    rows = torch.arange(3)[:, None]
    torch.testing.assert_close(states[rows, place[:, kept]], without[rows, few.argsort(-1)])
    # Such a date has a state of its own, by its own features and the days since.
    told = 0
    for season in range(3):
        known = place[season, kept].tolist()
        for cloud in place[season, [3, 4]].tolist():
            before = max((each for each in known if each < cloud), default=None)
            if before is not None:
                told += 1
                assert (states[season, cloud] - states[season, before]).abs().max() > 1e-4
    assert told


def test_light_on_a_date_that_nobody_saw_is_told_for_the_sun_of_the_nearest() -> None:
    model = learning_seasons()
    seen = clouded(some_seasons(model.generative, 3).seen, [3])
    other = replace(seen, geometry=seen.geometry + torch.tensor([20.0, 0.0, 0.0]))
    head = model.head
    assert isinstance(head, SeasonSummaries)
    one, two = (head._own(each)[:, 3] for each in (seen, other))
    assert ((one - two).abs() > 0).sum(-1).eq(1).all()


def test_one_look_gives_dates_and_season() -> None:
    model = learning_seasons()
    seen, head = some_seasons(model.generative, 3).seen, model.head
    assert isinstance(head, SeasonSummaries)
    of_dates_, of_season = head.answer_both(seen, LEVELS)
    expected, _ = head.answer(seen, head.names, LEVELS)
    for one, two in zip(of_dates_, expected, strict=True):
        assert torch.equal(one, two)
    for one, two in zip(of_season, head.answer_whole(seen, head.whole.names, LEVELS), strict=True):
        assert torch.equal(one, two)


def test_the_encoder_is_read_and_not_trained() -> None:
    model = learning_seasons()
    sample = some_seasons(model.generative, 4)
    for parameter in model.parameters():
        parameter.requires_grad_()
    SummaryScores(mixed=0.0).loss(model, sample, 1).sum().backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    head = model.head
    assert head is not None and all(p.grad is not None for p in head.parameters())
    assert not any("encoder" in name for name, _ in head.named_parameters())


def test_several_batches_are_drawn_together_and_learned_from_one_by_one() -> None:
    model = learning_seasons()
    sample = some_seasons(model.generative, 12)
    goal = SummaryScores(own_draws=3, mixed=0.0, foreign=0.25)
    assert goal.at_once(model.encoder.view) == 8
    torch.manual_seed(0)
    losses = [turn() for turn in goal.turns(model, sample, 1, 0, 4)]
    assert [len(loss) for loss in losses] == [4, 4, 4]
    # Each has its share of the disturbed ones, which stand last: seasons 9 to 11.
    torch.manual_seed(0)
    drawn = goal._drawn(model, goal.varied(sample.seen))
    head = model.head
    assert isinstance(head, SeasonSummaries)
    rows = torch.tensor([1, 4, 7, 10])
    expected = goal._scored(head, drawn[0].rows(rows), drawn[1][:, rows], drawn[2][rows])
    torch.testing.assert_close(losses[1], expected)


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
