"""Every registered season prior under the laws of season priors, over every registered pixel model."""

import math

import pytest
import torch

from canopyflow.errors import ConfigError
from canopyflow.models.generative.contract import Generative
from canopyflow.models.priors.seasons.contract import SeasonPrior
from canopyflow.registry import GENERATIVE, SEASON_PRIORS
from canopyflow.vocabulary import BANDS, PLATFORMS

DAY = torch.tensor([[-30.0, 10.0, 150.0, 150.0, 420.0], [300.0, 5.0, 7.0, 120.0, 200.0]])
"""Beyond the year, twice on one day, and in any order."""

pytestmark = [
    pytest.mark.parametrize("name", sorted(SEASON_PRIORS)),
    pytest.mark.parametrize("pixel", sorted(GENERATIVE)),
]


def built(name: str, pixel: str) -> tuple[Generative, SeasonPrior]:
    base = GENERATIVE.build(pixel, BANDS, PLATFORMS)
    return base, SEASON_PRIORS.build(name, base)


def drawn(prior: SeasonPrior, seed: int, day: torch.Tensor = DAY) -> torch.Tensor:
    return prior.sample(day, torch.Generator().manual_seed(seed))


def test_draws_are_states_of_the_pixel_model_and_follow_the_seed(name: str, pixel: str) -> None:
    base, prior = built(name, pixel)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    day = DAY.repeat(50, 1)
    one, two, other = (drawn(prior, seed, day) for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert one.shape == (100, 5, len(base.space.names)) and one.dtype == torch.get_default_dtype()
    z = base.prior().to_physical(base.from_scores(one))
    assert base.prior().log_prob(z).isfinite().all()
    # Days of another type are the same days.
    assert torch.equal(drawn(prior, 3, day.long()), one)


def test_trajectories_are_nearer_to_themselves_than_to_others(name: str, pixel: str) -> None:
    base, prior = built(name, pixel)
    w = drawn(prior, 0, torch.tensor([[100.0, 103.0]]).expand(2000, -1))
    lai = w[..., base.space.names.index("lai")]
    within, between = (lai[:, 0] - lai[:, 1]).std(), (lai[:, 0] - lai[:, 1].roll(1)).std()
    assert within < 0.5 * between


def test_its_density_is_one_of_trajectories_or_is_refused(name: str, pixel: str) -> None:
    _, prior = built(name, pixel)
    w = torch.stack([drawn(prior, seed) for seed in range(3)]).double()
    if not prior.has_density:
        with pytest.raises(ConfigError, match="no density"):
            prior.log_prob(w, DAY)
        assert prior.root(DAY) is None
        return
    found = prior.log_prob(w, DAY)
    assert found.shape == (3, 2) and found.isfinite().all()
    torch.testing.assert_close(prior.log_prob(w[:, 1:], DAY[1:]), found[:, 1:])
    root = prior.root(DAY[1:])
    if root is not None:
        white = torch.linalg.solve_triangular(root, w[:, 1:].movedim(-1, -2).unsqueeze(-1), upper=False)
        log_det = root.diagonal(dim1=-2, dim2=-1).log().sum((-2, -1))
        constant = 0.5 * math.log(2.0 * math.pi) * w[0, 0].numel()
        expected = -0.5 * white.square().sum((-3, -2, -1)) - log_det - constant
        torch.testing.assert_close(found[:, 1:], expected)
