"""Training of longitudinal models."""

from dataclasses import replace

import pytest
import torch
from seasons_seen import BANDS, season

from canopyflow.errors import ConfigError
from canopyflow.models.longitudinal.flow import FlowLaw
from canopyflow.models.longitudinal.model import Longitudinal, LongitudinalOptions
from canopyflow.training import longitudinal
from canopyflow.training.longitudinal import SeasonTraining, hold_back_dates, objective, train_longitudinal


def drawn(n, dates=6):
    """Seasons of an affine law seen through a linear map with noise .2, dates in order."""
    g = torch.Generator().manual_seed(3)
    torch.manual_seed(0)
    seen = season(n, dates, 1.0)
    day = seen.day.sort(-1).values
    law = FlowLaw(2, -60.0, layers=0).requires_grad_(False)
    law.log_memory.copy_(torch.tensor([60.0, 400.0]).log())
    clean = law.sample(day, g) @ torch.tensor([[1.0, 0.5, -1.0], [0.3, 1.0, 0.5]])
    noisy = clean + 0.2 * torch.randn(clean.shape, generator=g)
    return replace(seen, day=day, reflectance=noisy)


def test_hidden_dates_are_some_of_the_observed_ones() -> None:
    seen = season(400, 10)
    torch.manual_seed(0)
    kept, hidden = hold_back_dates(seen, 0.9)
    observed = seen.valid.any(-1)
    assert not (hidden & ~observed).any()
    assert torch.equal(kept.valid.any(-1), observed & ~hidden) and kept.valid.any(-1).any(-1).all()
    share = hidden.sum(-1) / observed.sum(-1)
    assert share.min() < 0.05 and share.max() > 0.7 and abs(float(share.mean()) - 0.45) < 0.06
    assert not hold_back_dates(seen, 0.0)[1].any()


def test_hidden_dates_reach_the_loss_by_foresight_alone() -> None:
    seen = drawn(8)
    model = Longitudinal(LongitudinalOptions(BANDS, dim=2, width=16, layers=2)).requires_grad_(False)

    def loss(whole, **how):
        torch.manual_seed(1)
        return float(objective(model, whole, SeasonTraining(draws=2, **how)))

    torch.manual_seed(1)
    hidden = hold_back_dates(seen, 0.7)[1]
    assert hidden.any()
    changed = replace(seen, reflectance=seen.reflectance + hidden[..., None] * 1.0)
    assert loss(seen, foresight=0.0) == loss(changed, foresight=0.0)
    assert loss(seen, foresight=1.0) != loss(changed, foresight=1.0)
    torch.manual_seed(1)
    kept = hold_back_dates(seen, 0.7)[0]
    bound = -float(model.elbo(kept, 2).mean())
    assert abs(loss(seen, foresight=0.0) - bound) < 1e-4


class Killed(Exception):
    """Stands in for a kill signal."""


def trained(seen, how, monkeypatch, stop=None, checkpoint=None):
    """A small model after training, and how many steps that took; ``stop``: of them it is killed in the
    last."""
    taken = []

    def counted(*given):
        taken.append(given)
        if len(taken) == stop:
            raise Killed
        return objective(*given)

    monkeypatch.setattr(longitudinal, "objective", counted)
    torch.manual_seed(0)
    model = Longitudinal(LongitudinalOptions(BANDS, posterior="gaussian", dim=2, width=8, layers=1))
    train_longitudinal(model, seen, how, seed=4, checkpoint=checkpoint)
    return model.state_dict(), len(taken)


def test_a_killed_training_goes_on_and_ends_as_an_undisturbed_one(tmp_path, monkeypatch) -> None:
    seen, how = drawn(8), SeasonTraining(steps=110, batch=4, dates=2, draws=1)
    undisturbed, steps = trained(seen, how, monkeypatch)
    assert steps == 110
    with pytest.raises(Killed):
        trained(seen, how, monkeypatch, stop=106, checkpoint=tmp_path / "c")
    resumed, steps = trained(seen, how, monkeypatch, checkpoint=tmp_path / "c")
    assert steps == 10, "it goes on from its checkpoint"
    assert all(torch.equal(resumed[name], tensor) for name, tensor in undisturbed.items())


def test_another_series_does_not_get_the_model_of_the_former(tmp_path, monkeypatch) -> None:
    seen, how = drawn(8), SeasonTraining(steps=2, batch=4, draws=1)
    assert trained(seen, how, monkeypatch, checkpoint=tmp_path / "c")[1] == 2
    assert trained(seen, how, monkeypatch, checkpoint=tmp_path / "c")[1] == 0
    valid = seen.valid.clone()
    valid[0, 0, 0] = ~valid[0, 0, 0]
    for other in (replace(seen, valid=valid), replace(seen, day=seen.day + 1.0)):
        assert trained(other, how, monkeypatch, checkpoint=tmp_path / "c")[1] == 2


def test_training_without_innovations_leaves_out_their_networks() -> None:
    model = Longitudinal(LongitudinalOptions(BANDS, dim=2, width=16, layers=2, innovations=False))
    history = train_longitudinal(model, drawn(16), SeasonTraining(steps=4, batch=8, draws=1))
    assert len(history) == 1


def test_a_step_may_take_some_consecutive_dates() -> None:
    seen = drawn(16).each(lambda tensor: tensor.flip(1))
    model = Longitudinal(LongitudinalOptions(BANDS, dim=2, width=16, layers=2))
    met = []
    read = model.reader.forward
    model.reader.forward = lambda given, origin: met.append(given.day) or read(given, origin)
    train_longitudinal(model, seen, SeasonTraining(steps=3, batch=8, dates=4, draws=1))
    ordered = seen.day.sort(-1).values
    pieces = ordered.unfold(1, 4, 1).flatten(0, 1)
    assert len(met) == 3 and all(day.shape == (8, 4) for day in met)
    assert all((day[:, None] == pieces).all(-1).any(-1).all() for day in met)


def test_options_that_ask_for_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="never hidden"):
        SeasonTraining(hidden=0.0)
    with pytest.raises(ConfigError, match="less than 1"):
        SeasonTraining(hidden=1.0)


@pytest.mark.slow
def test_it_predicts_hidden_dates_of_a_law_that_it_learned() -> None:
    """Hidden dates of a linear Gaussian law: less error than the mean has, and 90 % intervals cover."""
    seen = drawn(1000)
    model = Longitudinal(LongitudinalOptions(BANDS, dim=2, width=32, layers=0, posterior="gaussian"))
    train_longitudinal(model, seen.rows(slice(800)), SeasonTraining(steps=500, batch=64, draws=2, rate=5e-3))
    test = seen.rows(slice(800, 1000))
    torch.manual_seed(9)
    kept, hidden = hold_back_dates(test, 0.6)
    draws = model.predict(kept, 200, torch.Generator().manual_seed(1))
    error = (draws.mean(0) - test.reflectance)[hidden]
    spread = test.reflectance.std((0, 1))
    assert (error.square().mean(0).sqrt() < 0.85 * spread).all()
    low, high = torch.quantile(draws, torch.tensor([0.05, 0.95]), dim=0)
    covered = ((test.reflectance >= low) & (test.reflectance <= high))[hidden].float().mean()
    assert 0.82 < covered < 0.97
