"""Assimilation of seasons whose posterior is known in closed form: the issue's exact answers."""

from dataclasses import replace

import pytest
import torch
from linear_pixel import LinearPixel, conditioned, season, trajectories
from seasons import spoiled

from canopyflow.errors import DataError
from canopyflow.models.assimilation.denoisers import Composed, Denoised, Denoiser, Gaussian
from canopyflow.models.assimilation.target import Assimilated, Coarse, Plots, Problem, linearised, target
from canopyflow.models.generative._season import Season
from canopyflow.models.priors.seasons.season_gp import SeasonGP
from canopyflow.samplers.assimilation import Assimilation, Flow

DAY = torch.tensor([[12.0, 30.0, 41.0, 80.0, 95.0, 130.0, 170.0], [0.0, 9.0, 9.5, 60.0, 150.0, 151.0, 300.0]])


class Scores(LinearPixel):
    """Its estimates are the normal scores themselves, so that plots too are linear measurements."""

    def outputs(self, z, given, names):
        return LinearPixel.outputs(self, self.to_probit(z), given, names)


def problem(**parts):
    base = Scores()
    model = Season(base, SeasonGP(base))
    seen = season(DAY, dtype=torch.float32)
    valid = seen.valid.clone()
    valid[0, 2], valid[1, 4:6], valid[1, 0, :2] = False, False, False
    return Problem(model, replace(seen, valid=valid), **parts)


