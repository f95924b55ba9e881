"""The model of a season: dates summed, densities of trajectories, hidden dates that do not matter."""

from dataclasses import replace

import pytest
import torch
from linear_pixel import LinearPixel, season
from seasons import spoiled

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.generative._season import Season, by_date
from canopyflow.models.generative.contract import Generative
from canopyflow.models.priors.seasons.season_gp import SeasonGP
from canopyflow.observations.observation import Observation, Sample
from canopyflow.physics.priors import PRIORS, prior
from canopyflow.registry import GENERATIVE
from canopyflow.vocabulary import BANDS, PLATFORMS

DAY = torch.tensor([[20.0, 35.0, 100.0, 180.0], [5.0, 90.0, 95.0, 250.0]])


def built(name: str) -> tuple[Season, Observation]:
    """A season over a pixel model in float64, and two noisy seasons with hidden dates and bands."""
    base: Generative = LinearPixel() if name == "linear" else GENERATIVE.build(name, BANDS, PLATFORMS)
    model = Season(base, SeasonGP(base)).double()
    given = season(DAY, bands=base.bands)
    g = torch.Generator().manual_seed(0)
    clean = model.simulate(given, g)
    assert clean.truth is not None
    seen = model.observe(Sample(model.render(clean.truth.double(), given).seen, None, clean.noise_free), g)
    valid = torch.ones_like(seen.valid)
    valid[0, 1], valid[1, 3], valid[1, 0, :2] = False, False, False
    return model, replace(seen, valid=valid)


every_base = pytest.mark.parametrize("name", ["linear", "prosail", "field"])


def scores(model: Season, seen: Observation, n: int = 3) -> torch.Tensor:
    g = torch.Generator().manual_seed(4)
    return torch.stack([model.dynamics.sample(seen.day, g) for _ in range(n)]).double().clamp(-2.5, 2.5)


@every_base
def test_shapes_and_sums_over_dates(name: str) -> None:
    model, seen = built(name)
    w = scores(model, seen)
    law = model.prior(seen)
    z = law.to_physical(model.from_probit(w))
    assert z.shape == (3, 2, 4, len(model.space.names))
    assert model.decode(z, seen).shape == (3, 2, 4, len(model.bands))
    assert model.outputs(z, seen, ["lai"]).shape == (3, 2, 4, 1)
    for method in ("log_likelihood", "distance2"):
        total = getattr(model, method)(z, seen)
        assert total.shape == (3, 2)
        # Date by date, as pixels.
        for date in range(4):
            pixel = Observation(
                reflectance=seen.reflectance[:, date],
                valid=seen.valid[:, date],
                geometry=seen.geometry[:, date],
                platform=seen.platform[:, date],
                bands=seen.bands,
            )
            total = total - getattr(model.base, method)(z[..., date, :], pixel)
        torch.testing.assert_close(total, torch.zeros_like(total), atol=1e-7, rtol=0)
    assert model.fit(z, seen).shape == (2,)


