"""Affine dynamics and a linear decoder: evidence and posterior are known in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from seasons_seen import season

from canopyflow.models.longitudinal.model import Longitudinal, LongitudinalOptions
from canopyflow.models.longitudinal.paths import draw_paths

DIM, DATES, BANDS = 2, 5, ("B02", "B04", "B08")


def affine_model(innovations=True, posterior="gaussian", size=0.4):
    """An untrained model with random affine dynamics, a linear decoder and noise."""
    torch.manual_seed(0)
    options = LongitudinalOptions(
        BANDS, dim=DIM, layers=0, width=32, innovations=innovations, posterior=posterior
    )
    model = Longitudinal(options).double()
    with torch.no_grad():
        for tensor in (model.law.lower_part, model.law.upper_part, model.law.log_diagonal):
            tensor.copy_(size * torch.randn_like(tensor))
        model.law.shift.weight.copy_(size * torch.randn_like(model.law.shift.weight))
        model.law.log_memory.copy_(torch.tensor([40.0, 150.0]).log())
        model.decoder.network[-1].weight.zero_()
        model.decoder.linear.weight.copy_(torch.randn_like(model.decoder.linear.weight))
        model.decoder.log_noise.fill_(-0.7)
    return model


class ClosedForm:
    """All of a season (n = 1) jointly: y at the nodes and x at the dates, as the model is defined."""

    def __init__(self, model, seen):
        law, decoder = model.law, model.decoder
        days = np.concatenate([[law.origin], seen.day[0].numpy()])
        lower, upper = (part.detach().numpy() for part in (law.lower_part, law.upper_part))
        mixing = (np.tril(lower, -1) + np.eye(DIM)) @ (
            np.triu(upper, 1) + np.diag(np.exp(law.log_diagonal.detach().numpy()))
        )
        angle = 2 * np.pi / 365.25 * days[:, None] * np.array([1, 2])
        waves = np.concatenate([np.sin(angle), np.cos(angle)], -1)
        shift = waves @ law.shift.weight.detach().numpy().T + law.shift.bias.detach().numpy()
        tau = np.exp(law.log_memory.detach().numpy())
        nodes = len(days)
        # z_0 ~ N(0, I): y_0 = mixing⁻¹ (z_0 − shift_0); then y_k = ρ y_{k−1} + σ ε.
        inverse = np.linalg.inv(mixing)
        mean, square = [-inverse @ shift[0]], np.zeros((nodes, nodes, DIM, DIM))
        square[0, 0] = inverse @ inverse.T
        self.rho = [np.exp(-np.diff(days)[k] / tau) for k in range(nodes - 1)]
        if not law.innovations:
            self.rho = [np.ones(DIM)] * (nodes - 1)
        for k, rho in enumerate(self.rho):
            mean.append(rho * mean[-1])
            for other in range(k + 1):
                square[k + 1, other] = rho[:, None] * square[k, other]
                square[other, k + 1] = square[k + 1, other].T
            square[k + 1, k + 1] = rho[:, None] * square[k, k] * rho + np.diag(1 - rho**2)
        self.mean = np.concatenate(mean)
        self.covariance = square.transpose(0, 2, 1, 3).reshape(nodes * DIM, nodes * DIM)
        self.mixing, self.shift, self.nodes = mixing, shift, nodes
        out = decoder.linear.weight.detach().numpy()
        bias = decoder.linear.bias.detach().numpy() + decoder.network[-1].bias.detach().numpy()
        # x_k = out (mixing y_k + shift_k) + bias: standardisation of the untrained decoder is the identity.
        to_x = np.kron(np.eye(nodes)[1:], out @ mixing)
        offset = ((shift[1:] @ out.T) + bias).ravel()
        valid = seen.valid[0].numpy().ravel()
        self.to_x, self.x = to_x[valid], seen.reflectance[0].numpy().ravel()[valid] - offset[valid]
        noise = np.tile(decoder.noise.detach().numpy() ** 2, nodes - 1)[valid]
        self.of_x = self.to_x @ self.covariance @ self.to_x.T + np.diag(noise)
        self.log_evidence = multivariate_normal(self.to_x @ self.mean, self.of_x).logpdf(self.x)
        gain = np.linalg.solve(self.of_x, self.to_x @ self.covariance).T
        self.posterior_mean = self.mean + gain @ (self.x - self.to_x @ self.mean)
        self.posterior = self.covariance - gain @ self.to_x @ self.covariance

    # The guide that is exact: normal laws of this posterior.

    def statics(self, count, generator):
        return torch.zeros(count, 1, 0, dtype=torch.float64), torch.zeros(count, 1, dtype=torch.float64)

    def anchor(self, node, s, generator):
        assert len(set(node.flatten().tolist())) == 1
        rows = slice(int(node[0, 0]) * DIM, int(node[0, 0]) * DIM + DIM)
        loc = self.mixing @ self.posterior_mean[rows] + self.shift[int(node[0, 0])]
        law = torch.distributions.MultivariateNormal(
            torch.from_numpy(loc),
            torch.from_numpy(self.mixing @ self.posterior[rows, rows] @ self.mixing.T),
        )
        z = law.sample(node.shape)
        return z, law.log_prob(z)

    def innovations(self, nodes, y, s, rho):
        """Of both directions."""
        both = [self.innovation(nodes[i], y[i], rho[i], forward=i == 0) for i in (0, 1)]
        return tuple(torch.stack(each) for each in zip(*both, strict=True))

    def innovation(self, node, y, rho, forward):
        other = node - 1 if forward else node + 1
        here, there = (slice(k * DIM, k * DIM + DIM) for k in (node, other))
        gain = np.linalg.solve(self.posterior[there, there], self.posterior[there, here]).T
        spread = np.sqrt(1 - self.rho[min(node, other)] ** 2)
        rest = self.posterior[here, here] - gain @ self.posterior[there, here]
        loc = self.posterior_mean[here] + (y.numpy() - self.posterior_mean[there]) @ gain.T
        loc = (loc - rho.numpy() * y.numpy()) / spread
        factor = np.linalg.cholesky(rest / spread[:, None] / spread)
        return torch.from_numpy(loc), torch.from_numpy(factor).expand(*loc.shape, DIM)


def one_season(missing, seed=1):
    """A season in order of day, with ``missing`` dates hidden and one band of an observed date."""
    seen = season(1, DATES, 1.0, seed, torch.float64, BANDS)
    seen = replace(seen, day=seen.day.sort(-1).values)
    valid = torch.ones_like(seen.valid)
    valid[0, torch.randperm(DATES, generator=torch.Generator().manual_seed(seed))[:missing]] = False
    valid[0, valid[0].any(-1).nonzero()[0, 0], 1] = False
    return replace(seen, valid=valid, reflectance=seen.reflectance.where(valid, 7.0))


@pytest.mark.parametrize("missing", [0, 1, DATES - 1])
@pytest.mark.parametrize("innovations", [True, False])
def test_with_the_exact_posterior_every_path_has_the_exact_evidence(missing, innovations) -> None:
    model, seen = affine_model(innovations), one_season(missing)
    exact = ClosedForm(model, seen)
    for anchor in range(DATES + 1):
        node = torch.full((20, 1), anchor)
        with torch.no_grad():
            paths = draw_paths(model.law, exact, seen.day, node)
            weights = paths.log_ratio + model.decoder.log_likelihood(paths.z, seen).sum(-1)
        assert np.abs(weights.numpy() - exact.log_evidence).max() < 1e-8, anchor


def test_a_removed_date_is_a_masked_one() -> None:
    model, masked = affine_model(), one_season(2)
    kept = masked.valid[0].any(-1).nonzero()[:, 0]
    removed = masked.each(lambda tensor: tensor[:, kept])
    exact = ClosedForm(model, removed)
    with torch.no_grad():
        paths = draw_paths(model.law, exact, removed.day, torch.ones(5, 1, dtype=torch.long))
        weights = paths.log_ratio + model.decoder.log_likelihood(paths.z, removed).sum(-1)
    assert np.abs(weights.numpy() - ClosedForm(model, masked).log_evidence).max() < 1e-8


class Wider:
    """The exact guide with standard deviations that are a third too large, and shifted: weights vary."""

    def __init__(self, exact):
        self.exact, self.statics = exact, exact.statics

    def anchor(self, node, s, generator):
        z, _ = self.exact.anchor(node, s, generator)
        middle = z.mean(0, keepdim=True)
        spread = torch.linalg.cholesky(torch.cov(z[:, 0].T)) * 1.3
        law = torch.distributions.MultivariateNormal(middle[0, 0] + 0.1, scale_tril=spread)
        z = law.sample(node.shape)
        return z, law.log_prob(z)

    def innovations(self, nodes, y, s, rho):
        loc, factor = self.exact.innovations(nodes, y, s, rho)
        return loc + 0.1, 1.3 * factor


@pytest.mark.parametrize("missing", [0, 1, DATES - 1])
def test_the_importance_estimate_is_the_evidence_from_every_anchor(missing) -> None:
    model, seen = affine_model(), one_season(missing)
    exact = ClosedForm(model, seen)
    torch.manual_seed(1)
    for anchor in range(DATES + 1):
        node = torch.full((20_000, 1), anchor)
        with torch.no_grad():
            paths = draw_paths(model.law, Wider(exact), seen.day, node)
            weights = paths.log_ratio + model.decoder.log_likelihood(paths.z, seen).sum(-1)
        _check(weights[:, 0], exact.log_evidence)


@pytest.mark.parametrize("posterior", ["gaussian", "iaf"])
@pytest.mark.parametrize("innovations", [True, False])
def test_so_is_that_of_the_networks_own_posterior(posterior, innovations) -> None:
    """Where data say little: an untrained posterior is then near enough for weights with a variance."""
    model, seen = affine_model(innovations, posterior, 0.05), one_season(1)
    with torch.no_grad():
        for weight in model.guide.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
        model.decoder.log_noise.fill_(1.0)
    exact = ClosedForm(model, seen)
    for anchor in [-1, *seen.valid[0].any(-1).nonzero()[:, 0].tolist()]:
        with torch.no_grad():
            node = torch.tensor([anchor + 1])
            weights = model._weights(seen, 20_000, node, torch.Generator().manual_seed(3))[1][:, 0]
        _check(weights, exact.log_evidence)
    estimate = float(model.evidence(seen, 20_000, torch.Generator().manual_seed(4)))
    assert abs(estimate - exact.log_evidence) < 0.05


def _check(log_weights, log_evidence):
    """The mean weight is the evidence within 3 standard errors, which are small."""
    ratio = (log_weights - log_evidence).exp()
    error = float(ratio.std()) / len(ratio) ** 0.5
    assert abs(float(ratio.mean()) - 1.0) < 3.0 * error < 0.15


def test_intervals_collapse_with_length_only_without_innovations() -> None:
    """Six times the dates within the same season: a single state is known √6 times as well, a path is not."""
    sd = {}
    for innovations in (True, False):
        for dates in (DATES, 6 * DATES):
            model = affine_model(innovations)
            seen = season(1, dates, 1.0, 3, torch.float64, BANDS)
            seen = replace(seen, day=torch.linspace(0.0, 300.0, dates, dtype=torch.float64)[None])
            exact = ClosedForm(model, seen)
            middle = exact.nodes // 2 * DIM
            sd[innovations, dates] = np.sqrt(np.diag(exact.posterior)[middle : middle + DIM])
    assert (sd[False, 6 * DATES] < 0.5 * sd[False, DATES]).all()
    assert (sd[True, 6 * DATES] > 0.5 * sd[True, DATES]).all()
