"""The check of learned summaries: what it lets pass, and what not."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from untrained import surveyed, untrained

from canopyflow.models import statistics
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.estimators.contract import Learned
from canopyflow.models.statistics import check_summaries, statistics_of_draws
from canopyflow.observations.observation import Observation
from canopyflow.vocabulary import NAMES, STATISTICS


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_MANY", 400)
        patch.setattr(statistics, "_COMPARED", 48)
        yield


class Knowing(Amortised):
    """Its summaries are those of many draws, wrong by ``wrong`` standard deviations in one variable; its fit
    is that of draws, times ``factor``."""

    wrong, factor, trusting = 0.0, 1.0, 1.0

    def inside(self, seen: Observation) -> torch.Tensor:
        return torch.arange(len(seen)) < self.trusting * len(seen)

    def learned(self, seen: Observation, names: object, statistics: object) -> Learned:
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            z = self.posterior(seen).rsample((1000,), generator)
            values = self.generative.outputs(z, seen, tuple(names))  # type: ignore[arg-type]
        stats = (
            torch.from_numpy(statistics_of_draws(values.permute(1, 2, 0).numpy())).permute(2, 1, 0).clone()
        )
        place = tuple(names).index("lai")  # type: ignore[arg-type]
        stats[3, place] += self.wrong * stats[STATISTICS.index("std"), place]
        return Learned(stats, torch.ones(len(seen)), torch.ones(len(seen), dtype=torch.bool))


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> Knowing:
    model = untrained("truncated_normal", summaries={"width": 8})
    model.__class__ = Knowing
    assert isinstance(model, Knowing)

    def told(
        own: Amortised, seen: Observation, draws: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            many = own.fit(own.posterior(seen).rsample((200,), generator), seen)
            drawn = own.fit(own.posterior(seen).rsample((draws,), generator), seen)
        return drawn, many * model.factor, model.inside(seen)

    monkeypatch.setattr(statistics, "_fits", told)
    return model


def check(model: Amortised) -> dict[str, object]:
    """With a threshold as training sets it, and foreign spectra that nothing explains."""
    seen, g = surveyed(model, 200), torch.Generator().manual_seed(0)
    with torch.no_grad():
        fit = model.fit(model.posterior(seen).rsample((8,), g), seen)
    odd = torch.tensor([0.9, 0.02] * 5) * (1.0 + 0.05 * torch.randn(seen.reflectance.shape, generator=g))
    return check_summaries(model, seen, replace(seen, reflectance=odd), float(fit.quantile(0.99)), g)


def test_good_summaries_pass(knowing: Knowing) -> None:
    found = check(knowing)
    assert found["passed"], found["worst"]


def test_one_wrong_statistic_of_one_variable_is_enough_to_fail(knowing: Knowing) -> None:
    knowing.wrong = 0.3
    found = check(knowing)
    assert not found["passed"] and "lai q25" in str(found["worst"])


def test_a_fit_that_is_too_small_fails(knowing: Knowing) -> None:
    knowing.factor = 0.5
    found = check(knowing)
    assert not found["passed"] and "fit_error" in str(found["worst"])


def test_summaries_of_which_many_are_drawn_all_the_same_fail(knowing: Knowing) -> None:
    knowing.trusting = 0.7
    found = check(knowing)
    assert not found["passed"] and str(found["worst"]).startswith("drawn_share")


def test_what_is_no_number_passes_nothing_and_can_be_written(knowing: Knowing) -> None:
    knowing.factor = float("nan")
    found = check(knowing)
    assert not found["passed"] and found["fit_error"] is None
    json.dumps(found, allow_nan=False)


def test_statistics_of_draws_are_those_of_each_output() -> None:
    draws = torch.arange(19.0).expand(2, len(NAMES), 19).numpy()
    stats = statistics_of_draws(draws)
    assert stats.shape == (2, len(NAMES), len(STATISTICS))
    assert stats[0, 0].tolist() == pytest.approx([9, 30**0.5, 0, 4, 9, 14, 18])
