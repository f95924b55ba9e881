"""Posteriors of seasons under a linear pixel: exact by conditioning, and by Rauch, Tung and Striebel.

What is sampled is held against them: the smoother to 1e-5, chains within what their draws allow.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from linear_pixel import NOISE, LinearPixel, closed, season
from seasons import spoiled

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.estimators.sampled import Sampled, density
from canopyflow.models.generative._season import Season
from canopyflow.models.priors.seasons.season_gp import SeasonGP, behaviour
from canopyflow.models.simulate import SeasonSurvey, draw_seasons
from canopyflow.observations.observation import complete_pixels
from canopyflow.registry import GENERATIVE, SAMPLERS, SEASON_PRIORS
from canopyflow.samplers.smoother import mode
from canopyflow.vocabulary import BANDS

DAY = torch.tensor([[30.0, 10.0, 47.0, 90.0, 101.0, 180.0], [5.0, 12.0, 60.0, 64.0, 200.0, 210.0]])


def linear(names=("lai", "cab", "rsoil"), bands=("B02", "B03", "B04", "B08")):
    """A season over a linear pixel, in float64, and two seasons with hidden dates and bands."""
    base = LinearPixel(names, bands)
    model = Season(base, SeasonGP(base)).double()
    seen = season(DAY.double(), bands=bands)
    valid = torch.ones_like(seen.valid)
    valid[0, 1], valid[1, 4], valid[1, 0, :1] = False, False, False
    return model, replace(seen, valid=valid)


def rauch_tung_striebel(model, seen, row):
    """Mean and variance (T,) by date of one season of one variable, by filter and smoother over the days."""
    order = np.argsort(seen.day[row].numpy())
    c, length = behaviour(model.space.names[0])
    rate = math.sqrt(3.0) / length
    # State: the constant a, the process g and its slope; w = √c a + √(1 − c) g.
    stationary = np.diag([1.0, 1.0, rate**2])
    see = np.array([math.sqrt(c), math.sqrt(1.0 - c), 0.0])
    mean, covariance, day = np.zeros(3), stationary, None
    kept = []
    for t in order:
        moved = np.eye(3)
        if day is not None:
            gap = float(seen.day[row, t]) - day
            decay = math.exp(-rate * gap)
            moved[1:, 1:] = decay * np.array([[1 + rate * gap, gap], [-(rate**2) * gap, 1 - rate * gap]])
        ahead = moved @ mean
        spread = moved @ (covariance - stationary) @ moved.T + stationary
        mean, covariance, day = ahead, spread, float(seen.day[row, t])
        for b in seen.valid[row, t].nonzero().flatten().tolist():
            slope = float(model.base.sign(seen)[row, t] * model.base.design.double()[b, 0]) * see
            gain = covariance @ slope / (slope @ covariance @ slope + NOISE**2)
            mean = mean + gain * (float(seen.reflectance[row, t, b]) - slope @ mean)
            covariance = covariance - np.outer(gain, slope @ covariance)
        kept.append((moved, ahead, spread, mean, covariance))
    means, variances = np.zeros(len(order)), np.zeros(len(order))
    for step in range(len(order) - 1, -1, -1):
        if step < len(order) - 1:
            moved, ahead, spread = kept[step + 1][:3]
            back = kept[step][4] @ moved.T @ np.linalg.inv(spread)
            covariance = kept[step][4] + back @ (covariance - spread) @ back.T
            mean = kept[step][3] + back @ (mean - ahead)
        means[order[step]], variances[order[step]] = see @ mean, see @ covariance @ see
    return torch.from_numpy(means), torch.from_numpy(variances)


def smoothed(model, seen):
    """Mean and covariance of the smoother's normal distribution, in normal scores."""
    target = density(model, seen)
    found = mode(target, 100, torch.Generator().manual_seed(0))
    assert (found.decrement < 1e-6).all()
    mean = model.to_probit(target.outward(found.x)).flatten(1)
    # Small: the normal scores of the mode and of a place beside it, of which the map is linear.
    along = found.spread.permute(2, 0, 1)
    step = 1e-3
    moved = [model.to_probit(target.outward(found.x + s * step * along)).flatten(2) for s in (1.0, -1.0)]
    root = ((moved[0] - moved[1]) / (2 * step)).permute(1, 2, 0)
    return mean, root @ root.mT


@pytest.mark.parametrize("name", ["lai", "cab", "rsoil"])
def test_conditioning_is_the_smoother_of_rauch_tung_and_striebel(name):
    model, seen = linear((name,), ("B02", "B03"))
    mean, covariance = closed(model, seen)
    for row in range(2):
        means, variances = rauch_tung_striebel(model, seen, row)
        torch.testing.assert_close(mean[row], means, rtol=0, atol=1e-8)
        torch.testing.assert_close(covariance[row].diagonal(), variances, rtol=0, atol=1e-8)


