"""Summaries of the posteriors of pixels, against exact answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from untrained import prior_pixels, surveyed, untrained

from canopyflow.errors import ConfigError
from canopyflow.inference.summaries import Wanted, summarise
from canopyflow.models import fused as fused_layers
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.estimators.refined import refined
from canopyflow.models.simulate import Survey, draw
from canopyflow.models.statistics import statistics_of_draws
from canopyflow.observations.observation import Observation
from canopyflow.samplers.contract import Draws
from canopyflow.training.ranges import reflectance_range
from canopyflow.vocabulary import (
    BANDS,
    INPUT_OUTSIDE_PHYSICS,
    MISFIT,
    NAMES,
    OUT_OF_DOMAIN,
    OUTPUTS,
    STATISTICS,
)


@pytest.fixture(scope="module")
def model() -> Amortised:
    return untrained()


@pytest.fixture
def own(model: Amortised) -> Amortised:
    """A model whose ``meta`` a test may change."""
    copy = untrained()
    copy.meta = dict(model.meta)
    return copy


def test_statistics_agree_with_numpy() -> None:
    draws = np.random.default_rng(0).gamma(2.0, size=(5, 3, 101)).astype(np.float32)
    stats = statistics_of_draws(draws)
    assert stats.shape == (5, 3, len(STATISTICS)) and STATISTICS[:3] == ("mean", "std", "q05")
    np.testing.assert_allclose(stats[..., 0], draws.mean(-1), rtol=1e-5)
    np.testing.assert_allclose(stats[..., 1], draws.std(-1), rtol=1e-5)
    for column, p in enumerate((0.05, 0.25, 0.5, 0.75, 0.95), start=2):
        np.testing.assert_allclose(
            stats[..., column], np.quantile(draws, p, axis=-1, method="weibull"), rtol=1e-5
        )


def test_intervals_of_a_perfect_posterior_cover_what_they_say() -> None:
    """Truth and a hundred draws of one distribution: 90 % of truths lie from q05 to q95, half from q25 to
    q75."""
    rng = np.random.default_rng(0)
    inside = {("q05", "q95"): 0, ("q25", "q75"): 0}
    for _ in range(40):
        stats = statistics_of_draws(rng.normal(size=(2500, 1, 100)).astype(np.float32))[:, 0]
        truth = rng.normal(size=2500)
        for low, high in inside:
            lower, upper = (stats[:, STATISTICS.index(name)] for name in (low, high))
            inside[low, high] += int(((truth >= lower) & (truth <= upper)).sum())
    assert abs(inside["q05", "q95"] / 100_000 - 0.9) < 0.005
    assert abs(inside["q25", "q75"] / 100_000 - 0.5) < 0.01


def test_quantiles_of_few_draws_are_their_extremes() -> None:
    stats = statistics_of_draws(np.arange(5, dtype=np.float32).reshape(1, 1, 5))[0, 0]
    assert [stats[STATISTICS.index(name)] for name in ("q05", "q50", "q95")] == [0, 2, 4]


def test_summary_is_that_of_joint_draws(model: Amortised) -> None:
    """ccc comes from joint draws: its mean is that of lai*cab draw by draw, not of the product of means."""
    seen = prior_pixels(model, 6)
    summary = summarise(model, seen, Wanted(samples=400), 3)
    assert (
        summary.stats.shape == (6, len(OUTPUTS), 7)
        and summary.fit.shape == (6,)
        and summary.flags.dtype == np.uint8
    )
    assert summary.ess is None
    z = model.posterior(seen).rsample((20000,), torch.Generator().manual_seed(9))
    ccc = (z[..., NAMES.index("lai")] * z[..., NAMES.index("cab")]).mean(0).numpy()
    spread = summary.stats[:, OUTPUTS.index("ccc"), 1] / np.sqrt(400)
    assert (np.abs(summary.stats[:, OUTPUTS.index("ccc"), 0] - ccc) < 5 * spread).all()
    assert (np.diff(summary.stats[..., 2:], axis=-1) >= 0).all()


def test_summaries_are_reproducible_and_leave_the_global_generator_alone(model: Amortised) -> None:
    seen = prior_pixels(model, 40)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = summarise(model, seen, Wanted(samples=16), 3)
    assert torch.equal(before, torch.random.get_rng_state())
    two = summarise(model, seen, Wanted(samples=16), 3)
    assert np.array_equal(one.stats, two.stats) and np.array_equal(one.fit, two.fit)
    other = summarise(model, seen, Wanted(samples=16), 4)
    assert not np.array_equal(one.stats, other.stats)


def test_pieces_of_work_have_random_numbers_of_their_own(model: Amortised) -> None:
    """The same pixel in two pieces is drawn twice, not once and copied."""
    seen = prior_pixels(model, 1).rows(torch.zeros(8, dtype=torch.long))
    stats = summarise(model, seen, Wanted(samples=16, batch_pixels=4)).stats
    assert not np.array_equal(stats[:4], stats[4:])


def test_bands_in_another_order_and_further_ones_give_the_same(own: Amortised) -> None:
    seen = prior_pixels(own, 12)
    # Bounds of one band alone, beyond which some of its pixels lie.
    lower, upper = [-0.05] * len(BANDS), [0.9] * len(BANDS)
    upper[BANDS.index("B8A")] = float(seen.reflectance[:, BANDS.index("B8A")].median())
    own.meta["reflectance_range"] = {"lower": lower, "upper": upper}
    expected = summarise(own, seen, Wanted(samples=16))
    assert 0 < (expected.flags & INPUT_OUTSIDE_PHYSICS > 0).sum() < 12
    other = ("B01", *BANDS[::-1])
    found = summarise(
        own,
        replace(
            seen,
            bands=other,
            reflectance=torch.cat([torch.full((12, 1), 9.0), seen.reflectance.flip(-1)], -1),
            valid=torch.ones(len(seen), 11, dtype=torch.bool),
        ),
        Wanted(samples=16),
    )
    for name in ("stats", "fit", "flags"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_flags_tell_foreign_spectra(model: Amortised) -> None:
    seen = prior_pixels(model, 3)
    x = seen.reflectance.clone()
    x[1] = torch.tensor([0.9, 0.02] * 5)
    x[2, 8] = 0.95
    summary = summarise(model, replace(seen, reflectance=x.clip(1e-4, 1)), Wanted(samples=16))
    assert summary.fit[1] > 3 and summary.flags[1] & MISFIT
    assert summary.flags[0] & INPUT_OUTSIDE_PHYSICS == 0 and summary.flags[2] & INPUT_OUTSIDE_PHYSICS
    with pytest.raises(ConfigError, match="did you mean 'ccc'"):
        summarise(model, seen, Wanted(["cccc"]))


def test_own_simulations_are_inside_the_physics(own: Amortised) -> None:
    """Noise goes below zero, and so do the stored bounds."""
    drawn = draw(own.generative, Survey(), 2000, 0)
    first, other = (own.generative.observe(drawn, torch.Generator().manual_seed(i)) for i in (0, 1))
    own.meta["reflectance_range"] = reflectance_range(first.reflectance)
    assert (other.reflectance < 0).any(1).float().mean() > 0.02
    summary = summarise(own, other, Wanted(samples=8))
    assert ((summary.flags & INPUT_OUTSIDE_PHYSICS) > 0).mean() < 0.003
    for value in (-0.1, 1.1):
        foreign = other.rows(slice(9))
        foreign.reflectance[:, 3] = value
        flags = summarise(own, foreign, Wanted(samples=8)).flags
        assert (flags & INPUT_OUTSIDE_PHYSICS > 0).all()


def test_a_geometry_outside_the_simulations_is_out_of_domain(own: Amortised) -> None:
    own.meta["fit_threshold"] = 1e9
    angles = torch.tensor(
        [[40, 5, 90], [65.9, 5, 90], [66.1, 5, 90], [18.9, 5, 90], [40, 12.9, 90], [40, 13.1, 90], [40, 0, 0]]
    )
    flags = summarise(own, replace(prior_pixels(own, 7), geometry=angles), Wanted(samples=8)).flags
    assert ((flags & OUT_OF_DOMAIN) > 0).tolist() == [False, False, True, True, False, True, False]


def test_a_spectrum_that_the_domain_does_not_hold_is_out_of_domain(own: Amortised) -> None:
    """Drawn or refined, however well it fits: where the network says so, and nowhere else."""
    seen = surveyed(own, 700)
    odds = own.domain(seen)
    own.domain.limits[len(BANDS)] = limit = odds.quantile(0.9)
    own.meta["fit_threshold"] = 1e9
    for estimator in (own, refined(own, "importance", 10, 1.0)):
        flags = summarise(estimator, seen, Wanted(samples=8)).flags
        np.testing.assert_array_equal((flags & OUT_OF_DOMAIN) > 0, (odds > limit).numpy())
    assert not (flags & MISFIT).any()


def test_zero_is_no_reflectance(own: Amortised) -> None:
    """The digital number of no data, in one band of a table; not where the band counts as missing."""
    seen = surveyed(own, 3)
    x, valid = seen.reflectance.clone().clamp_min(1e-4), seen.valid.clone()
    x[1, 6] = x[2, 6] = 0.0
    valid[2, 6] = False
    own.meta["fit_threshold"] = 1e9
    knowing = Knowing(own, torch.full((3, len(NAMES)), 0.5))
    knowing.meta = own.meta
    flags = summarise(knowing, replace(seen, reflectance=x, valid=valid), Wanted(samples=1)).flags
    assert ((flags & INPUT_OUTSIDE_PHYSICS) > 0).tolist() == [False, True, False]


def test_a_misfit_is_as_rare_whatever_bands_there_are(model: Amortised) -> None:
    """The fit of the truth over few bands scatters more, and its threshold is higher."""
    drawn = draw(model.generative, Survey(), 40_000, 4)
    whole = model.generative.observe(drawn, torch.Generator().manual_seed(0))
    assert drawn.truth is not None
    knowing = Knowing(model, drawn.truth)
    fit = summarise(knowing, whole, Wanted(("lai",), ("mean",), samples=1, batch_pixels=40_000)).fit
    knowing.meta = {"fit_threshold": float(np.quantile(fit, 0.99))}
    for count in (10, 6, 2):
        valid = torch.arange(len(BANDS)).expand(whole.valid.shape) < count
        seen = replace(whole, valid=valid)
        found = summarise(knowing, seen, Wanted(("lai",), ("mean",), samples=1, batch_pixels=40_000))
        assert ((found.flags & MISFIT) > 0).mean() == pytest.approx(0.01, abs=0.002), count


class Knowing(Estimator):
    """Knows the truth of one sample, and nothing of any training."""

    def __init__(self, model: Amortised, truth: Tensor) -> None:
        self.generative, self.meta, self.truth = model.generative, {}, truth

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def posterior(self, seen: Observation) -> "Knowing":
        return self

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draws:
        return Draws(self.truth.expand(count, *self.truth.shape))


def test_the_fit_of_the_truth_is_the_distance_in_units_of_the_noise(model: Amortised) -> None:
    """By the full covariance matrix; its mean square is one, which is what makes it a unit."""
    drawn = draw(model.generative, Survey(), 3000, 4)
    seen = model.generative.observe(drawn, torch.Generator().manual_seed(0))
    assert drawn.truth is not None
    found = summarise(Knowing(model, drawn.truth), seen, Wanted(samples=1, batch_pixels=3000)).fit
    clean = drawn.seen.reflectance.double()
    residual = seen.reflectance.double() - clean
    covariance = model.generative.noise.covariance(clean)
    distance2 = (residual * torch.linalg.solve(covariance, residual)).sum(-1)
    np.testing.assert_allclose(found, (distance2 / len(BANDS)).sqrt().numpy(), rtol=2e-3, atol=1e-3)
    assert np.mean(found**2) == pytest.approx(1.0, abs=0.02)


def test_bands_that_were_not_seen_have_no_part_in_fit_and_flags(model: Amortised) -> None:
    drawn = draw(model.generative, Survey(), 3000, 4)
    whole = model.generative.observe(drawn, torch.Generator().manual_seed(0))
    assert drawn.truth is not None
    valid = torch.arange(len(BANDS)) % 2 == 0
    knowing = Knowing(model, drawn.truth)
    knowing.meta = {"reflectance_range": {"lower": [-0.05] * 10, "upper": [0.9] * 10}}

    def half(filling: float) -> Observation:
        seen = whole.reflectance.where(valid, torch.tensor(filling))
        return replace(whole, reflectance=seen, valid=valid.expand(3000, len(BANDS)))

    one, two = (summarise(knowing, half(f), Wanted(samples=1, batch_pixels=3000)) for f in (0.0, 7.0))
    assert np.mean(one.fit**2) == pytest.approx(1.0, abs=0.03)
    np.testing.assert_array_equal(one.fit, two.fit)
    np.testing.assert_array_equal(one.flags, two.flags)
    outside = ((whole.reflectance < -0.06) | (whole.reflectance > 0.91)) & valid
    np.testing.assert_array_equal(one.flags > 0, outside.any(-1).numpy())


@pytest.fixture
def learning() -> Amortised:
    """A model with a network for its summaries, random and declared good, that knows where it may be
    trusted."""
    own = untrained(summaries={"width": 8})
    head, pixels = own.head, surveyed(own, 500)
    assert head is not None
    head.standardise(pixels, own.generative.outputs(own.generative.prior().sample(500), pixels, head.names))
    head.limit(pixels)
    own.meta = {**own.meta, "summaries": {"passed": True, "fit_trusted": 1e9}, "fit_threshold": 1e9}
    return own


def test_learned_summaries_are_taken_where_they_are_trusted_and_drawn_elsewhere(
    learning: Amortised,
) -> None:
    seen = surveyed(learning, 60, seed=1)
    x, angles = seen.reflectance.clone(), seen.geometry.clone()
    x[3], angles[5, 0] = torch.tensor([0.9, 0.02] * 5), 80.0
    seen = replace(seen, reflectance=x, geometry=angles)
    wanted = Wanted(("fapar", "lai"), ("std", "q95"), samples=16)
    found = summarise(learning, seen, wanted, 3)
    learned = learning.learned(seen, wanted.outputs, wanted.statistics)
    trusted = learned.trusted.numpy()
    assert not trusted[3] and not trusted[5] and trusted.sum() > 40 and found.drawn == (~trusted).sum()
    np.testing.assert_array_equal(found.stats[trusted], learned.stats.numpy().T[trusted])
    np.testing.assert_array_equal(found.fit[trusted], learned.fit.numpy()[trusted])
    drawn = summarise(learning, seen.rows(torch.from_numpy(~trusted)), replace(wanted, summaries="drawn"), 3)
    np.testing.assert_array_equal(found.stats[~trusted], drawn.stats)
    assert found.flags[5] & OUT_OF_DOMAIN


def test_all_is_drawn_where_it_is_asked_for_or_the_network_is_not_good_enough(learning: Amortised) -> None:
    seen = surveyed(learning, 8)
    drawn = summarise(learning, seen, Wanted(summaries="drawn", samples=16), 3)
    learning.meta["summaries"] = {"passed": False}
    found = summarise(learning, seen, Wanted(samples=16), 3)
    assert drawn.drawn == found.drawn == 8
    np.testing.assert_array_equal(found.stats, drawn.stats)


def test_a_fit_that_the_network_calls_bad_is_drawn(learning: Amortised) -> None:
    seen = surveyed(learning, 30)
    fit = learning.learned(seen, ("lai",), ("mean",)).fit
    learning.meta["summaries"] = {"passed": True, "fit_trusted": float(fit.median())}
    trusted = learning.learned(seen, ("lai",), ("mean",)).trusted
    assert not trusted[fit > fit.median()].any()


def test_the_fused_layers_are_the_layers(learning: Amortised, monkeypatch: pytest.MonkeyPatch) -> None:
    head = learning.head
    assert head is not None
    inputs = head.inputs(surveyed(learning, 100))
    fused = head.hidden(inputs)
    monkeypatch.setattr(fused_layers, "_HAS_FUSED", False)
    torch.testing.assert_close(head.hidden(inputs), fused, rtol=1e-5, atol=1e-5)
