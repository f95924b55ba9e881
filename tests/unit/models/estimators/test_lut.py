"""The look-up table against the exact posterior of a linear-Gaussian law."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from lessons import Linear, law, lesson
from torch import Tensor

from canopyflow.errors import ConfigError, DataError
from canopyflow.inference.tables import TableOptions, predict
from canopyflow.models.baseline import Lesson
from canopyflow.models.estimators.lut import Lut, flattened
from canopyflow.models.generative.contract import Generative
from canopyflow.observations.observation import Observation
from canopyflow.vocabulary import ANGLES, MASKED

ENTRIES = 60_000


@pytest.fixture(scope="module")
def table() -> Lut:
    own = Linear()
    made = Lut(own, entries=ENTRIES, nearest=ENTRIES, least=0.0)
    made.learn(Lesson({"train": own.sample(ENTRIES)}))
    return made


@pytest.fixture(scope="module")
def seen() -> Observation:
    own = Linear()
    return own.observe(own.sample(12, seed=1), torch.Generator().manual_seed(2))


def test_a_table_of_another_width_is_not_this_ones(table: Lut) -> None:
    other, weights = Lut(Linear(), entries=10), dict(table.weights())
    other.load_weights(weights)
    assert torch.equal(other.weights()["state"], weights["state"])
    weights["state"] = weights["state"][:, 1:]
    with pytest.raises(DataError, match="do not belong to this model: 'state'"):
        Lut(Linear(), entries=10).load_weights(weights)


def moments(made: Lut, seen: Observation) -> tuple[Tensor, Tensor]:
    z = made.posterior(seen).draw(4000, torch.Generator().manual_seed(0)).z
    centred = z - z.mean(0)
    return z.mean(0), torch.einsum("kni,knj->nij", centred, centred) / len(z)


def holds(made: Lut, seen: Observation, tolerance: float) -> None:
    mean, covariance = moments(made, seen)
    exact_mean, exact = made.generative.exact(seen)  # type: ignore[operator]
    deviation = exact.diagonal(dim1=-2, dim2=-1).sqrt()
    assert ((mean - exact_mean).abs() / deviation < tolerance).all()
    scale = deviation.unsqueeze(-1) * deviation.unsqueeze(-2)
    assert ((covariance - exact).abs() / scale < 2 * tolerance).all()


def test_it_is_the_exact_posterior_of_a_linear_law(table: Lut, seen: Observation) -> None:
    holds(table, seen, 0.12)


def test_with_bands_missing_it_is_the_posterior_of_those_that_are_there(
    table: Lut, seen: Observation
) -> None:
    valid = torch.ones_like(seen.valid)
    valid[:6, 0] = valid[6:, 2:] = False
    holds(table, replace(seen, valid=valid, reflectance=seen.reflectance.where(valid, 0.9)), 0.12)


def test_rows_of_a_table_that_lack_bands_are_read() -> None:
    own = law(("B03", "B04", "B8A"))
    made, taught = Lut(own, entries=300), lesson(own, 400)
    made.learn(taught)
    seen = taught.simulations["validation"].seen.rows(slice(4))
    frame = pd.DataFrame(seen.reflectance.numpy(), columns=list(own.bands))
    frame[list(ANGLES)] = seen.geometry.numpy()
    frame = frame.assign(id=range(4), platform="S2A", B04=[np.nan, *frame["B04"][1:]])
    found = predict(made, frame, TableOptions(outputs=["lai"]))
    assert found["flags"].ne(MASKED).all() and found.notna().all().all()
    assert not predict(made, frame.drop(columns="B04"), TableOptions(outputs=["lai"])).isna().any().any()


def test_where_the_spectrum_says_much_the_nearest_entries_carry_the_weight() -> None:
    own = Linear(noise=0.004)
    sample = own.sample(12, seed=1)
    assert sample.truth is not None
    # Where the law is rare, so are its draws in a table.
    usual = sample.truth.abs().amax(-1) < 2
    seen = own.observe(sample.rows(usual), torch.Generator().manual_seed(2))
    few = Lut(own, entries=ENTRIES, nearest=6000, least=0.0)
    few.learn(Lesson({"train": own.sample(ENTRIES)}))
    holds(few, seen, 0.12)


def test_flattening_leaves_enough_entries_and_no_more() -> None:
    g = torch.Generator().manual_seed(0)
    # One steep problem, one flat one.
    raw = torch.stack([40.0 * torch.randn(500, generator=g), 0.1 * torch.randn(500, generator=g)], dim=1)
    found = flattened(raw, 20.0)
    torch.testing.assert_close(found.exp().sum(0), torch.ones(2))
    effective = 1.0 / found.exp().square().sum(0)
    assert 20.0 <= effective[0] < 20.6
    torch.testing.assert_close(found[:, 1], torch.log_softmax(raw[:, 1], 0))
    # The order of entries stays.
    assert torch.equal(found[:, 0].argsort(), raw[:, 0].argsort())


def test_another_geometry_or_satellite_counts_less() -> None:
    own = Linear()
    sample = own.sample(2000)
    away = torch.arange(2000) % 2 == 0
    geometry = sample.seen.geometry + torch.where(away[:, None], torch.tensor([25.0, 0.0, 0.0]), 0.0)
    made = Lut(own, nearest=500, least=0.0)
    made.learn(Lesson({"train": replace(sample, seen=replace(sample.seen, geometry=geometry))}))
    seen = own.sample(5, seed=4).seen
    assert not away[made.candidates(seen)].any()
    other = replace(sample.seen, platform=away.long())
    made.learn(Lesson({"train": replace(sample, seen=other)}))
    assert not away[made.candidates(seen)].any()


def test_a_law_without_noise_is_refused() -> None:
    class Silent(Linear):
        def __init__(self) -> None:
            super().__init__()
            del self.noise

    silent: Generative = Silent()
    with pytest.raises(ConfigError, match="weighs by noise"):
        Lut(silent)


def test_of_the_physics_it_keeps_the_first_simulations() -> None:
    own = law(("B03", "B04", "B8A"))
    made, taught = Lut(own, entries=300), lesson(own, 400)
    made.learn(taught)
    assert torch.equal(made.spectrum, taught.simulations["train"].seen.reflectance[:300])
    seen = own.observe(taught.simulations["validation"], torch.Generator().manual_seed(0)).rows(slice(4))
    z = made.posterior(seen).draw(30, torch.Generator().manual_seed(1)).z
    # Draws are entries, and explain what was seen about as well as noise lets them.
    assert (z.reshape(-1, 1, 11) == made.state).all(-1).any(-1).all()
    assert (made.fit(z, seen) < 4).all()