def test_the_smoother_is_exact_where_all_is_normal():
    model, seen = linear()
    mean, covariance = closed(model, seen)
    found, spread = smoothed(model, seen)
    torch.testing.assert_close(found, mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(spread, covariance, rtol=0, atol=1e-5)


def compare(model, seen, name, means, deviations, correlations):
    """4,000 draws of a sampler beside the closed posterior; the bounds are in posterior deviations."""
    mean, covariance = closed(model, seen)
    deviation = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    sampler = SAMPLERS.build(name)
    drawn = Sampled(model, sampler).posterior(seen).draw(4000, torch.Generator().manual_seed(0))
    assert drawn.z.shape == (4000, 2, 6, 3) and drawn.reliable is not None and drawn.reliable.all()
    w = model.to_probit(drawn.z)
    flat = w.flatten(2)
    assert ((flat.mean(0) - mean) / deviation).abs().max() < means
    ratio = flat.std(0) / deviation
    assert 1.0 - deviations < ratio.min() and ratio.max() < 1.0 + deviations
    centred = (flat - flat.mean(0)) / flat.std(0)
    measured = torch.einsum("cni,cnj->nij", centred, centred) / 3999
    expected = covariance / (deviation[:, :, None] * deviation[:, None, :])
    assert (measured - expected).abs().max() < correlations
    return drawn


def test_draws_of_the_smoother_are_those_of_the_posterior():
    compare(*linear(), "smoother", 0.06, 0.04, 0.07)


@pytest.mark.slow
def test_chains_find_means_deviations_and_ties_between_dates():
    drawn = compare(*linear(), "hmc_wide", 0.06, 0.04, 0.07)
    assert (drawn.diagnosis["rhat"] < 1.01).all()


@pytest.mark.parametrize("name", ["smoother", "hmc_wide"])
def test_what_stands_at_a_hidden_date_changes_no_draw(name, monkeypatch):
    from canopyflow.samplers import hmc_wide

    monkeypatch.setattr(hmc_wide, "SCALING", (3,))
    monkeypatch.setattr(hmc_wide, "LEARNING", (8,))
    monkeypatch.setattr(hmc_wide, "SETTLING", 3)
    model, seen = linear()
    options = {} if name == "smoother" else {"rounds": 1}
    draws = [
        Sampled(model, SAMPLERS.build(name, **options))
        .posterior(s)
        .draw(20, torch.Generator().manual_seed(1))
        .z
        for s in (seen, spoiled(seen, torch.nan))
    ]
    assert torch.equal(*draws)


def test_a_removed_date_and_a_hidden_one_and_any_order_of_dates_are_the_same_posterior():
    model, seen = linear()
    one = seen.rows(slice(1))
    mean, spread = smoothed(model, one)
    kept = torch.tensor([5, 0, 3, 2, 4])
    fewer, fewer_spread = smoothed(model, one.each(lambda t: t[:, kept]))
    index = (kept[:, None] * 3 + torch.arange(3)).flatten()
    torch.testing.assert_close(fewer, mean[:, index], rtol=0, atol=1e-6)
    torch.testing.assert_close(fewer_spread, spread[:, index][:, :, index], rtol=0, atol=1e-6)


def test_a_season_of_one_date_is_the_pixel():
    model, seen = linear()
    one = seen.each(lambda t: t[:, 2:3])
    pixel = complete_pixels(one.reflectance[:, 0], one.geometry[:, 0], one.platform[:, 0], one.bands)
    for a, b in zip(smoothed(model, one), smoothed(model.base, pixel), strict=True):
        torch.testing.assert_close(a, b.double(), rtol=0, atol=2e-3)


def test_an_unknown_platform_is_refused_where_something_was_seen():
    model, seen = linear()
    model.platforms = ("S2A", "S2B")
    unknown = replace(seen, platform=torch.full_like(seen.platform, 2))
    with pytest.raises(DataError, match="'S2C' is unknown"):
        Sampled(model, SAMPLERS.build("smoother")).posterior(unknown)


@pytest.mark.parametrize("sampler", ["smoother", "hmc", "hmc_wide", "assimilation"])
def test_a_prior_without_a_density_is_refused(sampler):
    pixel = GENERATIVE.build("prosail", BANDS, ("S2A", "S2B"))
    model = Season(pixel, SEASON_PRIORS.build("season_curves", pixel))
    drawn = draw_seasons(model, SeasonSurvey(dates=3), n=1, seed=0)
    with pytest.raises(ConfigError, match="SeasonCurves has no density"):
        Sampled(model, SAMPLERS.build(sampler)).posterior(drawn.seen)