@every_base
def test_density_in_all_coordinates_agrees(name: str) -> None:
    """In normal scores, on the base box, and in physical units: the Jacobians are those of the maps."""
    model, seen = built(name)
    w, law = scores(model, seen), model.prior(seen)
    u = model.from_probit(w)
    z = law.to_physical(u)
    torch.testing.assert_close(law.to_base(z), u)
    torch.testing.assert_close(model.to_probit(u), w, atol=1e-6, rtol=0)
    flat = w.reshape(-1, w.shape[-1])
    slope = torch.func.vmap(torch.func.jacrev(model.from_probit))(flat)
    log_det = torch.linalg.slogdet(slope).logabsdet.reshape(w.shape[:-1]).sum(-1)
    expected = model.dynamics.log_prob(w, seen.day) - log_det
    torch.testing.assert_close(law.log_prob_base(u), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(law.log_prob(z), expected - law.log_abs_det(u), rtol=1e-5, atol=1e-4)
    joint = model.log_joint(u, seen) + log_det
    torch.testing.assert_close(model.log_density(w, seen), joint, rtol=1e-5, atol=1e-4)


@every_base
def test_a_season_of_one_date_has_the_law_of_the_pixel(name: str) -> None:
    model, seen = built(name)
    one = seen.each(lambda t: t[:, :1])
    pixel = Observation(
        reflectance=one.reflectance[:, 0],
        valid=one.valid[:, 0],
        geometry=one.geometry[:, 0],
        platform=one.platform[:, 0],
        bands=one.bands,
    )
    u = model.from_probit(scores(model, one))
    torch.testing.assert_close(
        model.log_joint(u, one), model.base.log_joint(u[..., 0, :], pixel), atol=1e-5, rtol=1e-6
    )


@every_base
@pytest.mark.parametrize("garbage", [-3.0, 1e30, float("nan")])
def test_what_stands_at_a_hidden_date_changes_no_bit(name: str, garbage: float) -> None:
    model, seen = built(name)
    garbled = spoiled(seen, garbage)
    w = scores(model, seen)
    here, there = (w.clone().requires_grad_() for _ in range(2))
    one, two = model.log_density(here, seen), model.log_density(there, garbled)
    assert one.isfinite().all() and torch.equal(one, two)
    slopes = [torch.autograd.grad(v.sum(), at)[0] for v, at in ((one, here), (two, there))]
    assert slopes[0].isfinite().all() and torch.equal(*slopes)
    z = model.prior(seen).to_physical(model.from_probit(w))
    names = [v.name for v in model.estimates]
    for value in (lambda s: model.fit(z, s), lambda s: model.outputs(z, s, names)):
        assert torch.equal(value(seen), value(garbled)) and value(seen).isfinite().all()


def test_a_hidden_date_lies_under_the_sun_of_the_nearest_one_that_was_seen() -> None:
    """The mean of two equally near ones; that of a season of which nothing was seen is the same for all."""
    base = GENERATIVE.build("prosail", BANDS, PLATFORMS)
    day = torch.tensor([[50.0, 10.0, 14.0, 30.0], [50.0, 10.0, 14.0, 30.0]])
    seen = season(day, bands=base.bands)
    valid = torch.ones_like(seen.valid)
    # Day 14, by day 10; day 30, between days 10 and 50.
    valid[0, 2:], valid[1] = False, False
    filled = by_date(base, replace(seen, valid=valid)).geometry
    sun = seen.geometry
    torch.testing.assert_close(filled[0, :3], sun[0, [0, 1, 1]])
    torch.testing.assert_close(filled[0, 3], 0.5 * (sun[0, 0] + sun[0, 1]))
    assert filled[1].isfinite().all() and (filled[1] == filled[1, 0]).all()
    assert torch.equal(by_date(base, seen).geometry, sun)


@every_base
def test_a_removed_date_equals_a_hidden_one(name: str) -> None:
    model, seen = built(name)
    w = scores(model, seen)[:, :1]
    first, kept = seen.rows(slice(1)), torch.tensor([0, 2, 3])
    z = model.prior(seen).to_physical(model.from_probit(w))
    fewer = first.each(lambda t: t[:, kept])
    torch.testing.assert_close(
        model.log_likelihood(z[..., kept, :], fewer), model.log_likelihood(z, first), rtol=1e-9, atol=1e-9
    )


def test_an_unseen_season_is_the_prior() -> None:
    model, seen = built("prosail")
    nothing = replace(seen, valid=torch.zeros_like(seen.valid), geometry=seen.geometry * torch.nan)
    w = scores(model, seen)
    torch.testing.assert_close(model.log_density(w, nothing), model.dynamics.log_prob(w, seen.day))


@every_base
def test_linearisation_and_noise_go_by_date(name: str) -> None:
    model, seen = built(name)
    w = scores(model, seen)[0]
    value, jacobian = model.linearise(w, seen)
    assert value.shape == (2, 4, len(model.bands)) and jacobian.shape == (*value.shape, w.shape[-1])
    aside = torch.zeros_like(w)
    aside[1, 2, 0] = 1e-6
    law = model.prior(seen)
    ends = [model.decode(law.to_physical(model.from_probit(w + s * aside)), seen) for s in (1.0, -1.0)]
    slope = (ends[0] - ends[1]) / 2e-6
    torch.testing.assert_close(jacobian[1, 2, :, 0], slope[1, 2], rtol=1e-4, atol=1e-7)
    precision = model.noise_precision(value, seen.valid)
    assert (precision[0, 1] == 0.0).all() and (precision[1, 0, :2] == 0.0).all()
    residual = torch.where(seen.valid, seen.reflectance - value, 0.0)
    distance2 = torch.einsum("...i,...ij,...j->...", residual, precision, residual).sum(-1)
    torch.testing.assert_close(distance2, model.distance2(law.to_physical(model.from_probit(w)), seen))


def test_simulations_are_the_decoded_trajectories_and_noise_goes_where_there_is_none() -> None:
    model, seen = built("prosail")
    drawn = [model.simulate(seen, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert drawn[0].truth is not None and drawn[0].truth.shape == (2, 4, 11)
    assert torch.equal(drawn[0].truth, drawn[1].truth) and not torch.equal(drawn[0].truth, drawn[2].truth)
    assert torch.equal(drawn[0].seen.reflectance, model.decode(drawn[0].truth, seen))
    assert drawn[0].seen.view is seen.view and torch.equal(drawn[0].seen.day, seen.day)
    half = Sample(drawn[0].seen, drawn[0].truth, torch.tensor([True, False]))
    noisy = model.observe(half, torch.Generator().manual_seed(0))
    same = (noisy.reflectance == drawn[0].seen.reflectance).all(-1)
    assert not same[0].any() and same[1].all()
    again = model.prior(seen).sample(6, torch.Generator().manual_seed(0))
    assert again.shape == (6, 4, 11)
    with pytest.raises(DataError, match="5 draws of 2 seasons"):
        model.prior(seen).sample(5)


@pytest.mark.parametrize("name", PRIORS)
def test_normal_scores_of_the_pixel_law_are_normal(name: str) -> None:
    law = prior(name)
    u = law.to_base(law.sample(20_000, torch.Generator().manual_seed(0)).double())
    w = law.to_scores(u)
    assert w.mean(0).abs().max() < 0.04 and (w.std(0) - 1.0).abs().max() < 0.03
    line = torch.linspace(-5.0, 5.0, 101, dtype=torch.float64)[:, None].expand(101, 11)
    torch.testing.assert_close(law.to_scores(law.from_scores(line)), line, atol=2e-3, rtol=0)
    single = law.from_scores(line.float())
    torch.testing.assert_close(single.double(), law.from_scores(line), rtol=2e-3, atol=1e-6)
    assert (single >= law.lower).all() and (single <= law.upper).all()
    ends = torch.stack([law.lower, law.upper])
    assert law.to_scores(ends).isfinite().all()
    leaf = line.float().clone().requires_grad_()
    law.from_scores(leaf).sum().backward()
    assert leaf.grad is not None and leaf.grad.isfinite().all() and (leaf.grad >= 0).all()


def test_what_is_no_season_is_refused() -> None:
    model, seen = built("linear")
    with pytest.raises(DataError, match="needs its days"):
        model.prior()
    with pytest.raises(DataError, match="its days"):
        model.prior(replace(seen, day=None))

    class Tilted(LinearPixel):
        def prior(self, given=None):
            return prior("prosail-vae")

    tilted = Tilted()
    tilted.space = GENERATIVE.build("prosail", BANDS, PLATFORMS).space
    with pytest.raises(ConfigError, match="not uniform"):
        Season(tilted, SeasonGP(tilted))
