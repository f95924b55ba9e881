"""Objectives: what each loss is, and that its gradient is what it claims."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models import objectives
from canopyflow.models.objectives import OBJECTIVES, Batch, BetaElbo, Iwae, Objective, objective
from canopyflow.models.priors import PRIOR_FAMILIES, FamilyPrior, VampPrior
from canopyflow.models.retrieval import ModelOptions, RetrievalModel
from canopyflow.physics.priors import LAI
from canopyflow.posteriors import FAMILIES, build

BANDS = ("B02", "B03", "B04", "B08", "B11")


def model_and_batch(
    family: str = "truncated_normal", n: int = 3, **options: Any
) -> tuple[RetrievalModel, Batch]:
    torch.manual_seed(0)
    small = {"width": 16, "blocks": 1}
    model = RetrievalModel(
        ModelOptions(family=family, bands=BANDS, platforms=("S2A",), encoder_options=small, **options)
    )
    g = torch.Generator().manual_seed(1)
    z = model.prior.sample(n, g)
    angles, platform = torch.tensor([[35.0, 5.0, 90.0]]).expand(n, 3), torch.zeros(n, dtype=torch.long)
    return model, Batch(model.noise.sample(model.decode(z, angles, platform), g), angles, platform, z)


def gradient(model: RetrievalModel, loss: Tensor) -> Tensor:
    """Of the loss by the weights of the first encoder layer, flat."""
    return torch.autograd.grad(loss.mean(), model.encoder.first.weight)[0].flatten()


def gradients_by_features(
    model: RetrievalModel, batch: Batch, loss: Callable[[RetrievalModel, Batch], Tensor], n: int
) -> Tensor:
    """``n`` independent draws of the gradient by the features of the first pixel, (n, features).

    One pass over n copies of the pixel: the features of each copy have a gradient of their own.
    """
    copies = Batch(
        *(t[:1].expand(n, *t.shape[1:]) for t in (batch.reflectance, batch.angles, batch.platform))
    )
    kept: list[Tensor] = []
    hook = model.encoder.register_forward_hook(lambda module, inputs, output: kept.append(output))
    torch.manual_seed(0)
    value = loss(model, copies)
    hook.remove()
    return torch.autograd.grad(value.sum(), kept[0])[0]


QUIET = {"additive_independent": 0.3, "additive_common": 0.0}
"""So much noise that an untrained posterior is near the true one and the plain gradient's variance small."""


def plain_iwae(model: RetrievalModel, batch: Batch, samples: int) -> Tensor:
    q = model.posterior(batch.reflectance, batch.angles, batch.platform)
    u, log_q = q.base.rsample_and_log_prob((samples,))
    return math.log(samples) - torch.logsumexp(q.base_log_joint(u) - log_q, dim=0)


@pytest.mark.parametrize("family", ["truncated_normal", "nsf", "auxiliary"])
@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_trains_every_kind_of_family(name: str, family: str) -> None:
    model, batch = model_and_batch(family)
    loss = objective(name).loss(model, batch, 4)
    assert loss.shape == (3,) and loss.isfinite().all()
    assert gradient(model, loss).abs().sum() > 0


def test_iwae_is_the_tighter_bound() -> None:
    """Same draws: log of the mean weight is at least the mean of the log weights (Jensen)."""
    model, batch = model_and_batch("nsf")
    with torch.no_grad():
        torch.manual_seed(1)
        elbo = objective("elbo").loss(model, batch, 64)
        torch.manual_seed(1)
        iwae = objective("iwae").loss(model, batch, 64)
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
    model, batch = model_and_batch(prior="uniform")

    def plain(samples: int) -> Tensor:
        q = model.posterior(batch.reflectance, batch.angles, batch.platform)
        u, log_q = q.base.rsample_and_log_prob((samples,))
        return log_q - model.log_prior(u)

    with torch.no_grad():
        torch.manual_seed(0)
        sampled = plain(4000)
        divergence = objectives._terms(model, batch, 2)[1]
        again = objectives._terms(model, batch, 2)[1]
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
        log_likelihood, divergence = objectives._terms(model, batch, 4)
    torch.testing.assert_close(value(BetaElbo()), value(objective("elbo")))
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
    assert (dreg.mean(0).abs() > 5 * (dreg.var(0) / n).sqrt()).any(), "nothing was compared"


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
        loss = objective("predictive_nll").loss(model, batch, 1)
        torch.manual_seed(0)
        q = model.posterior(batch.reflectance, batch.angles, batch.platform)
        z = q.rsample((70,))
        r = model.decode(z, batch.angles, batch.platform)[..., 1:]
        normal = torch.distributions.Normal(r.mean(0), r.std(0))
        want = -normal.log_prob(batch.reflectance[:, 1:]).sum(-1)
    divergence = q.base.kl_uniform()
    assert divergence is not None
    torch.testing.assert_close(loss, want + 2.0 * divergence[:, LAI], rtol=1e-3, atol=1e-3)


