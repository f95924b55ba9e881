"""A pixel under PROSAIL: platforms, noise, and the marginal of the entries that were seen."""

from dataclasses import replace

import pytest
import torch
from untrained import ANGLES, in_double, three_pixels, untrained

from canopyflow.models.generative.prosail import ProsailPixel
from canopyflow.observations.observation import Given, Sample
from canopyflow.physics import Prosail
from canopyflow.physics.light import Fapar, fcover
from canopyflow.physics.sail import campbell
from canopyflow.vocabulary import BANDS, NAMES, PLATFORMS

NOISE = {
    "additive_independent": 0.03,
    "additive_common": 0.05,
    "multiplicative_independent": 0.04,
    "multiplicative_common": 0.08,
}
"""Nothing like the default."""


def given(*platforms: str, bands: tuple[str, ...] = BANDS) -> Given:
    index = torch.tensor([PLATFORMS.index(name) for name in platforms])
    return Given(geometry=ANGLES[: len(platforms)], platform=index, bands=bands)


def test_mixed_platforms_decode_as_each_alone() -> None:
    model = ProsailPixel(BANDS, ("S2A", "S2B"))
    z = model.prior().sample(3, torch.Generator().manual_seed(0))
    draws, here = z.expand(4, 3, 11), given("S2A", "S2B", "S2A")
    mixed = model.decode(draws, here)
    for name in ("S2A", "S2B"):
        rows = here.platform == PLATFORMS.index(name)
        alone = model.decode(draws[:, rows], here.rows(rows))
        torch.testing.assert_close(mixed[:, rows], alone)
        single = ProsailPixel(BANDS, (name,)).decode(draws[:, rows], here.rows(rows))
        torch.testing.assert_close(mixed[:, rows], single, rtol=1e-4, atol=1e-5)
    assert not torch.equal(
        model.decode(draws, given("S2A", "S2A", "S2A")), model.decode(draws, given("S2B", "S2B", "S2B"))
    )


@pytest.mark.parametrize("platforms", [("S2C", "S2A"), ("S2A", "S2B", "S2C"), ("S2B",)])
def test_platforms_are_numbered_as_everywhere_whatever_the_model_lists(platforms: tuple[str, ...]) -> None:
    model = ProsailPixel(BANDS, platforms)
    z = model.prior().sample(1, torch.Generator().manual_seed(0))
    for name in platforms:
        want = Prosail(sensor=name, bands=BANDS)(z, ANGLES[:1])
        torch.testing.assert_close(model.decode(z, given(name)), want, rtol=1e-4, atol=1e-5)


def test_log_joint_is_likelihood_plus_prior() -> None:
    model = untrained()
    sample = three_pixels(model)
    assert sample.truth is not None
    g, z = model.generative, sample.truth
    u = g.prior().to_base(z)
    assert isinstance(g, ProsailPixel)
    likelihood = g.noise.log_prob(sample.seen.reflectance, g.decode(z, sample.seen))
    torch.testing.assert_close(g.log_joint(u, sample.seen), likelihood + g.prior().log_prob_base(u))
    physical = likelihood + g.prior().log_prob(z) + g.prior().log_abs_det(u)
    torch.testing.assert_close(g.log_joint(u, sample.seen), physical, rtol=1e-4, atol=1e-3)


def test_what_is_observed_scatters_as_the_campaign_says() -> None:
    """And as nothing else does: its covariance is that of the noise asked for, entry by entry."""
    model = ProsailPixel(("B03", "B08", "B11"), ("S2A",), noise=NOISE)
    g = torch.Generator().manual_seed(0)
    n = 60_000
    here = given("S2A", bands=model.bands)
    clean = model.simulate(here, g).rows(torch.zeros(n, dtype=torch.long))
    residual = (model.observe(clean, g).reflectance - clean.seen.reflectance).double()
    r = clean.seen.reflectance[0].double()
    want = torch.diag(0.03**2 + (0.04 * r) ** 2) + 0.05**2 + 0.08**2 * torch.outer(r, r)
    assert (residual.mean(0).abs() < 5 * (want.diag() / n).sqrt()).all()
    # Of a covariance of normal numbers: its entries' standard errors.
    error = ((want.square() + torch.outer(want.diag(), want.diag())) / n).sqrt()
    assert ((torch.cov(residual.T) - want).abs() < 5 * error).all()


