"""Objectives: what each loss is, and that its gradient is what it claims."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from untrained import SMALL

from canopyflow.errors import ConfigError
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.priors.contract import FamilyPrior
from canopyflow.observations.observation import Given, Sample
from canopyflow.physics.priors import LAI
from canopyflow.posteriors import build
from canopyflow.registry import FAMILIES, OBJECTIVES, PRIORS
from canopyflow.training.objectives.beta_elbo import BetaElbo
from canopyflow.training.objectives.contract import Objective, divergence_terms
from canopyflow.training.objectives.iwae import Iwae
from canopyflow.training.objectives.predictive_nll import _lai_divergence

BANDS = ("B02", "B03", "B04", "B08", "B11")


def model_and_batch(
    family: str = "truncated_normal", n: int = 3, noise: dict[str, float] | None = None, **options: Any
) -> tuple[Amortised, Sample]:
    torch.manual_seed(0)
    model = Amortised(
        ModelOptions(
            family,
            BANDS,
            ("S2A",),
            encoder_options=options.pop("encoder_options", SMALL),
            generative_options={"noise": noise or {}} | options.pop("generative_options", {}),
            **options,
        )
    )
    g = torch.Generator().manual_seed(1)
    given = Given(
        geometry=torch.tensor([[35.0, 5.0, 90.0]]).expand(n, 3),
        platform=torch.zeros(n, dtype=torch.long),
        bands=BANDS,
    )
    clean = model.generative.simulate(given, g)
    return model, Sample(model.generative.observe(clean, g), clean.truth, clean.noise_free)


def gradient(model: Amortised, loss: Tensor) -> Tensor:
    """Of the loss by the weights of the first encoder layer, flat."""
    weights = dict(model.encoder.named_parameters())["first.weight"]
    return torch.autograd.grad(loss.mean(), weights)[0].flatten()


def gradients_by_features(
    model: Amortised, batch: Sample, loss: Callable[[Amortised, Sample], Tensor], n: int
) -> Tensor:
    """``n`` independent draws of the gradient by the features of the first pixel, (n, features).

    One pass over n copies of the pixel: the features of each copy have a gradient of their own.
    """
    kept: list[Tensor] = []
    hook = model.encoder.register_forward_hook(lambda module, inputs, output: kept.append(output))
    torch.manual_seed(0)
    value = loss(model, batch.rows(torch.zeros(n, dtype=torch.long)))
    hook.remove()
    return torch.autograd.grad(value.sum(), kept[0])[0]


QUIET = {"additive_independent": 0.3, "additive_common": 0.0}
"""So much noise that an untrained posterior is near the true one and the plain gradient's variance small."""


def plain_iwae(model: Amortised, batch: Sample, samples: int) -> Tensor:
    q = model.posterior(batch.seen)
    u, log_q = q.base.rsample_and_log_prob((samples,))
    return math.log(samples) - torch.logsumexp(q.base_log_joint(u) - log_q, dim=0)


@pytest.mark.parametrize("family", ["truncated_normal", "nsf", "auxiliary"])
@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_trains_every_kind_of_family(name: str, family: str) -> None:
    model, batch = model_and_batch(family, summaries={"width": 8})
    objective = OBJECTIVES.build(name)
    loss = objective.loss(model, batch, 4)
    assert loss.shape == (3,) and loss.isfinite().all()
    (part, *_) = objective.trains
    weights = next(weights for name, weights in model.named_parameters() if name.startswith(part))
    assert torch.autograd.grad(loss.mean(), weights)[0].abs().sum() > 0


def test_iwae_is_the_tighter_bound() -> None:
    """Same draws: log of the mean weight is at least the mean of the log weights (Jensen)."""
    model, batch = model_and_batch("nsf")
    with torch.no_grad():
        torch.manual_seed(1)
        elbo = OBJECTIVES.build("elbo").loss(model, batch, 64)
        torch.manual_seed(1)
        iwae = OBJECTIVES.build("iwae").loss(model, batch, 64)
    assert (iwae < elbo).all()


def test_closed_divergences_are_those_of_the_draws() -> None:
    """Of every family that offers one; the independent families must offer it for truncated normals."""
    closed = {}
    for name in sorted(FAMILIES):
        torch.manual_seed(2)
        lower, upper = torch.tensor([0.0, 20.0]), torch.tensor([10.0, 90.0])
        q = build(name, 2, 4, lower, upper)(torch.randn(5, 4))
        divergence = q.kl_uniform()
        if divergence is not None:
            with torch.no_grad():
                log_q = q.rsample_and_log_prob((20_000,), torch.Generator().manual_seed(0))[1]
            closed[name] = (
                (divergence.sum(-1) - (log_q.mean(0) + (upper - lower).log().sum())).abs().max().item()
            )
            assert closed[name] < 0.05, name
    assert "truncated_normal" in closed