def test_divergence_of_leaf_area_from_draws_is_that_of_the_closed_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, batch = model_and_batch(n=200)
    with torch.no_grad():
        q = model.posterior(batch.reflectance, batch.angles, batch.platform)
        u = q.base.rsample((70,))
        closed = objectives._lai_divergence(q, u)
        monkeypatch.setattr(type(q.base), "kl_uniform", lambda self: None)
        sampled = objectives._lai_divergence(q, u)
    assert (sampled - closed).mean().abs() < 0.05
    assert (sampled - closed).abs().max() < 0.6


@pytest.mark.parametrize("name", ["mixture", "flow", "vamp"])
def test_a_learned_prior_replaces_the_physical_one_in_the_bound_alone(name: str) -> None:
    model, batch = model_and_batch("nsf", learned_prior=name)
    q = model.posterior(batch.reflectance, batch.angles, batch.platform)
    u = q.base.rsample((5,))
    assert not torch.allclose(model.log_prior(u), model.prior.log_prob_base(u))
    physical = q.base_log_joint(u) - q.base_log_likelihood(u)
    torch.testing.assert_close(physical, model.prior.log_prob_base(u), rtol=1e-4, atol=1e-2)
    prior = model.learned_prior
    assert prior is not None
    for goal in ("elbo", "iwae"):
        loss = objective(goal).loss(model, batch, 4).mean()
        assert all(
            g.abs().sum() > 0 for g in torch.autograd.grad(loss, list(prior.parameters()), allow_unused=False)
        )
    assert (
        torch.autograd.grad(
            objective("npe").loss(model, batch, 4).mean(), list(prior.parameters()), allow_unused=True
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
    q = model.posterior(batch.reflectance, batch.angles, batch.platform)
    u, log_q = q.base.rsample_and_log_prob((16,))
    plain = -torch.logsumexp(q.base_log_likelihood(u) + model.log_prior(u) - log_q, dim=0)
    for g, want in zip(got, torch.autograd.grad(plain.mean(), weights), strict=True):
        torch.testing.assert_close(g, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", sorted(PRIOR_FAMILIES))
def test_a_learned_prior_is_a_density_on_the_base_box(name: str) -> None:
    """E[p(u)/uniform(u)] over uniform draws is one."""
    lower, upper = torch.zeros(2), torch.tensor([1.0, 3.0])
    torch.manual_seed(0)
    prior = FamilyPrior(PRIOR_FAMILIES[name], lower, upper)
    u = lower + (upper - lower) * torch.rand(40_000, 2)
    with torch.no_grad():
        ratio = (prior(u, lambda *_: pytest.fail("needs no posterior")) + math.log(3.0)).exp()
    assert abs(ratio.mean() - 1.0) < 5 * ratio.std() / 200


def test_vamp_prior_is_the_mean_posterior_of_its_pseudo_inputs() -> None:
    model, batch = model_and_batch("truncated_normal", learned_prior="vamp")
    assert isinstance(model.learned_prior, VampPrior)
    model.learned_prior.start(batch.reflectance, batch.angles)
    u = model.prior.to_base(batch.variables) if batch.variables is not None else torch.empty(0)
    with torch.no_grad():
        q = model.posterior(batch.reflectance, batch.angles, "S2A").base
        each = q.log_prob(u.unsqueeze(1)).exp()  # (point, pseudo-input)
        share = torch.bincount(torch.arange(16) % 3) / 16
        torch.testing.assert_close(model.log_prior(u).exp(), (each * share).sum(1), rtol=1e-3, atol=1e-12)


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'beta' of objective 'elbo'.*known: none"):
        objective("elbo", {"beta": 1.0})
    with pytest.raises(ConfigError, match=r"'free_bits'.*at least 0"):
        objective("beta_elbo", {"free_bits": -1.0})
