"""Every registered estimator under the laws of estimators, on the physics of a pixel with tiny settings.

A new estimator is tested by a line in :data:`BUILD`, which says what it is built of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from untrained import surveyed, untrained

from canopyflow.errors import DataError
from canopyflow.inference.summaries import Wanted, summarise
from canopyflow.models.estimators.contract import Estimator
from canopyflow.observations.observation import Observation
from canopyflow.registry import ESTIMATORS, SAMPLERS
from canopyflow.samplers import hmc
from canopyflow.vocabulary import BANDS, PLATFORMS, VARIABLES

N, COUNT = 4, 20

BUILD: dict[str, Callable[[], Estimator]] = {
    "amortised": untrained,
    "refined": lambda: ESTIMATORS.build("refined", untrained(), proposals=60),
    "sampled": lambda: ESTIMATORS.build("sampled", untrained().generative, SAMPLERS.build("hmc", rounds=1)),
}


@pytest.fixture(scope="module", autouse=True)
def short_chains() -> Iterator[None]:
    """Too short to converge: these laws hold for every draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hmc, "WINDOWS", (3, 3, 3))
        patch.setattr(hmc, "JUMPING_WINDOWS", (3,))
        yield


@pytest.fixture(scope="module", params=sorted(ESTIMATORS))
def estimator(request: pytest.FixtureRequest) -> Estimator:
    assert request.param in BUILD, f"say in BUILD what estimator {request.param!r} is built of"
    return BUILD[request.param]()


@pytest.fixture(scope="module")
def seen() -> Observation:
    return surveyed(untrained(), N)


def draws(estimator: Estimator, seen: Observation, seed: int = 0) -> Tensor:
    with torch.no_grad():
        return estimator.posterior(seen).draw(COUNT, torch.Generator().manual_seed(seed)).z


@pytest.fixture(scope="module")
def expected(estimator: Estimator, seen: Observation) -> Tensor:
    return draws(estimator, seen)


def test_draws_have_their_shape_and_lie_within_bounds(estimator: Estimator, seen: Observation) -> None:
    found = estimator.posterior(seen).draw(COUNT, torch.Generator().manual_seed(0))
    assert found.z.shape == (COUNT, N, len(VARIABLES))
    # Bounds of variables that depend on each other are the prior's map's to keep.
    for column, variable in enumerate(VARIABLES):
        z = found.z[..., column]
        assert ((z >= variable.lower) & (z <= variable.upper)).all(), variable.name
    assert estimator.generative.prior(seen).log_prob(found.z).isfinite().all()
    for values in (found.ess, found.reliable, *found.diagnosis.values()):
        assert values is None or values.shape == (N,)


def test_same_seed_same_draws_and_the_global_generator_is_left_alone(
    estimator: Estimator, seen: Observation, expected: Tensor
) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    assert torch.equal(draws(estimator, seen), expected)
    assert (draws(estimator, seen, seed=1) != expected).flatten(2).any(-1).any(0).all()
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_stands_under_an_invalid_entry_changes_no_bit(estimator: Estimator, seen: Observation) -> None:
    """Or observations with such entries are refused."""
    valid = torch.ones(N, len(BANDS), dtype=torch.bool)
    valid[1, 3] = valid[2, :5] = False

    def filled(value: float) -> Observation:
        return replace(seen, reflectance=seen.reflectance.where(valid, torch.tensor(value)), valid=valid)

    try:
        one = draws(estimator, filled(0.0))
    except DataError as refused:
        assert "lacks a band" in str(refused)
        return
    two = draws(estimator, filled(0.7))
    assert torch.equal(one, two)
    # What is seen does count, for these pixels too.
    dark = replace(filled(0.0), reflectance=0.5 * filled(0.0).reflectance)
    assert (draws(estimator, dark) != one).flatten(2).any(-1).any(0).all()
    fits = [estimator.fit(one, filled(value)) for value in (0.0, 0.7)]
    assert torch.equal(*fits) and fits[0].isfinite().all()


def test_bands_in_another_order_give_the_same(
    estimator: Estimator, seen: Observation, expected: Tensor
) -> None:
    """And further ones are not looked at."""
    extra = torch.full((N, 1), 0.9)
    other = replace(
        seen,
        bands=("B01", *BANDS[::-1]),
        reflectance=torch.cat([extra, seen.reflectance.flip(-1)], -1),
        valid=torch.ones(N, len(BANDS) + 1, dtype=torch.bool),
    )
    assert torch.equal(draws(estimator, other), expected)
    assert torch.equal(estimator.fit(expected, other), estimator.fit(expected, seen))


def test_what_the_model_cannot_know_is_refused(estimator: Estimator, seen: Observation) -> None:
    with pytest.raises(DataError, match="band B12 was not observed"):
        estimator.posterior(seen.in_bands(BANDS[:-1]))
    platform = seen.platform.clone()
    platform[1] = PLATFORMS.index("S2C")
    with pytest.raises(DataError, match=r"'S2C' is unknown to this model.*S2A, S2B"):
        estimator.posterior(replace(seen, platform=platform))


def test_a_batch_does_not_influence_its_members(
    estimator: Estimator, seen: Observation, expected: Tensor
) -> None:
    """Bit for bit, where its other members are others and all random numbers are the same."""
    stranger = surveyed(untrained(), N, seed=1)
    mixed = replace(
        stranger,
        **{
            name: torch.where(
                (torch.arange(N) == 2).reshape(-1, *[1] * (getattr(seen, name).ndim - 1)),
                getattr(seen, name),
                getattr(stranger, name),
            )
            for name in ("reflectance", "valid", "geometry", "platform")
        },
    )
    found = draws(estimator, mixed)
    assert torch.equal(found[:, 2], expected[:, 2])
    for other in (0, 1, 3):
        assert not torch.equal(found[:, other], expected[:, other])


@pytest.mark.parametrize("name", ["platform", "geometry"])
def test_the_circumstances_count(
    estimator: Estimator, seen: Observation, expected: Tensor, name: str
) -> None:
    """The same spectra from another satellite, or under another sun."""
    changed = {"platform": 1 - seen.platform, "geometry": seen.geometry.flip(0)}[name]
    found = draws(estimator, replace(seen, **{name: changed}))
    assert (found != expected).flatten(2).any(-1).any(0).all()


def test_every_estimator_is_summarised(estimator: Estimator, seen: Observation) -> None:
    found = summarise(estimator, seen, Wanted(samples=COUNT))
    assert found.stats.shape[0] == N and torch.from_numpy(found.stats).isfinite().all()
    assert (found.fit > 0).all()
    weighed = estimator.posterior(seen).draw(COUNT, torch.Generator().manual_seed(0)).ess is not None
    assert (found.ess is not None) == weighed