def test_what_was_observed_keeps_its_own_noise() -> None:
    model = ProsailPixel(BANDS, ("S2A",), noise=NOISE)
    g = torch.Generator().manual_seed(0)
    sample = model.simulate(given("S2A", "S2A", "S2A"), g)
    mixed = Sample(sample.seen, sample.truth, torch.tensor([True, False, True]))
    changed = (model.observe(mixed, g).reflectance != sample.seen.reflectance).all(-1)
    assert changed.tolist() == [True, False, True]
    assert torch.equal(model.observe(mixed, g).reflectance[1], sample.seen.reflectance[1])


def test_the_likelihood_of_what_is_valid_is_the_dense_normal_marginal() -> None:
    model = ProsailPixel(BANDS, ("S2A",), noise=NOISE).double()
    g = torch.Generator().manual_seed(0)
    here = in_double(given("S2A", "S2A", "S2A"))
    z = model.prior().sample(3, g).double()
    seen = model.observe(model.render(z, here), g)
    valid = torch.rand(3, len(BANDS), generator=g) < 0.6
    partly = replace(seen, valid=valid)
    mean = model.decode(z, here)
    for i in range(3):
        keep = valid[i]
        assert 1 < keep.sum() < len(BANDS)
        covariance = model.noise.covariance(mean[i])[keep][:, keep]
        normal = torch.distributions.MultivariateNormal(mean[i, keep], covariance)
        x = seen.reflectance[i, keep]
        torch.testing.assert_close(model.log_likelihood(z, partly)[i], normal.log_prob(x))
        distance2 = (x - mean[i, keep]) @ torch.linalg.solve(covariance, x - mean[i, keep])
        torch.testing.assert_close(model.distance2(z, partly)[i], distance2)
        torch.testing.assert_close(model.fit(z[None], partly)[i], (distance2 / keep.sum()).sqrt())


EVERY = tuple(variable.name for variable in ProsailPixel(BANDS, ("S2A",)).estimates)


def test_outputs_are_computed_from_each_draw_under_the_sun_of_its_pixel() -> None:
    model = ProsailPixel(BANDS, ("S2A",), leaf="prospect-5b")
    here = given("S2A", "S2A", "S2A")
    z = model.prior().sample(12, torch.Generator().manual_seed(0)).reshape(4, 3, 11)
    out = dict(zip(EVERY, model.outputs(z, here, EVERY).unbind(-1), strict=True))
    for i, name in enumerate(NAMES):
        assert torch.equal(out[name], z[..., i]), name
    assert torch.equal(out["gai"], out["lai"])
    assert torch.equal(out["ccc"], out["lai"] * out["cab"]) and torch.equal(
        out["cwc"], out["lai"] * out["cw"]
    )
    for i, sun in enumerate(here.geometry[:, 0]):
        variables = z[:, i].T.contiguous()
        share = campbell(variables[NAMES.index("lidfa")])
        torch.testing.assert_close(out["fapar"][:, i], Fapar("prospect-5b")(variables, share, sun))
        torch.testing.assert_close(out["fcover"][:, i], fcover(variables[NAMES.index("lai")], share))
    some = ("fcover", "cab", "fapar", "fcover")
    torch.testing.assert_close(model.outputs(z, here, some), torch.stack([out[name] for name in some], -1))


def test_only_what_is_asked_for_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ProsailPixel(BANDS, ("S2A",))
    z, here = model.prior().sample(3, torch.Generator().manual_seed(0)), given("S2A", "S2A", "S2A")
    monkeypatch.setattr(model.fapar, "forward", None)
    assert model.outputs(z, here, ("fcover", "lai")).shape == (3, 2)
    monkeypatch.setattr("canopyflow.models.generative.prosail.campbell", None)
    assert model.outputs(z, here, ("ccc", "gai")).shape == (3, 2)
