"""Every registered estimator under the laws of estimators, on the physics of a pixel with tiny settings.

A new estimator is tested by a line in :data:`BUILD`, which says what it is built of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from untrained import surveyed, untrained

from canopyflow.errors import DataError
from canopyflow.inference.summaries import Wanted, summarise
from canopyflow.models.baseline import Baseline, Lesson
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.simulate import Survey, draw
from canopyflow.observations.labels import Labels
from canopyflow.observations.observation import Observation
from canopyflow.registry import ESTIMATORS, SAMPLERS
from canopyflow.samplers import hmc
from canopyflow.vocabulary import BANDS, OUTPUTS, PLATFORMS, VARIABLES

N, COUNT = 4, 20

BLIND = {"climatology"}
"""They look at nothing: what counts for others does not for them."""

ANY_SATELLITE = {"gpr", "sl2p"}
"""They take what one satellite saw for what another would."""


def taught(name: str, **options: Any) -> Estimator:
    """A baseline, fitted to a few simulations or labels of the law in the tests."""
    own = untrained().generative
    made: Baseline = ESTIMATORS.build(name, own, **options)
    sample = draw(own, Survey(), 3000, 9)
    g = torch.Generator().manual_seed(9)
    seen = own.observe(sample, g).rows(slice(60))
    values = own.outputs(sample.truth[:60], seen, ("lai", "fapar")).T.double()
    labels = Labels(
        seen.rows(torch.arange(60).repeat(2)),
        ("lai",) * 60 + ("fapar",) * 60,
        tuple(f"site {i % 4}" for i in range(120)),
        values.flatten(),
        torch.full((120,), torch.nan, dtype=torch.float64),
    )
    made.learn(Lesson({"train": sample, "validation": draw(own, Survey(), 200, 8)}, labels, 1))
    return made.requires_grad_(False).eval()


BUILD: dict[str, Callable[[], Estimator]] = {
    "amortised": untrained,
    "climatology": lambda: taught("climatology", entries=500),
    "gpr": lambda: taught("gpr", steps=5),
    "lut": lambda: taught("lut"),
    "sl2p": lambda: taught("sl2p", cases=400, steps=20),
    "supervised": lambda: taught("supervised", width=16, epochs=1),
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


@pytest.fixture
def looking(estimator: Estimator, request: pytest.FixtureRequest) -> Estimator:
    """Those that look at the pixel."""
    if request.node.callspec.params["estimator"] in BLIND:
        pytest.skip("it looks at nothing")
    return estimator


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
    assert found.z.shape[:-1] == (COUNT, N)
    names = [quantity.name for quantity in estimator.estimates]
    values = estimator.outputs(found.z, seen, names)
    assert values.shape == (COUNT, N, len(names))
    for column, quantity in enumerate(estimator.estimates):
        z = values[..., column]
        assert ((z >= quantity.lower) & (z <= quantity.upper)).all(), quantity.name
    if estimator.has_state:
        assert found.z.shape[-1] == len(VARIABLES)
        # Bounds of variables that depend on each other are the prior's map's to keep.
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


def test_what_it_says_comes_by_name(estimator: Estimator, seen: Observation, expected: Tensor) -> None:
    names = [quantity.name for quantity in estimator.estimates]
    every = estimator.outputs(expected, seen, names)
    assert torch.equal(estimator.outputs(expected, seen, names[::-1]), every.flip(-1))
    assert torch.equal(estimator.outputs(expected, seen, names[1:2]), every[..., 1:2])


def test_what_stands_under_an_invalid_entry_changes_no_bit(looking: Estimator, seen: Observation) -> None:
    """Or observations with such entries are refused."""
    valid = torch.ones(N, len(BANDS), dtype=torch.bool)
    valid[1, 3] = valid[2, :5] = False

    def filled(value: float) -> Observation:
        return replace(seen, reflectance=seen.reflectance.where(valid, torch.tensor(value)), valid=valid)

    try:
        one = draws(looking, filled(0.0))
    except DataError as refused:
        assert "lacks a band" in str(refused)
        return
    two = draws(looking, filled(0.7))
    assert torch.equal(one, two)
    # What is seen does count, for these pixels too.
    dark = replace(filled(0.0), reflectance=0.5 * filled(0.0).reflectance)
    assert (draws(looking, dark) != one).flatten(2).any(-1).any(0).all()
    fits = [looking.fit(one, filled(value)) for value in (0.0, 0.7)]
    torch.testing.assert_close(*fits, rtol=0, atol=0, equal_nan=True)
    assert (fits[0].isfinite() == looking.has_fit).all()


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
    fits = estimator.fit(expected, other), estimator.fit(expected, seen)
    torch.testing.assert_close(*fits, rtol=0, atol=0, equal_nan=True)


def test_what_the_model_cannot_know_is_refused(estimator: Estimator, seen: Observation) -> None:
    with pytest.raises(DataError, match="band B12 was not observed"):
        estimator.posterior(seen.in_bands(BANDS[:-1]))
    platform = seen.platform.clone()
    platform[1] = PLATFORMS.index("S2C")
    with pytest.raises(DataError, match=r"'S2C' is unknown to this model.*S2A, S2B"):
        estimator.posterior(replace(seen, platform=platform))


def test_a_batch_does_not_influence_its_members(
    looking: Estimator, seen: Observation, expected: Tensor
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
    found = draws(looking, mixed)
    assert torch.equal(found[:, 2], expected[:, 2])
    for other in (0, 1, 3):
        assert not torch.equal(found[:, other], expected[:, other])


@pytest.mark.parametrize("name", ["platform", "geometry"])
def test_the_circumstances_count(
    looking: Estimator, seen: Observation, expected: Tensor, name: str, request: pytest.FixtureRequest
) -> None:
    """The same spectra from another satellite, or under another sun."""
    if name == "platform" and request.node.callspec.params["estimator"] in ANY_SATELLITE:
        pytest.skip("it does not ask for the satellite")
    changed = {"platform": 1 - seen.platform, "geometry": seen.geometry.flip(0)}[name]
    found = draws(looking, replace(seen, **{name: changed}))
    assert (found != expected).flatten(2).any(-1).any(0).all()


def test_every_estimator_is_summarised(estimator: Estimator, seen: Observation) -> None:
    names = {quantity.name for quantity in estimator.estimates}
    found = summarise(estimator, seen, Wanted([name for name in OUTPUTS if name in names], samples=COUNT))
    assert found.stats.shape[0] == N and torch.from_numpy(found.stats).isfinite().all()
    assert ((found.fit > 0) == estimator.has_fit).all()
    weighed = estimator.posterior(seen).draw(COUNT, torch.Generator().manual_seed(0)).ess is not None
    assert (found.ess is not None) == weighed
