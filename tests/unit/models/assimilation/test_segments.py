"""The learned denoiser: that of season_gp before training, its options kept with its weights."""

from types import SimpleNamespace

import pytest
import torch
from linear_pixel import LinearPixel

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.assimilation.denoisers import Composed, Gaussian
from canopyflow.models.assimilation.segments import SegmentDenoiser, read_denoiser, write_denoiser
from canopyflow.models.priors.seasons.contract import SeasonPrior
from canopyflow.models.priors.seasons.season_gp import SeasonGP

DAY = torch.tensor([[10.0, 22.0, 60.0], [100.0, 101.0, 180.0]])


def trained(base):
    """A network that says something."""
    denoiser = SegmentDenoiser(base, reach=1, width=16, layers=1)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=g))
    return denoiser


def test_before_training_it_is_the_denoiser_of_season_gp():
    base = LinearPixel()
    x = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    denoiser = SegmentDenoiser(base, reach=1, width=16, layers=1)
    for sigma in (0.01, 1.0, 40.0):
        expected, found = Gaussian(SeasonGP(base)).on(DAY)(x, sigma), denoiser.on(DAY)(x, sigma)
        assert torch.equal(found.mean, expected.mean)
        assert torch.equal(found.scale, torch.ones_like(x)) and expected.scale is None


def test_the_exact_denoiser_is_the_conditional_mean():
    dynamics = SeasonGP(LinearPixel())
    x = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    found, tie = Gaussian(dynamics).on(DAY)(x, 0.7).mean, dynamics.covariance(DAY)
    noisy = tie + 0.7**2 * torch.eye(3, dtype=torch.double)
    expected = torch.einsum("nkts,...nsk->...ntk", tie @ torch.linalg.inv(noisy), x)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_the_loss_of_season_gp_on_its_own_draws_is_one():
    base = LinearPixel()
    dynamics, g = SeasonGP(base), torch.Generator().manual_seed(0)
    day = DAY.repeat(2000, 1)
    w, sigma = dynamics.sample(day, g), torch.exp(torch.randn(4000, generator=g))
    of_mean, of_scale = SegmentDenoiser(base, reach=1, width=16, layers=1).loss(
        w, day, sigma, torch.randn(w.shape, generator=g)
    )
    assert float(of_mean.detach()) == pytest.approx(1.0, abs=0.03)
    assert float(of_scale.detach()) == pytest.approx(0.5, abs=0.015)


def test_the_score_of_scales_does_not_train_the_mean():
    base, g = LinearPixel(), torch.Generator().manual_seed(0)
    denoiser = SegmentDenoiser(base, reach=1, width=16, layers=1)
    w = torch.randn(2, 3, 3, generator=g)
    _, of_scale = denoiser.loss(w, DAY, torch.ones(2), torch.randn(w.shape, generator=g))
    of_scale.backward()
    of_mean, of_scales = denoiser.outward.bias.grad.view(2, -1)
    assert (of_mean == 0).all() and (of_scales != 0).all()


def test_one_segment_and_one_level_say_nothing_of_others():
    denoiser = trained(LinearPixel())
    x = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    both, alone = denoiser.on(DAY)(x, 0.5), denoiser.on(DAY[:1])(x[:1], 0.5)
    torch.testing.assert_close(both.mean[:1], alone.mean)
    torch.testing.assert_close(both.scale[:1], alone.scale)
    untrained = SegmentDenoiser(LinearPixel(), 1, 16, 1).on(DAY)(x, 0.5)
    assert (both.mean - untrained.mean).abs().max() > 0.01 < (both.scale - 1.0).abs().max()


def test_it_is_written_and_read(tmp_path):
    base = LinearPixel()
    denoiser = trained(base)
    write_denoiser(tmp_path / "denoiser", denoiser)
    x = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    again = read_denoiser(tmp_path / "denoiser", base)
    one, two = again.on(DAY)(x, 0.5), denoiser.on(DAY)(x, 0.5)
    assert torch.equal(one.mean, two.mean) and torch.equal(one.scale, two.scale) and again.least == 3
    with pytest.raises(DataError, match="is of lai, cab, rsoil"):
        read_denoiser(tmp_path / "denoiser", LinearPixel(("lai", "cab", "rsoil", "cw")))
    with pytest.raises(DataError, match="no denoiser"):
        read_denoiser(tmp_path, base)


class Drawn(SeasonPrior):
    def sample(self, day, generator=None):
        raise NotImplementedError


def test_what_has_no_closed_form_is_refused():
    with pytest.raises(ConfigError, match="Drawn is not normal"):
        Gaussian(Drawn(SimpleNamespace(space=SimpleNamespace(names=("lai",)))))
    with pytest.raises(ConfigError, match="reach must be at least 1"):
        Composed(trained(LinearPixel()), 0)
