"""Training of denoisers: they learn what season_gp does not know, from seeds and checkpoints."""

import pytest
import torch
from linear_pixel import LinearPixel

from canopyflow.models.assimilation.denoisers import Smoother
from canopyflow.models.assimilation.segments import SegmentDenoiser
from canopyflow.models.priors.seasons.season_gp import SeasonGP
from canopyflow.training import denoiser
from canopyflow.training.denoiser import FIRST, LAST, DenoiserOptions, draw_segments, train_denoiser

SMALL = DenoiserOptions(reach=1, width=32, layers=1, steps=400, batch=128, rate=3e-3)


def law():
    """Not that of season_gp's own numbers."""
    base = LinearPixel()
    return base, SeasonGP(base, constant={"lai": 0.95, "rsoil": 0.0}, length={"lai": 5.0, "rsoil": 5.0})


def test_it_comes_near_the_exact_denoiser_of_another_law():
    base, dynamics = law()
    learned, history = train_denoiser(base, dynamics, SMALL, seed=1)
    w, day, sigma, noise = draw_segments(dynamics, 1000, 3, torch.Generator().manual_seed(9))
    error, spread = {}, {}
    true = Smoother(dynamics, day)
    exact, width = true.mean(w + sigma[:, None, None] * noise, sigma), true.deviation(sigma)
    w, noise = w[:, None], noise[:, None]
    for name, other in (("learned", learned), ("season_gp", SegmentDenoiser(base, 1, 8, 1))):
        with torch.no_grad():
            each = [other.on(day[i, None])(w[i] + sigma[i] * noise[i], float(sigma[i])) for i in range(1000)]
        mean, scale = (torch.cat(part) for part in zip(*((one.mean, one.scale) for one in each), strict=True))
        error[name] = float(((mean - exact) / width).square().mean())
        usual = Smoother(other.normal, day).deviation(sigma)
        spread[name] = ((w[:, 0] - mean) / (scale * usual)).square().mean((0, 1))
    assert error["learned"] < 0.3 * error["season_gp"]
    # Soil that changes within days is what season_gp does not expect.
    assert spread["season_gp"][2] > 3.0 and ((spread["learned"] - 1.0).abs() < 0.2).all()
    assert history[-1]["losses"][0] < history[0]["losses"][0]


def test_the_same_seed_gives_the_same_weights():
    base, dynamics = law()
    options = DenoiserOptions(reach=1, width=8, layers=1, steps=12, batch=8)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (train_denoiser(base, dynamics, options, seed)[0].state_dict() for seed in (2, 2, 3))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not all(torch.equal(one[k], other[k]) for k in one)


class Killed(Exception):
    """Stands in for a kill signal."""


def trained(dynamics, steps, monkeypatch, stop=None, checkpoint=None):
    """Weights of a small denoiser after training, and how many steps that took; ``stop``: of them it is
    killed in the last."""
    taken = []

    def counted(*given):
        # The draws that name the prior have a generator of their own, and are no step.
        if len(given) == 3:
            taken.append(given)
        if len(taken) == stop:
            raise Killed
        return draw_segments(*given)

    monkeypatch.setattr(denoiser, "draw_segments", counted)
    options = DenoiserOptions(reach=1, width=8, layers=1, steps=steps, batch=8)
    found, _ = train_denoiser(LinearPixel(), dynamics, options, seed=2, checkpoint=checkpoint)
    return found.state_dict(), len(taken)


def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(tmp_path, monkeypatch):
    dynamics = law()[1]
    undisturbed, steps = trained(dynamics, 210, monkeypatch)
    assert steps == 210
    with pytest.raises(Killed):
        trained(dynamics, 210, monkeypatch, stop=206, checkpoint=tmp_path / "c")
    resumed, steps = trained(dynamics, 210, monkeypatch, checkpoint=tmp_path / "c")
    assert steps == 10, "it goes on from its checkpoint"
    assert all(torch.equal(resumed[k], undisturbed[k]) for k in undisturbed)


def test_another_prior_does_not_get_the_denoiser_of_the_former(tmp_path, monkeypatch):
    base, dynamics = law()
    other = SeasonGP(base, constant={"lai": 0.95, "rsoil": 0.0}, length={"lai": 5.1, "rsoil": 5.0})
    for prior, expected in ((dynamics, 2), (dynamics, 0), (other, 2), (other, 0)):
        assert trained(prior, 2, monkeypatch, checkpoint=tmp_path / "c")[1] == expected


def test_segments_are_in_order_all_over_the_year():
    _, dynamics = law()
    w, day, sigma, noise = draw_segments(dynamics, 3000, 5, torch.Generator().manual_seed(0))
    assert w.shape == noise.shape == (3000, 5, 3) and sigma.shape == (3000,)
    gaps = day.diff(dim=-1)
    assert (gaps >= 0).all() and float(gaps.median()) == pytest.approx(7.5, abs=1.5)
    middle = day[:, 2]
    assert (middle >= FIRST).all() and (middle <= LAST).all() and middle.std() > 100.0
    assert (sigma < 0.01).any() and (sigma > 20.0).any()
