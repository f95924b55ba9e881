"""What every generative model is held to, under whichever names there are."""

from dataclasses import replace

import pytest
import torch
from untrained import ANGLES, in_double

from canopyflow.models.generative.contract import Generative
from canopyflow.observations.observation import Given, Observation, Sample
from canopyflow.registry import GENERATIVE
from canopyflow.vocabulary import BANDS, DERIVED, LARGEST, PLATFORMS, VARIABLES

KEPT = ("B8A", "B03", "B12", "B05")
"""Not in the order of the sensor."""

every_model = pytest.mark.parametrize("name", sorted(GENERATIVE))


def scene(name: str, bands: tuple[str, ...] = BANDS) -> tuple[Generative, Sample]:
    """A model in float64 and three noisy observations by all platforms, with the states behind them."""
    model: Generative = GENERATIVE.build(name, bands, PLATFORMS).double()
    g = torch.Generator().manual_seed(0)
    given = in_double(Given(geometry=ANGLES, platform=torch.tensor([2, 0, 1]), bands=bands))
    z = model.prior(given).sample(3, g).double()
    clean = model.render(z, given)
    return model, Sample(model.observe(clean, g), z, clean.noise_free)


def points(model: Generative, sample: Sample, n: int = 4) -> torch.Tensor:
    """Probit coordinates (n, 3, D) around the states, within the box."""
    assert sample.truth is not None
    w = model.to_probit(model.prior(sample.seen).to_base(sample.truth)).clamp(-1.5, 1.5)
    g = torch.Generator().manual_seed(1)
    return w + 0.4 * torch.randn(n, *w.shape, generator=g, dtype=w.dtype)


def partly(seen: Observation) -> Observation:
    """Four bands of the first observation, all but those of the second, the third whole."""
    valid = torch.ones_like(seen.valid)
    kept = torch.tensor([band in KEPT for band in seen.bands])
    valid[0], valid[1] = kept, ~kept
    return replace(seen, valid=valid)


@every_model
def test_the_joint_is_likelihood_times_prior(name: str) -> None:
    model, sample = scene(name)
    prior, u = model.prior(sample.seen), model.from_probit(points(model, sample))
    z = prior.to_physical(u)
    likelihood = model.log_likelihood(z, sample.seen)
    torch.testing.assert_close(model.log_joint(u, sample.seen), likelihood + prior.log_prob_base(u))
    physical = likelihood + prior.log_prob(z) + prior.log_abs_det(u)
    torch.testing.assert_close(model.log_joint(u, sample.seen), physical)


@every_model
def test_outputs_lie_between_their_bounds_and_come_by_name(name: str) -> None:
    model, sample = scene(name)
    z = model.prior(sample.seen).to_physical(model.from_probit(points(model, sample)))
    known = {variable.name for variable in (*VARIABLES, *DERIVED)}
    names = [variable.name for variable in model.estimates]
    assert set(names) <= known and len(set(names)) == len(names)
    values = model.outputs(z, sample.seen, names)
    assert values.shape == (*z.shape[:-1], len(names)) and values.dtype == z.dtype
    for variable, value in zip(model.estimates, values.unbind(-1), strict=True):
        assert variable.upper <= LARGEST[variable.name]
        assert ((value >= variable.lower) & (value <= variable.upper)).all(), variable.name
        torch.testing.assert_close(model.outputs(z, sample.seen, [variable.name])[..., 0], value)
    # Under another sun another part of the light is absorbed; what a canopy is does not change.
    lower = replace(sample.seen, geometry=sample.seen.geometry + 10.0)
    changed = (model.outputs(z, lower, names) != values).reshape(-1, len(names)).any(0)
    assert [names[i] for i in changed.nonzero()[:, 0]] == ["fapar"]


@every_model
def test_the_density_in_probit_coordinates_carries_their_jacobian(name: str) -> None:
    """Up to one constant: what is left is the same at every point and for every observation."""
    model, sample = scene(name)
    w = points(model, sample)
    jacobian = torch.func.vmap(torch.func.jacrev(model.from_probit))(w.reshape(-1, w.shape[-1]))
    log_det = torch.linalg.slogdet(jacobian).logabsdet.reshape(w.shape[:-1])
    rest = model.log_density(w, sample.seen) - model.log_joint(model.from_probit(w), sample.seen) - log_det
    torch.testing.assert_close(rest, rest[:1, :1].expand_as(rest), rtol=1e-9, atol=1e-9)


@every_model
def test_probit_coordinates_lead_there_and_back(name: str) -> None:
    model, _ = scene(name)
    d = len(model.space.names)
    w = torch.linspace(-4.0, 4.0, 9, dtype=torch.float64)[:, None].expand(9, d)
    u = model.from_probit(w)
    torch.testing.assert_close(model.to_probit(u), w)
    torch.testing.assert_close(model.from_probit(model.to_probit(u)), u)
    lower, upper = model.space.lower.double(), model.space.upper.double()
    torch.testing.assert_close(model.from_probit(torch.zeros(d, dtype=torch.float64)), (lower + upper) / 2)
    assert ((u > lower) & (u < upper)).all() and (u.diff(dim=0) > 0).all()
    ends = torch.stack([lower, upper])
    assert model.to_probit(ends).isfinite().all()
    far = model.from_probit(torch.tensor([[-50.0], [50.0]]).expand(2, d))
    assert ((far >= model.space.lower) & (far <= model.space.upper)).all()


