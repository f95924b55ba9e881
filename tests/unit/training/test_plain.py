"""Training by turns: who changes what, and runs that are killed."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from canopyflow.errors import CanopyflowError, ConfigError
from canopyflow.training.plain import Player, train_plain


class Killed(Exception):
    """Stands in for a kill signal."""


def pair(stop: int | None = None):
    """Two networks that take turns, a buffer that the second updates, and the batches of a run."""
    torch.manual_seed(0)
    first, second = nn.Linear(3, 2), nn.Linear(2, 3)
    memory = torch.zeros(2)

    def batch(step):
        if step == stop:
            raise Killed
        return torch.randn(16, 3)

    def loss(x, step):
        # Global random numbers within a loss, as draws of a posterior are.
        code = first(x) + 0.1 * torch.randn(16, 2)
        return (second(code) - x).square().mean() + memory.square().sum()

    def after(step):
        memory.mul_(0.9).add_(0.1 * second.weight.mean(0))

    players = [
        Player(list(first.parameters()), loss),
        Player(list(second.parameters()), loss, after, kept=(memory,)),
    ]
    return players, batch, (first, second, memory)


def weights(nets):
    first, second, memory = nets
    return torch.cat([p.detach().flatten() for p in (*first.parameters(), *second.parameters(), memory)])


def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(tmp_path) -> None:
    players, batch, nets = pair()
    history = train_plain(players, batch, steps=40, rate=0.01, seed=3, log_every=7)
    killed, to_step_25, half = pair(stop=25)
    options = {"steps": 40, "rate": 0.01, "seed": 3, "log_every": 7, "checkpoint": tmp_path / "c"}
    with pytest.raises(Killed):
        train_plain(killed, to_step_25, **options)
    assert not torch.equal(weights(half), weights(nets))
    again, batch, resumed = pair()
    told = train_plain(again, batch, **options)
    assert torch.equal(weights(resumed), weights(nets))
    assert told == history and [entry["step"] for entry in told] == [7, 14, 21, 28, 35, 40]
    finished, never, same = pair(stop=0)
    assert train_plain(finished, never, **options) == history, "a finished run is not run again"
    assert torch.equal(weights(same), weights(nets))


def test_another_digest_starts_anew(tmp_path) -> None:
    players, batch, _ = pair()
    train_plain(players, batch, steps=8, rate=0.01, digest="a", checkpoint=tmp_path / "c")
    other, never, _ = pair(stop=0)
    with pytest.raises(Killed):
        train_plain(other, never, steps=8, rate=0.01, digest="b", checkpoint=tmp_path / "c")


def test_a_step_changes_its_player_alone() -> None:
    players, batch, (first, second, _) = pair()
    seen = []

    def watched(step):
        seen.append((first.weight.detach().clone(), second.weight.detach().clone()))
        return batch(step)

    train_plain(players, watched, steps=6, rate=0.01)
    for step, ((a, b), (c, d)) in enumerate(pairwise(seen)):
        assert torch.equal(a, c) == (step % 2 == 1), "the first player moves in even steps"
        assert torch.equal(b, d) == (step % 2 == 0)


def test_the_callers_random_numbers_go_on() -> None:
    players, batch, _ = pair()
    torch.manual_seed(5)
    expected = torch.randn(4)
    torch.manual_seed(5)
    train_plain(players, batch, steps=3, rate=0.01)
    assert torch.equal(torch.randn(4), expected)


def test_it_learns() -> None:
    weight = torch.zeros(3, requires_grad=True)
    truth = torch.tensor([1.0, -2.0, 0.5])
    players = [Player([weight], lambda x, step: (x @ (weight - truth)).square().mean())]
    history = train_plain(players, lambda step: torch.randn(32, 3), steps=600, rate=0.05)
    assert torch.allclose(weight, truth, atol=1e-3)
    assert history[-1]["losses"][0] < 1e-4 < history[0]["losses"][0]


def test_losses_that_stay_non_finite_stop_the_run_and_change_nothing() -> None:
    weight = torch.ones(2, requires_grad=True)
    players = [Player([weight], lambda x, step: (weight * float("nan")).sum())]
    with pytest.raises(CanopyflowError, match="no finite loss in 25 steps"):
        train_plain(players, lambda step: None, steps=50, rate=0.1)
    assert torch.equal(weight, torch.ones(2))


def test_nobody_to_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="no parameters"):
        train_plain([Player([], lambda x, step: torch.zeros(()))], lambda step: None, steps=1, rate=0.1)


def alone(loss, steps: int = 1, rate: float = 0.1, **options) -> torch.Tensor:
    """Where a single weight of value 1 is before each step, and after the last."""
    weight = torch.ones(1, requires_grad=True)
    places: list[float] = []
    player = Player([weight], lambda x, step: loss(weight, step), **options)
    train_plain([player], lambda step: places.append(weight.item()), steps=steps, rate=rate)
    return torch.tensor([*places, weight.item()])


def test_a_player_has_its_own_pace_and_decay() -> None:
    once, thrice = (alone(lambda w, step: w.sum(), pace=pace).diff() for pace in (1.0, 3.0))
    torch.testing.assert_close(thrice, 3.0 * once, rtol=1e-4, atol=0)
    flat = alone(lambda w, step: 0.0 * w.sum(), decay=0.5)
    assert flat[1].item() == pytest.approx(1.0 - 0.5 * 0.1 / 2.0), "half of the rate in a first and only step"


def test_gradients_are_clipped() -> None:
    """With all gradients cut to one length a burst is a step like all others."""
    calm = alone(lambda w, step: w.sum(), steps=3, clip=1.0)
    cut, free = (
        alone(lambda w, step: (100.0 if step == 1 else 1.0) * w.sum(), steps=3, clip=clip)
        for clip in (1.0, 1e3)
    )
    torch.testing.assert_close(cut, calm)
    assert (free - calm).abs().max() > 0.01


def test_the_rate_rises_for_a_tenth_of_the_steps_and_falls_to_nothing() -> None:
    """Adam's step is the rate wherever the gradient stays the same."""
    moved = -alone(lambda w, step: w.sum(), steps=40, rate=0.01).diff() / 0.01
    assert moved.argmax().item() == 4 and moved.max().item() == pytest.approx(1.0, rel=1e-3)
    torch.testing.assert_close(moved[:4], torch.tensor([0.2, 0.4, 0.6, 0.8]), rtol=1e-3, atol=0)
    assert (moved[4:].diff() < 0).all() and moved[22].item() == pytest.approx(0.5, rel=1e-3)
    assert moved[-1] < 0.01


def test_single_steps_without_a_loss_are_forgiven() -> None:
    """Only those in a row are counted."""
    places = alone(lambda w, step: w.sum() * (float("nan") if step % 2 else 1.0), steps=80, rate=0.01)
    assert (places.diff()[::2] < 0).all() and not places.diff()[1::2].any()


@pytest.mark.parametrize("changed", [{"rate": 0.02}, {"steps": 9}, {"seed": 1}])
def test_another_plan_starts_anew(tmp_path, changed) -> None:
    players, batch, _ = pair()
    plan = {"steps": 8, "rate": 0.01, "seed": 0, "checkpoint": tmp_path / "c"}
    train_plain(players, batch, **plan)
    other, never, _ = pair(stop=0)
    with pytest.raises(Killed):
        train_plain(other, never, **(plan | changed))
