"""A fit of few numbers is judged as one of many."""

import torch
from seasons import some_seasons, untrained_seasons

from canopyflow.models.generative._season import Season


def test_the_fit_of_a_season_counts_as_that_of_one_pass_whatever_the_dates_that_are_only_asked_about() -> (
    None
):
    model = untrained_seasons()
    assert isinstance(model.generative, Season)
    seen = some_seasons(model.generative, 3, dates=8).seen
    valid = seen.valid.clone()
    valid[1, 2:] = False
    valid[2, 1:] = False
    seen = seen.__class__(**{**vars(seen), "valid": valid})
    fit = torch.tensor([1.5, 1.5, 1.5])
    assert torch.equal(model.comparable(fit, seen), fit), "a bundle that knows no power changes nothing"
    model.meta = {"fit_by_entries": 0.25}
    torch.testing.assert_close(model.comparable(fit, seen), 1.5 * torch.tensor([8.0, 2.0, 1.0]) ** 0.25)
    few = seen.each(lambda tensor: tensor[1:, :2])
    torch.testing.assert_close(model.comparable(fit[1:], few), model.comparable(fit, seen)[1:])