def test_elbo_with_closed_divergence_has_the_same_mean_and_less_scatter() -> None:
    model, batch = model_and_batch(generative_options={"prior": "uniform"})

    def plain(samples: int) -> Tensor:
        q = model.posterior(batch.seen)
        u, log_q = q.base.rsample_and_log_prob((samples,))
        return log_q - model.log_prior(u)

    with torch.no_grad():
        torch.manual_seed(0)
        sampled = plain(4000)
        divergence = divergence_terms(model, batch, 2)[1]
        again = divergence_terms(model, batch, 2)[1]
    # Under the uniform prior nothing of the divergence is left to chance.
    torch.testing.assert_close(divergence, again)
    assert ((sampled.mean(0) - divergence).abs() < 5 * sampled.std(0) / math.sqrt(4000)).all()


def test_beta_elbo_weighs_anneals_and_frees() -> None:
    model, batch = model_and_batch("nsf")

    def value(goal: Objective, step: int | None = None) -> Tensor:
        torch.manual_seed(0)
        with torch.no_grad():
            return goal.loss(model, batch, 4, step)

    torch.manual_seed(0)
    with torch.no_grad():
        log_likelihood, divergence = divergence_terms(model, batch, 4)
    torch.testing.assert_close(value(BetaElbo()), value(OBJECTIVES.build("elbo")))
    torch.testing.assert_close(value(BetaElbo(beta=3.0)), 3.0 * divergence - log_likelihood)
    annealed = BetaElbo(beta=2.0, anneal_steps=10)
    torch.testing.assert_close(value(annealed, 0), -log_likelihood)
    torch.testing.assert_close(value(annealed, 5), divergence - log_likelihood)
    torch.testing.assert_close(value(annealed), 2.0 * divergence - log_likelihood)
    plenty = (float(divergence.mean()) + 5.0) / math.log(2.0)
    torch.testing.assert_close(value(BetaElbo(free_bits=plenty)), plenty * math.log(2.0) - log_likelihood)
    torch.testing.assert_close(value(BetaElbo(free_bits=1e-6)), divergence - log_likelihood)


def test_the_doubly_reparametrised_gradient_is_unbiased() -> None:
    """Its mean is that of the plain gradient of the same bound; its value is the bound's."""
    model, batch = model_and_batch("nsf", n=1)
    torch.manual_seed(3)
    value = Iwae().loss(model, batch, 8)
    torch.manual_seed(3)
    torch.testing.assert_close(value, plain_iwae(model, batch, 8), rtol=1e-3, atol=1e-2)
    quiet, batch = model_and_batch("nsf", noise=QUIET)
    n = 2000
    dreg = gradients_by_features(quiet, batch, lambda m, b: Iwae().loss(m, b, 4), n)
    plain = gradients_by_features(quiet, batch, lambda m, b: plain_iwae(m, b, 4), n)
    standard = (dreg.mean(0) - plain.mean(0)) / ((dreg.var(0) + plain.var(0)) / n).sqrt()
    assert standard.abs().max() < 4.5
    told = dreg.mean(0).abs() > 5 * (dreg.var(0) / n).sqrt()
    assert told.float().mean() > 0.5, "nothing was compared"


def test_signal_to_noise_of_iwae_grows_with_the_number_of_draws() -> None:
    """Rainforth et al. 2018: the plain gradient drowns as K grows; DReG (Tucker et al. 2019) does not."""
    model, batch = model_and_batch("nsf", noise={"additive_independent": 1.0, "additive_common": 0.0})

    def ratio(loss: Any, samples: int) -> float:
        """Of the mean gradient to its scatter, the scatter of the mean itself taken off."""
        g = gradients_by_features(model, batch, lambda m, b: loss(m, b, samples), 150)
        mean_square = g.mean(0).square().sum() - g.var(0).sum() / len(g)
        return float(mean_square.clamp(min=0.0).sqrt() / g.var(0).sum().sqrt())

    # Both from 16 to 128 draws; measured on 300 gradients: 0.15 → 0.04 and 0.73 → 1.36.
    plain = [ratio(plain_iwae, k) for k in (16, 128)]
    dreg = [ratio(Iwae().loss, k) for k in (16, 128)]
    assert plain[1] < 0.7 * plain[0], plain
    assert dreg[1] > 1.4 * dreg[0], dreg


@pytest.mark.parametrize("name", sorted(n for n in FAMILIES if FAMILIES[n].has_density))
def test_a_simulation_at_a_bound_does_not_drown_the_epoch(name: str) -> None:
    """One in a hundred thousand has a variable within a millionth of a bound; its loss was 1e11 nats once."""
    torch.manual_seed(0)
    q = build(name, 3, 4, [0.0, 20.0, 0.0], [10.0, 90.0, 2.0])(torch.randn(1, 4))
    at_bound = torch.tensor([[5.0, 55.0, 0.0], [10.0, 55.0, 1.0]])
    with torch.no_grad():
        assert (q.log_prob(at_bound.unsqueeze(1)) > -1e5).all()


