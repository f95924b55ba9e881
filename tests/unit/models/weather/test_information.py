"""Weather as information on clouded dates: against conditioning in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from linear_pixel import LinearPixel, conditioned, season, told, trajectories

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.estimators.sampled import Sampled
from canopyflow.models.generative._season import Season
from canopyflow.models.generative._season_density import season_density
from canopyflow.models.priors.seasons.season_gp import SeasonGP
from canopyflow.models.weather.information import Information, Informed, information, normal_scores
from canopyflow.observations.observation import Sample
from canopyflow.registry import SAMPLERS
from canopyflow.samplers import hmc, hmc_wide
from canopyflow.samplers._diagnosis import Diagnosis

DAY = torch.tensor([[20.0, 35.0, 100.0, 180.0]])


def setting():
    """A linear pixel, a season of four dates of which two are clouded, and its closed posterior."""
    base = LinearPixel().double()
    model = Season(base, SeasonGP(base)).double()
    given = season(DAY, bands=base.bands)
    g = torch.Generator().manual_seed(0)
    clean = model.simulate(given, g)
    seen = model.observe(Sample(model.render(clean.truth.double(), given).seen, None, clean.noise_free), g)
    valid = torch.ones_like(seen.valid)
    valid[0, 1], valid[0, 3] = False, False
    return base, model, replace(seen, valid=valid)


def drawn(mean: float, std: float) -> torch.Tensor:
    """Values on the unit interval whose normal scores have this law, (S, 1, 4)."""
    w = torch.randn(200_000, 1, 4, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return torch.special.ndtr(mean + std * w)


def test_what_weather_adds_is_its_law_over_the_priors() -> None:
    base, _, seen = setting()
    extra = information(base, "lai", drawn(0.8, 0.5), seen, memory=1e-9)
    assert extra.column == 0
    assert extra.precision[0].tolist() == pytest.approx([0.0, 3.0, 0.0, 3.0], rel=0.02)
    w = torch.linspace(-1.0, 2.0, 7, dtype=torch.double)
    states = torch.zeros(7, 1, 4, 3, dtype=torch.double)
    states[:, 0, 1, 0] = w
    normal = torch.distributions.Normal
    known = normal(0.8, 0.5).log_prob(w) - normal(0.0, 1.0).log_prob(w)
    found = extra.log_factor(states)[:, 0]
    assert (found - found[0]).numpy() == pytest.approx((known - known[0]).numpy(), abs=0.05)


def test_weather_that_knows_no_more_than_the_prior_changes_nothing() -> None:
    base, _, seen = setting()
    assert float(information(base, "lai", drawn(0.3, 1.2), seen).precision.abs().max()) == 0.0


def test_dates_whose_errors_are_alike_share_what_they_know() -> None:
    base, _, seen = setting()
    apart = information(base, "lai", drawn(0.8, 0.5), seen, memory=1e-9)
    alike = information(base, "lai", drawn(0.8, 0.5), seen, memory=1e9)
    assert torch.allclose(alike.precision, apart.precision / 2.0)
    assert torch.equal(alike.value, apart.value)


def posterior(model: Season, seen, extra: Information | None) -> torch.distributions.MultivariateNormal:
    """Of all dates × variables, by conditioning."""
    rows, values = (each[0] for each in told(model.base, seen))
    if extra is not None:
        size, dim = DAY.shape[1], len(model.space.names)
        weight = extra.precision[0].double().sqrt()
        further = torch.zeros(size, size, dim, dtype=torch.double)
        further[:, :, extra.column] = torch.diag(weight)
        rows = torch.cat([rows, further.flatten(1)])
        values = torch.cat([values, weight * extra.value[0].double()])
    return torch.distributions.MultivariateNormal(
        *conditioned(trajectories(model.dynamics, DAY)[0], rows, values)
    )


def test_an_informed_season_has_the_closed_posterior() -> None:
    base, model, seen = setting()
    extra = information(base, "lai", drawn(0.8, 0.5), seen)
    informed = Informed(base, model.dynamics, extra).double()
    w = 0.7 * torch.randn(6, 1, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    for season_model, known in ((model, None), (informed, extra)):
        found = season_model.log_density(w, seen)[:, 0]
        exact = posterior(model, seen, known).log_prob(w[:, 0].flatten(1))
        assert (found - found[0]).numpy() == pytest.approx((exact - exact[0]).numpy(), abs=1e-3)


def three_seasons():
    """Three seasons, each with clouds and weather of its own, and the model that is informed of them."""
    base, model, seen = setting()
    seen = seen.each(lambda tensor: torch.cat([tensor] * 3))
    valid = torch.ones_like(seen.valid)
    for season_, clouded in enumerate(([1, 3], [0, 2], [1, 2])):
        valid[season_, clouded] = False
    scaled = seen.reflectance * torch.tensor([1.0, 0.3, -0.7])[:, None, None]
    seen = replace(seen, valid=valid, reflectance=scaled)
    w = torch.randn(20_000, 3, 4, generator=torch.Generator().manual_seed(5), dtype=torch.double)
    laws = torch.tensor([[-0.8], [0.2], [1.1]]) + torch.tensor([[0.5], [0.3], [0.4]]) * w
    extra = information(base, "lai", torch.special.ndtr(laws), seen)
    return seen, extra, Informed(base, model.dynamics, extra).double()


def test_weather_follows_the_seasons_that_go_on() -> None:
    seen, _, informed = three_seasons()
    target = season_density(informed, seen)
    x = torch.randn(5, 3, 12, generator=torch.Generator().manual_seed(6), dtype=torch.double)
    for index in (torch.tensor([1]), torch.tensor([2, 0])):
        assert torch.allclose(target.rows(index).log_density(x[:, index]), target.log_density(x)[:, index])
    # Of rows that already are some.
    again = target.rows(torch.tensor([2, 1])).rows(torch.tensor([1]))
    assert torch.allclose(again.log_density(x[:, [1]]), target.log_density(x)[:, [1]])
    with pytest.raises(DataError, match="information for"):
        season_density(informed, seen.rows(slice(1))).log_density(x[:, :1])


def test_chains_of_one_season_run_on_alone_under_its_own_weather(monkeypatch) -> None:
    """The second of three does not pass after the first round; its draws are still those of its posterior."""
    seen, extra, informed = three_seasons()
    told = []

    def judged(draws):
        told.append(len(draws))
        numbers = np.ones(draws.shape[-1])
        return Diagnosis((2.0 if len(told) == 2 else 1.0) * numbers, 1e4 * numbers, 1e4 * numbers)

    monkeypatch.setattr(hmc, "diagnose", judged)
    monkeypatch.setattr(hmc_wide, "SCALING", (15,))
    monkeypatch.setattr(hmc_wide, "LEARNING", (15,))
    monkeypatch.setattr(hmc_wide, "SETTLING", 15)
    sampler = SAMPLERS.build("hmc_wide", rounds=3)
    draws = Sampled(informed, sampler).posterior(seen).draw(120, torch.Generator().manual_seed(0))
    assert told == [20, 20, 20, 40]
    w = informed.to_scores(draws.z)
    exact = posterior(informed, seen.rows(slice(1, 2)), extra.rows(slice(1, 2)))
    found = w[:, 1].flatten(1)
    assert ((found.mean(0) - exact.mean) / exact.stddev).numpy() == pytest.approx([0.0] * 12, abs=0.35)
    assert (found.std(0) / exact.stddev).numpy() == pytest.approx([1.0] * 12, abs=0.25)


def test_weighted_draws_are_draws_of_the_informed_posterior() -> None:
    base, model, seen = setting()
    extra = information(base, "lai", drawn(0.8, 0.5), seen)
    torch.manual_seed(3)
    draws = posterior(model, seen, None).sample((60_000,))
    w = draws.reshape(-1, 1, 4, 3)
    weight = extra.log_weights(w)[:, 0].exp().unsqueeze(-1)
    assert float(weight.sum()) == pytest.approx(1.0)
    exact = posterior(model, seen, extra)
    mean = (weight * draws).sum(0)
    spread = (weight * (draws - mean).square()).sum(0).sqrt()
    assert ((mean - exact.mean) / exact.stddev).numpy() == pytest.approx([0.0] * 12, abs=0.04)
    assert (spread / exact.stddev).numpy() == pytest.approx([1.0] * 12, abs=0.03)
    leaf_area = slice(None, None, 3)
    without = posterior(model, seen, None).stddev[leaf_area]
    assert float((exact.stddev[leaf_area] < without - 0.02).sum()) >= 2


def test_scores_of_prosail_are_those_of_its_law() -> None:
    from canopyflow.registry import GENERATIVE
    from canopyflow.vocabulary import BANDS, PLATFORMS

    for name in ("prosail", "field"):
        base = GENERATIVE.build(name, BANDS, PLATFORMS)
        column = base.space.names.index("lai")
        w = torch.linspace(-1.5, 1.5, 5)
        states = torch.zeros(5, len(base.space.names))
        states[:, column] = w
        lai = base.prior().to_physical(base.from_scores(states))[:, column]
        assert normal_scores(base, column, lai).numpy() == pytest.approx(w.numpy(), abs=2e-3)


def test_an_unknown_variable_is_named() -> None:
    base, _, seen = setting()
    with pytest.raises(ConfigError, match="'lay'"):
        information(base, "lay", drawn(0.0, 0.5), seen)
