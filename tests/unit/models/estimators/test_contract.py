"""An estimator that says some variables itself, has no states and explains no spectrum."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from untrained import prior_pixels, untrained

from canopyflow.errors import CanopyflowError, ConfigError
from canopyflow.inference.summaries import Wanted, summarise
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.estimators.refined import refined
from canopyflow.observations.observation import Observation
from canopyflow.samplers.contract import Draws
from canopyflow.vocabulary import BANDS, OUT_OF_DOMAIN, Variable


class Guess(Estimator):
    """Leaf area is the red reflectance, give or take a hundredth; cover is half of it."""

    has_state: ClassVar[bool] = False
    has_fit: ClassVar[bool] = False

    def __init__(self) -> None:
        self.generative = untrained().generative
        self.meta: dict[str, Any] = {"fit_threshold": 0.0}

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def estimates(self) -> tuple[Variable, ...]:
        return tuple(Variable(name, "1", 0.0, 10.0, name) for name in ("lai", "fcover"))

    def outputs(self, z: Tensor, seen: Observation, names: Sequence[str]) -> Tensor:
        return z[..., [("lai", "fcover").index(name) for name in names]]

    def posterior(self, seen: Observation) -> "Drawn":
        return Drawn(self.understood(seen).reflectance[:, BANDS.index("B04")])


class Drawn:
    def __init__(self, red: Tensor) -> None:
        self.red = red

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draws:
        lai = self.red + 0.01 * torch.randn(count, len(self.red), generator=generator)
        return Draws(torch.stack([lai, 0.5 * lai], dim=-1))


def test_summaries_are_those_of_its_own_outputs_and_its_fit_is_no_number() -> None:
    seen = prior_pixels(untrained(), 20)
    found = summarise(Guess(), seen, Wanted(("fcover", "lai"), ("mean", "std"), samples=4000))
    red = seen.reflectance[:, BANDS.index("B04")].numpy()
    np.testing.assert_allclose(found.stats[:, 1, 0], red, atol=0.001)
    np.testing.assert_allclose(found.stats[:, 1, 1], 0.01, rtol=0.1)
    np.testing.assert_allclose(found.stats[:, 0], found.stats[:, 1] / 2, rtol=1e-4)
    assert np.isnan(found.fit).all()
    # What is no number is beyond no threshold.
    assert not (found.flags & OUT_OF_DOMAIN).any()


def test_what_it_does_not_estimate_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"does not estimate 'cab'.*fcover, lai"):
        summarise(Guess(), prior_pixels(untrained(), 2), Wanted(("lai", "cab")))


def test_a_fit_where_none_can_be_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = prior_pixels(untrained(), 2)
    monkeypatch.setattr(Guess, "fit", lambda self, z, seen: torch.ones(len(seen)))
    with pytest.raises(CanopyflowError, match="no finite summaries"):
        summarise(Guess(), seen, Wanted(("lai",)))
    # And one that has a fit must give it.
    monkeypatch.setattr(Guess, "fit", lambda self, z, seen: torch.full((len(seen),), torch.nan))
    monkeypatch.setattr(Guess, "has_fit", True)
    with pytest.raises(CanopyflowError, match="no finite summaries"):
        summarise(Guess(), seen, Wanted(("lai",)))


def test_draws_without_a_density_cannot_be_refined() -> None:
    guess = Guess()
    assert refined(guess, "none", 10, 1.0) is guess
    with pytest.raises(ConfigError, match="'Guess' cannot be refined"):
        refined(guess, "importance", 10, 1.0)