def test_predictive_nll_is_the_published_loss() -> None:
    model, batch = model_and_batch()
    torch.manual_seed(0)
    with torch.no_grad():
        loss = OBJECTIVES.build("predictive_nll").loss(model, batch, 1)
        torch.manual_seed(0)
        q = model.posterior(batch.seen)
        z = q.rsample((70,))
        r = model.generative.decode(z, batch.seen)[..., 1:]
        normal = torch.distributions.Normal(r.mean(0), r.std(0))
        want = -normal.log_prob(batch.seen.reflectance[:, 1:]).sum(-1)
    divergence = q.base.kl_uniform()
    assert divergence is not None
    torch.testing.assert_close(loss, want + 2.0 * divergence[:, LAI], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"summaries"}))
def test_no_objective_looks_under_a_missing_band(name: str) -> None:
    model, batch = model_and_batch(encoder_options={**SMALL, "hidden": 0.5})
    valid = batch.seen.valid.clone()
    valid[0, 3], valid[1, :2] = False, False
    losses = []
    for garbage in (0.0, 0.9):
        seen = replace(batch.seen, reflectance=batch.seen.reflectance.where(valid, garbage), valid=valid)
        torch.manual_seed(0)
        loss = OBJECTIVES.build(name).loss(model, replace(batch, seen=seen), 2)
        losses.append(loss.detach())
    assert torch.equal(*losses) and losses[0].isfinite().all()
    torch.manual_seed(0)
    assert not torch.equal(OBJECTIVES.build(name).loss(model, batch, 2)[:2], losses[0][:2])


def test_divergence_of_leaf_area_from_draws_is_that_of_the_closed_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, batch = model_and_batch(n=200)
    with torch.no_grad():
        q = model.posterior(batch.seen)
        u = q.base.rsample((70,))
        closed = _lai_divergence(q, u)
        monkeypatch.setattr(type(q.base), "kl_uniform", lambda self: None)
        sampled = _lai_divergence(q, u)
    assert (sampled - closed).mean().abs() < 0.05
    assert (sampled - closed).abs().max() < 0.6


@pytest.mark.parametrize("name", sorted(PRIORS))
def test_a_learned_prior_replaces_the_physical_one_in_the_bound_alone(name: str) -> None:
    model, batch = model_and_batch("nsf", learned_prior=name)
    q = model.posterior(batch.seen)
    u = q.base.rsample((5,))
    assert not torch.allclose(model.log_prior(u), model.generative.prior().log_prob_base(u))
    physical = q.base_log_joint(u) - q.base_log_likelihood(u)
    torch.testing.assert_close(physical, model.generative.prior().log_prob_base(u), rtol=1e-4, atol=1e-2)
    prior = model.learned_prior
    assert prior is not None
    for goal in ("elbo", "iwae"):
        loss = OBJECTIVES.build(goal).loss(model, batch, 4).mean()
        assert all(
            g.abs().sum() > 0 for g in torch.autograd.grad(loss, list(prior.parameters()), allow_unused=False)
        )
    assert (
        torch.autograd.grad(
            OBJECTIVES.build("npe").loss(model, batch, 4).mean(), list(prior.parameters()), allow_unused=True
        )[0]
        is None
    )


def test_gradient_of_iwae_by_the_learned_prior_is_the_plain_one() -> None:
    """DReG concerns q alone; squared weights would be wrong for the prior."""
    model, batch = model_and_batch("nsf", n=1, learned_prior="mixture", noise=QUIET)
    assert isinstance(model.learned_prior, FamilyPrior)
    weights = list(model.learned_prior.parameters())
    torch.manual_seed(0)
    got = torch.autograd.grad(Iwae().loss(model, batch, 16).mean(), weights)
    torch.manual_seed(0)
    q = model.posterior(batch.seen)
    u, log_q = q.base.rsample_and_log_prob((16,))
    plain = -torch.logsumexp(q.base_log_likelihood(u) + model.log_prior(u) - log_q, dim=0)
    for g, want in zip(got, torch.autograd.grad(plain.mean(), weights), strict=True):
        torch.testing.assert_close(g, want, rtol=1e-3, atol=1e-4)


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'beta' of objective 'elbo'.*known: none"):
        OBJECTIVES.build("elbo", beta=1.0)
    with pytest.raises(ConfigError, match=r"'free_bits'.*at least 0"):
        OBJECTIVES.build("beta_elbo", free_bits=-1.0)