@every_model
def test_linearisation_is_that_of_finite_differences(name: str) -> None:
    model, sample = scene(name)
    w = points(model, sample)[0]

    def decoded(at: torch.Tensor) -> torch.Tensor:
        return model.decode(model.prior(sample.seen).to_physical(model.from_probit(at)), sample.seen)

    value, jacobian = model.linearise(w, sample.seen)
    assert jacobian.shape == (*w.shape[:-1], len(model.bands), w.shape[-1])
    assert not value.requires_grad and not jacobian.requires_grad
    torch.testing.assert_close(value, decoded(w))
    # Small: between the knots of a table.
    step = 1e-6
    for i in range(w.shape[-1]):
        aside = torch.zeros_like(w)
        aside[..., i] = step
        slope = (decoded(w + aside) - decoded(w - aside)) / (2 * step)
        torch.testing.assert_close(jacobian[..., i], slope, rtol=1e-4, atol=1e-7)


@every_model
@pytest.mark.parametrize("garbage", [0.0, -3.0, 1e30, float("inf"), float("nan")])
def test_what_stands_under_an_invalid_entry_changes_no_bit(name: str, garbage: float) -> None:
    model, sample = scene(name)
    seen = partly(sample.seen)
    spoiled = replace(seen, reflectance=seen.reflectance.where(seen.valid, garbage))
    w = points(model, sample)
    z = model.prior(seen).to_physical(model.from_probit(w))
    for value in (model.log_likelihood, model.distance2, model.fit):
        here, there = (z.clone().requires_grad_() for _ in range(2))
        one, two = value(here, seen), value(there, spoiled)
        assert one.isfinite().all() and torch.equal(one, two)
        slopes = [torch.autograd.grad(v.sum(), at)[0] for v, at in ((one, here), (two, there))]
        assert slopes[0].isfinite().all() and torch.equal(*slopes)
    assert torch.equal(model.log_density(w, seen), model.log_density(w, spoiled))


@every_model
def test_the_likelihood_of_some_bands_is_that_of_a_model_of_these_bands(name: str) -> None:
    model, sample = scene(name)
    fewer: Generative = GENERATIVE.build(name, KEPT, PLATFORMS).double()
    first = slice(0, 1)
    seen, alone = partly(sample.seen).rows(first), sample.seen.in_bands(KEPT).rows(first)
    z = model.prior(seen).to_physical(model.from_probit(points(model, sample)))[:, first]
    for method in ("log_likelihood", "distance2", "fit"):
        torch.testing.assert_close(getattr(model, method)(z, seen), getattr(fewer, method)(z, alone))
    turned = sample.seen.in_bands(BANDS[::-1])
    other: Generative = GENERATIVE.build(name, BANDS[::-1], PLATFORMS).double()
    z = z.expand(-1, 3, -1)
    torch.testing.assert_close(other.log_likelihood(z, turned), model.log_likelihood(z, sample.seen))


@every_model
@pytest.mark.parametrize("bands", [BANDS, ("B02", "B11", "B04")])
def test_the_truth_fits_by_one(name: str, bands: tuple[str, ...]) -> None:
    """Squared, and in the mean over noise: its expectation is one per valid band, for any number of them."""
    model, sample = scene(name, bands)
    n = 2000
    row = sample.rows(torch.full((n,), 1))
    assert row.truth is not None
    g = torch.Generator().manual_seed(2)
    seen = model.observe(model.render(row.truth, row.seen), g)
    for valid in (seen.valid, seen.valid & torch.tensor([i != 0 for i in range(len(bands))])):
        count = int(valid[0].sum())
        squared = model.fit(row.truth[None], replace(seen, valid=valid)).square()
        assert abs(squared.mean() - 1.0) < 5 * (2.0 / count / n) ** 0.5


@every_model
def test_the_fit_is_the_root_of_the_mean_over_draws(name: str) -> None:
    model, sample = scene(name)
    z = model.prior(sample.seen).to_physical(model.from_probit(points(model, sample)))
    for seen in (sample.seen, partly(sample.seen)):
        per_band = model.distance2(z, seen) / seen.valid.sum(-1)
        torch.testing.assert_close(model.fit(z, seen), per_band.mean(0).sqrt())


@every_model
def test_each_observation_is_judged_by_itself(name: str) -> None:
    model, sample = scene(name)
    z = model.prior(sample.seen).to_physical(model.from_probit(points(model, sample)))
    seen = partly(sample.seen)
    whole = model.log_likelihood(z, seen)
    for i in range(3):
        row = slice(i, i + 1)
        torch.testing.assert_close(model.log_likelihood(z[:, row], seen.rows(row)), whole[:, row])


@every_model
def test_simulations_are_the_decoded_states_of_the_prior(name: str) -> None:
    model, sample = scene(name)
    given = sample.seen
    drawn = [model.simulate(given, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    one, again, other = drawn
    assert one.truth is not None and again.truth is not None and other.truth is not None
    assert torch.equal(one.truth, again.truth) and not torch.equal(one.truth, other.truth)
    assert torch.equal(one.seen.reflectance, model.decode(one.truth, given))
    assert one.noise_free.all() and one.seen.complete and one.seen.platform.equal(given.platform)
    assert model.prior(given).log_prob(one.truth).isfinite().all()