def exact(given: Problem):
    """Mean and covariance of each cell's normal scores, from what the target says at 0."""
    seen = given.seen
    prior = trajectories(given.model.dynamics, seen.day)
    at = linearised(given, torch.zeros(*seen.day.shape, len(given.model.space.names)))
    blocks = at.jacobian.double().unflatten(-3, (given.cell, seen.day.shape[1]))
    found = []
    for cell in range(len(seen) // given.cell):
        rows = [torch.block_diag(*blocks[cell].flatten(0, 1))]
        values = [at.residual[cell].double().flatten()]
        if at.wide_jacobian is not None:
            rows.append(at.wide_jacobian[cell].double())
            values.append(at.wide_residual[cell].double())
        own = prior[cell * given.cell : (cell + 1) * given.cell]
        found.append(conditioned(torch.block_diag(*own), torch.cat(rows), torch.cat(values)))
    return found


def plots():
    g = torch.Generator().manual_seed(5)
    valid = torch.zeros(2, 7, dtype=torch.bool)
    valid[0, 2], valid[1, 6] = True, True
    value = torch.where(valid, torch.randn(2, 7, generator=g), torch.nan)
    return Plots("lai", value, torch.where(valid, 0.2, torch.nan), valid)


def coarse():
    """A mean of both pixels over two dates, and one of the first pixel alone."""
    weight = torch.zeros(1, 2, 2, 7)
    weight[0, 0, :, 2:4] = 0.25
    weight[0, 1, 0, 5] = 1.0
    return Coarse("lai", torch.tensor([[0.7, -0.4]]), torch.tensor([[0.1, 0.3]]), weight)


def normal_scores(given: Problem, z):
    """(count, n, T, D) → (count, cells, P T D), double."""
    w = given.model.to_probit(z.double())
    return w.unflatten(-3, (-1, given.cell)).flatten(-3)


@pytest.mark.slow
@pytest.mark.parametrize("further", ["spectra", "all"])
def test_draws_are_those_of_the_closed_posterior(further):
    parts = {"spectra": {}, "all": {"plots": [plots()], "coarse": [coarse()], "cell": 2}}
    given = problem(**parts[further])
    sampler = Assimilation(steps=28, corrections=0)
    found = Assimilated(given, sampler).draw(4000, torch.Generator().manual_seed(2))
    assert found.z.shape == (4000, 2, 7, 3) and found.reliable.shape == (2,) and found.reliable.all()
    w = normal_scores(given, found.z)
    for cell, (mean, covariance) in enumerate(exact(given)):
        deviation = covariance.diagonal().sqrt()
        assert ((w[:, cell].mean(0) - mean) / deviation).abs().max() < 0.06
        ratio = w[:, cell].std(0) / deviation
        assert ratio.min() > 0.96 and ratio.max() < 1.04
        known = covariance / deviation / deviation[:, None]
        apart = torch.corrcoef(w[:, cell].T) - known
        # A variable on a date and on the next one: D places further.
        assert apart.diagonal(3).abs().max() < 0.07


@pytest.mark.parametrize("further", ["spectra", "plots", "coarse"])
def test_the_density_has_its_top_where_the_closed_posterior_has(further):
    """And its curvature: the target says the same to samplers that read densities."""
    parts = {"spectra": {}, "plots": {"plots": [plots()]}, "coarse": {"coarse": [coarse()], "cell": 2}}
    given = problem(**parts[further])
    posterior = exact(given)
    mean = torch.stack([each for each, _ in posterior]).float()
    g = torch.Generator().manual_seed(0)
    x = mean + 0.3 * torch.randn(6, *mean.shape, generator=g)
    found = target(given).log_density(x) - target(given).log_density(mean)
    for cell, (centre, covariance) in enumerate(posterior):
        off = x[:, cell].double() - centre
        expected = -0.5 * (off * torch.linalg.solve(covariance, off.T).T).sum(-1)
        torch.testing.assert_close(found[:, cell].double(), expected, rtol=2e-3, atol=2e-2)


def test_what_stands_under_invalid_entries_changes_no_bit():
    given = problem(plots=[plots()])
    one, two = (
        Assimilated(each, Assimilation(steps=4)).draw(3, torch.Generator().manual_seed(0)).z
        for each in (given, replace(given, seen=spoiled(given.seen, torch.nan)))
    )
    assert one.isfinite().all() and torch.equal(one, two)


class Long(Denoiser):
    """The exact denoiser, said to need more dates than there are."""

    least = 11

    def __init__(self, dynamics):
        self.inner, self.normal = Gaussian(dynamics), None

    def on(self, day):
        assert day.shape[-1] >= self.least
        return self.inner.on(day)


def test_further_dates_are_asked_about_where_the_denoiser_needs_them_and_change_nothing():
    given = problem(plots=[plots()])
    longer = replace(given, denoiser=Long(given.model.dynamics))
    problems = target(given), target(longer)
    x = torch.zeros(1, 2, 7 * 3), torch.zeros(1, 2, 11 * 3)
    # At much noise: the mean of the posterior itself.
    means = [Flow(each, 1e-6, 200).mean(at, 1e3) for each, at in zip(problems, x, strict=True)]
    torch.testing.assert_close(means[0], means[1][..., : 7 * 3], rtol=1e-3, atol=1e-3)
    z = Assimilated(longer, Assimilation(steps=4)).draw(3, torch.Generator().manual_seed(0)).z
    assert z.shape == (3, 2, 7, 3)


def test_order_of_dates_changes_nothing():
    given = problem()
    turn = torch.tensor([4, 0, 6, 2, 1, 5, 3])
    turned = replace(given, seen=given.seen.each(lambda t: t[:, turn]))
    for build in (Gaussian, lambda dynamics: Composed(Gaussian(dynamics), 1, dynamics)):
        denoiser = build(given.model.dynamics)
        x = torch.randn(1, 2, 7, 3, generator=torch.Generator().manual_seed(0))
        one, two = (
            Flow(target(replace(each, denoiser=denoiser)), 1e-6, 200).mean(at.flatten(-2), 0.7)
            for each, at in ((given, x), (turned, x[..., turn, :]))
        )
        torch.testing.assert_close(
            one.unflatten(-1, (7, 3))[..., turn, :], two.unflatten(-1, (7, 3)), rtol=1e-4, atol=1e-5
        )


def posterior_mean(given, denoiser, sigma=1.0):
    x = torch.randn(50, 2, 7 * 3, generator=torch.Generator().manual_seed(0))
    flow = Flow(target(replace(given, denoiser=denoiser)), 1e-5, 200)
    return flow.mean(x, sigma), flow


def test_shorter_segments_report_their_error():
    """Nearer the wider they are, and beside a normal prior of the whole window that is not quite theirs;
    exact where a segment is the whole window, and where the normal prior is theirs."""
    given = problem()
    segment, exact = Gaussian(given.model.dynamics), posterior_mean(given, None)[0]
    other = SeasonGP(given.model.base, constant={"lai": 0.3}, length={"cab": 25.0})

    def error(reach, whole):
        return float(
            (posterior_mean(given, Composed(segment, reach, whole))[0] - exact).square().mean().sqrt()
        )

    beside = [error(reach, other) for reach in (0, 1, 2, 3)]
    assert 0.1 > beside[0] > beside[1] > beside[2] > 0.003 and beside[3] < 1e-4
    assert error(1, given.model.dynamics) < 1e-4
    # As published: what the pixel keeps all season is lost.
    assert error(1, None) > 3.0 * beside[1]


def test_published_composition_is_known_to_be_no_covariance():
    given = problem()
    _, flow = posterior_mean(given, Composed(Gaussian(given.model.dynamics), 1), 3.0)
    assert flow.indefinite.max() > 0.0
    _, flow = posterior_mean(given, Composed(Gaussian(given.model.dynamics), 1, given.model.dynamics), 3.0)
    assert flow.indefinite.max() == 0.0


class Scaled(Denoiser):
    """The exact denoiser, and that a trajectory is wider by as much as its noisy one is high."""

    least = 3

    def __init__(self, dynamics):
        self.inner, self.normal = Gaussian(dynamics), dynamics

    def on(self, day):
        exact = self.inner.on(day)
        return lambda x, sigma: Denoised(exact(x, sigma).mean, 1.0 + x.square())


def test_scales_widen_the_covariance_of_the_normal_prior():
    given, sigma = problem(), 0.7
    dynamics, day = given.model.dynamics, given.seen.day
    x = torch.randn(5, 2, 7 * 3, generator=torch.Generator().manual_seed(0))
    tie = dynamics.covariance(day)
    left = tie - tie @ torch.linalg.inv(tie + sigma**2 * torch.eye(7)) @ tie
    scale = (1.0 + x.square()).unflatten(-1, (7, 3)).double()
    for denoiser in (Scaled(dynamics), Composed(Scaled(dynamics), 1, dynamics)):
        mean, covariance = target(replace(given, denoiser=denoiser)).denoiser(x, sigma)
        exact, none = target(given).denoiser(x, sigma)
        torch.testing.assert_close(mean, exact, rtol=1e-4, atol=1e-5)
        expected = scale * torch.einsum("nkts,...nsk->...ntk", left, scale * 0.3)
        found = covariance(torch.full_like(x, 0.3)).unflatten(-1, (7, 3)).double()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert none is None


def test_measurements_that_do_not_fit_are_refused_by_name():
    with pytest.raises(DataError, match="'gpp' is no estimate"):
        problem(plots=[replace(plots(), name="gpp")])
    with pytest.raises(DataError, match="2 seasons in cells of 3"):
        problem(cell=3)
    with pytest.raises(DataError, match="weights of lai"):
        problem(coarse=[replace(coarse(), weight=torch.zeros(1, 2, 2, 6))], cell=2)
    with pytest.raises(DataError, match="measurements of lai"):
        problem(plots=[replace(plots(), value=torch.zeros(2, 6))])
