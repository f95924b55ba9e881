"""Scores of learned summaries: each is least at the true summary, and so is what is trained by them."""

from typing import Any

import pytest
import torch
from torch import Tensor
from untrained import SMALL

from canopyflow.errors import ConfigError
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.generative.prosail import ProsailPixel
from canopyflow.models.simulate import Survey, draw
from canopyflow.models.summaries import LEVELS, statistics_of
from canopyflow.observations.observation import Sample
from canopyflow.training.objectives import summaries as objective_module
from canopyflow.training.objectives.summaries import SummaryScores, gamma_score, scores
from canopyflow.vocabulary import BANDS, QUANTILES, STATISTICS

G = torch.distributions.Gamma(3.0, 0.5)
"""A skewed law whose every summary is known: mean 6, standard deviation sqrt(12)."""

LEARNED = [variable.name for variable in ProsailPixel(("B04",), ("S2A",)).estimates]


def truth() -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation (1, 1) and quantiles (levels, 1, 1) of :data:`G`."""
    from scipy.stats import gamma

    quantiles = torch.tensor(gamma.ppf(LEVELS, 3.0, scale=2.0), dtype=torch.float64)
    return (
        torch.tensor([[6.0]], dtype=torch.float64),
        torch.tensor([[12.0**0.5]], dtype=torch.float64),
        quantiles[:, None, None],
    )


def test_the_scores_are_least_at_the_true_summaries() -> None:
    torch.manual_seed(0)
    values = G.sample((100_000, 1, 1)).double()
    true = truth()
    leaves = [value.clone().requires_grad_() for value in true]
    # Their scale is held at the true one: a proper score of each summary by itself.
    scores(values, *leaves).sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None and leaf.grad.abs().max() < 1e-2
    least = scores(values, *true).item()
    for place in (0, 2):
        for factor in (0.9, 1.1):
            other = [value * factor if i == place else value for i, value in enumerate(true)]
            assert scores(values, *other).item() > least + 1e-4


def test_the_gamma_score_is_least_at_the_mean() -> None:
    torch.manual_seed(0)
    value = G.sample((100_000,)).double()
    log_mean = value.mean().log().requires_grad_()
    gamma_score(value, log_mean).mean().backward()
    assert log_mean.grad is not None and abs(log_mean.grad.item()) < 1e-9


def model(**options: Any) -> Amortised:
    torch.manual_seed(0)
    small: dict[str, Any] = {"encoder_options": SMALL, "summaries": {"width": 32} | options}
    return Amortised(ModelOptions("truncated_normal", BANDS, ("S2A", "S2B"), **small))


def sample(of: Amortised, n: int) -> Sample:
    clean = draw(of.generative, Survey(), n, 0)
    seen = of.generative.observe(clean, torch.Generator().manual_seed(0))
    return Sample(seen, clean.truth, torch.zeros(n, dtype=torch.bool))


def test_training_brings_the_summaries_to_those_of_many_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pixel, over and over: the network has nothing to generalise and must find the exact summaries."""
    # An untrained posterior fits nothing, and its summaries are asked for all the same.
    monkeypatch.setattr(objective_module, "_BAD", 1e9)
    own = model()
    all_pixels = sample(own, 64)
    one = all_pixels.rows(torch.zeros(8, dtype=torch.long))
    assert own.head is not None and all_pixels.truth is not None
    outputs = own.generative.outputs(all_pixels.truth, all_pixels.seen, LEARNED)
    own.head.standardise(all_pixels.seen, outputs)
    objective = SummaryScores(own_draws=256, mixed=0.0, foreign=0.0)
    optimizer = torch.optim.Adam(own.head.parameters(), lr=1e-2)
    for step in range(120):
        torch.manual_seed(step)
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 120)
        optimizer.zero_grad()
        objective.loss(own, one, 1).mean().backward()
        optimizer.step()
    with torch.no_grad():
        pixel = one.rows(slice(0, 1)).seen
        found = own.learned(pixel, LEARNED, STATISTICS).stats[..., 0].T
        values = own.generative.outputs(own.posterior(pixel).rsample((20_000,)), pixel, LEARNED)[:, 0]
    levels = torch.tensor(list(QUANTILES.values()))
    true = torch.stack([values.mean(0), values.std(0), *values.quantile(levels, 0)], dim=-1)
    errors = (found - true).abs() / true[:, 1:2]
    assert errors.quantile(0.9) < 0.1 and errors.max() < 0.6


def test_quantiles_never_cross_and_fewer_of_them_are_the_same_numbers() -> None:
    own = model()
    head = own.head
    assert head is not None
    torch.nn.init.normal_(head.last.weight, std=3.0)
    seen = sample(own, 50).seen
    inputs = head.inputs(seen)
    mean, deviation, quantiles, _ = head(inputs)
    assert (quantiles.diff(dim=0) >= 0).all() and (deviation > 0).all()
    names, levels = ("fapar", "lai"), (0.95, 0.05, 0.5)
    few = head(inputs, names, levels)
    columns = [LEARNED.index(name) for name in names]
    torch.testing.assert_close(few[0], mean[columns])
    places = [LEVELS.index(level) for level in levels]
    torch.testing.assert_close(few[2], quantiles[places][:, columns])
    statistics = statistics_of(*few[:3], levels, ("q50", "std"))
    torch.testing.assert_close(statistics, torch.stack([few[2][2], few[1]]))


def test_only_the_network_of_the_summaries_is_trained() -> None:
    own = model()
    loss = SummaryScores().loss(own, sample(own, 8), 1).mean()
    loss.backward()
    for name, weights in own.named_parameters():
        assert (weights.grad is not None) == name.startswith("head."), name


def test_some_pixels_are_mixed_some_disturbed_and_the_others_left_alone() -> None:
    seen = sample(model(), 40).seen
    varied = SummaryScores(mixed=0.25, foreign=0.5).varied(seen, torch.Generator().manual_seed(0)).reflectance
    x, other = seen.reflectance, seen.reflectance.roll(1, 0)
    assert torch.equal(varied[10:20], x[10:20])
    assert (varied[:10] != x[:10]).any(-1).all() and (varied[20:] != x[20:]).all()
    low, high = torch.minimum(x, other)[:10], torch.maximum(x, other)[:10]
    assert ((varied[:10] >= low - 1e-6) & (varied[:10] <= high + 1e-6)).all()
    assert torch.equal(SummaryScores(mixed=0.0, foreign=0.0).varied(seen).reflectance, x)


@pytest.mark.parametrize("options", [{"own_draws": 1}, {"mixed": 0.7, "foreign": 0.7}, {"own_draws": -3}])
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="own_draws"):
        SummaryScores(**options)


def test_summaries_stay_within_the_bounds_of_their_variables() -> None:
    own = model()
    assert own.head is not None
    torch.nn.init.normal_(own.head.last.weight, std=5.0)
    with torch.no_grad():
        found = own.learned(sample(own, 50).seen, LEARNED, STATISTICS).stats
    for i, variable in enumerate(own.generative.estimates):
        rest = found[[STATISTICS.index(name) for name in STATISTICS if name != "std"], i]
        assert ((rest >= variable.lower) & (rest <= variable.upper)).all(), variable.name
    assert (found[2:].diff(dim=0) >= 0).all()
