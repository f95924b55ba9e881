"""Bands and platforms go by name at the one door of inference."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from untrained import three_pixels, untrained

from canopyflow.errors import DataError
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.estimators.refined import Refined
from canopyflow.models.estimators.sampled import Sampled
from canopyflow.observations.observation import Observation
from canopyflow.registry import ESTIMATORS
from canopyflow.samplers.contract import Draws, Sampler, Target
from canopyflow.vocabulary import BANDS, PLATFORMS


class Starts(Sampler):
    """Where chains would start, for draws: a sampler that costs nothing."""

    def draw(self, target: Target, shape: Sequence[int], generator: torch.Generator | None = None) -> Draws:
        assert target.start is not None and generator is not None
        return Draws(target.outward(target.start(shape[0], generator)))


MADE: dict[str, Callable[[], Estimator]] = {
    "amortised": untrained,
    "refined": lambda: Refined(untrained(), proposals=300),
    "sampled": lambda: Sampled(untrained().generative, Starts()),
}
"""One of each; a new estimator needs one here."""

every_estimator = pytest.mark.parametrize("name", sorted(ESTIMATORS))


def drawn(estimator: Estimator, seen: Observation, seed: int = 0) -> Draws:
    with torch.no_grad():
        return estimator.posterior(seen).draw(40, torch.Generator().manual_seed(seed))


@every_estimator
def test_bands_are_matched_by_name(name: str) -> None:
    estimator, seen = MADE[name](), three_pixels(untrained()).seen
    turned = seen.in_bands(BANDS[::-1])
    z = drawn(estimator, seen).z
    assert torch.equal(drawn(estimator, turned).z, z)
    assert torch.equal(estimator.fit(z, turned), estimator.fit(z, seen))


@every_estimator
def test_what_the_model_cannot_know_is_refused(name: str) -> None:
    estimator, seen = MADE[name](), three_pixels(untrained()).seen
    with pytest.raises(DataError, match="band B12 was not observed"):
        estimator.posterior(seen.in_bands(BANDS[:-1]))
    foreign = replace(seen, platform=torch.tensor([0, PLATFORMS.index("S2C"), 1]))
    with pytest.raises(DataError, match=r"'S2C' is unknown to this model.*S2A, S2B"):
        estimator.posterior(foreign)
