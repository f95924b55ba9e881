"""Training of denoisers: they learn what season_gp does not know, from seeds and checkpoints."""

import pytest
import torch
from linear_pixel import LinearPixel

from canopyflow.models.assimilation.denoisers import Gaussian
from canopyflow.models.assimilation.segments import SegmentDenoiser
from canopyflow.models.priors.seasons.season_gp import SeasonGP
from canopyflow.training.denoiser import FIRST, LAST, DenoiserOptions, draw_segments, train_denoiser

SMALL = DenoiserOptions(reach=1, width=32, layers=1, steps=400, batch=128, rate=3e-3)


def law():
    """Not that of season_gp's own numbers."""
    base = LinearPixel()
    return base, SeasonGP(base, constant={"lai": 0.95, "rsoil": 0.0}, length={"lai": 5.0, "rsoil": 5.0})


def test_it_comes_near_the_exact_denoiser_of_another_law():
    base, dynamics = law()
    denoiser, history = train_denoiser(base, dynamics, SMALL, seed=1)
    w, day, sigma, noise = draw_segments(dynamics, 1000, 3, torch.Generator().manual_seed(9))
    w, noise = w[:, None], noise[:, None]
    error = {"learned": 0.0, "season_gp": 0.0}
    for i in range(300):
        x, level = w[i] + sigma[i] * noise[i], float(sigma[i])
        exact = Gaussian(dynamics).on(day[i, None])(x, level)
        for name, other in (("learned", denoiser), ("season_gp", SegmentDenoiser(base, 1, 8, 1))):
            found = other.on(day[i, None])(x, level).detach()
            error[name] += float((found - exact).square().mean())
    assert error["learned"] < 0.65 * error["season_gp"]
    assert history[-1]["losses"][0] < history[0]["losses"][0]


def test_the_same_seed_gives_the_same_weights_and_a_killed_run_goes_on(tmp_path):
    base, dynamics = law()
    options = DenoiserOptions(reach=1, width=8, layers=1, steps=12, batch=8)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = train_denoiser(base, dynamics, options, seed=2)[0].state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    two = train_denoiser(base, dynamics, options, seed=2, checkpoint=tmp_path / "c")[0].state_dict()
    three = train_denoiser(base, dynamics, options, seed=2, checkpoint=tmp_path / "c")[0].state_dict()
    other = train_denoiser(base, dynamics, options, seed=3)[0].state_dict()
    assert all(torch.equal(one[k], two[k]) and torch.equal(one[k], three[k]) for k in one)
    assert not all(torch.equal(one[k], other[k]) for k in one)


def test_segments_are_in_order_all_over_the_year():
    _, dynamics = law()
    w, day, sigma, noise = draw_segments(dynamics, 3000, 5, torch.Generator().manual_seed(0))
    assert w.shape == noise.shape == (3000, 5, 3) and sigma.shape == (3000,)
    gaps = day.diff(dim=-1)
    assert (gaps >= 0).all() and float(gaps.median()) == pytest.approx(7.5, abs=1.5)
    middle = day[:, 2]
    assert (middle >= FIRST).all() and (middle <= LAST).all() and middle.std() > 100.0
    assert (sigma < 0.01).any() and (sigma > 20.0).any()
