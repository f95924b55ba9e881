"""After a small training a model of seasons finds a posterior that is known in closed form."""

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from linear_pixel import NOISE, LinearPixel, closed
from torch import Tensor

from canopyflow.models.descent import descent
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.generative._season import Season
from canopyflow.observations.observation import Given, Observation, Sample, View
from canopyflow.physics.noise import NoiseModel
from canopyflow.training.objectives.npe import Npe

BANDS = ("B02", "B03", "B04")
NAMES = ("lai", "cab")
DATES, SIZE, MIDDLE = 5, 0.03, 0.3
STEPS, BATCH, DRAWN = 1200, 128, 60_000


class BrightPixel(LinearPixel):
    """The linear pixel with spectra that the encoder's stretch hardly bends."""

    def __init__(self, bands: tuple[str, ...], platforms: tuple[str, ...]) -> None:
        super().__init__(NAMES, bands)
        self.noise = NoiseModel(NOISE * SIZE, 0.0, 0.0, 0.0)

    def decode(self, z: Tensor, given: Given) -> Tensor:
        return MIDDLE + SIZE * super().decode(z, given)


class Exact(NamedTuple):
    """Mean (n, T, D) and covariance (n, T, D, T, D) of normal scores."""

    mean: Tensor
    covariance: Tensor


def seasons(model: Season, n: int, g: torch.Generator) -> Sample:
    """Noisy drawn seasons within half a year."""
    given = Given(
        geometry=torch.tensor([40.0, 5.0, 90.0]).expand(n, DATES, 3),
        platform=torch.zeros(n, DATES, dtype=torch.long),
        bands=BANDS,
        view=View.SEASON,
        day=180.0 * torch.rand(n, DATES, generator=g),
    )
    clean = model.simulate(given, g)
    return replace(clean, seen=model.observe(clean, g))


def conditioned(model: Season, seen: Observation) -> Exact:
    """The posterior by conditioning the joint normal distribution, in double precision."""
    mean, covariance = closed(model, replace(seen, reflectance=(seen.reflectance - MIDDLE) / SIZE))
    n, t, d = *seen.valid.shape[:2], len(NAMES)
    return Exact(mean.reshape(n, t, d), covariance.reshape(n, t, d, t, d))


@pytest.fixture(scope="module")
def trained() -> Amortised:
    torch.manual_seed(0)
    model = Amortised(
        ModelOptions(
            "maf",
            BANDS,
            ("S2A",),
            family_options={"transforms": 1, "hidden": (48,)},
            encoder="season",
            encoder_options={"width": 48, "layers": 2, "hidden": 0.0},
            generative=BrightPixel,
            dynamics="season_gp",
        )
    )
    g = torch.Generator().manual_seed(1)
    assert isinstance(model.generative, Season)
    drawn = seasons(model.generative, DRAWN, g)
    model.encoder.standardise(drawn.seen)

    def loss(step: int) -> Tensor:
        sample = drawn.rows(torch.randint(DRAWN, (BATCH,), generator=g))
        return Npe().loss(model, replace(sample, seen=model.encoder.thinned(sample.seen, g)), 1).mean()

    learned = [*model.encoder.parameters(), *model.family.parameters()]
    for _ in descent(learned, loss, steps=STEPS, rate=5e-3):
        pass
    return model.requires_grad_(False).eval()


@pytest.mark.slow
def test_posterior_of_a_linear_season_is_the_one_of_conditioning(trained: Amortised) -> None:
    assert isinstance(trained.generative, Season)
    g = torch.Generator().manual_seed(2)
    seen = trained.encoder.thinned(seasons(trained.generative, 200, g).seen, g)
    exact = conditioned(trained.generative, seen)
    u = trained.posterior(seen).base.rsample((1000,), g)
    w = trained.generative.to_probit(u).double()
    sd = exact.covariance.reshape(200, 10, 10).diagonal(dim1=-2, dim2=-1).sqrt().reshape(200, DATES, 2)
    error = ((w.mean(0) - exact.mean) / sd).square().mean().sqrt()
    ratio = (w.std(0) / sd).log()
    order = seen.day.argsort(-1)
    drawn, known = (_neighbours(each, order) for each in (_correlation(w), _of(exact)))
    assert error < 0.15
    assert 0.9 < float(ratio.mean().exp()) < 1.1 and float(ratio.std()) < 0.1
    assert (drawn - known).square().mean().sqrt() < 0.15


@pytest.mark.slow
def test_evidence_is_that_of_the_normal_distribution(trained: Amortised) -> None:
    """By importance: the mean weight of draws is the evidence, whatever they were drawn from."""
    generative = trained.generative
    assert isinstance(generative, Season)
    g = torch.Generator().manual_seed(3)
    seen = seasons(generative, 20, g).seen
    q = trained.posterior(seen)
    u, log_q = q.base.rsample_and_log_prob((4000,), g)
    log_weight = (q.base_log_joint(u) - log_q).double()
    found = torch.logsumexp(log_weight, 0) - torch.log(torch.tensor(4000.0))
    weight = torch.softmax(log_weight, 0) * 4000
    error = weight.std(0) / 4000**0.5
    known = _log_evidence(generative, seen)
    assert (((found - known) / error).abs() < 3.0).float().mean() > 0.9
    assert (4000 / (1 + weight.var(0))).median() > 400


def _log_evidence(model: Season, seen: Observation) -> Tensor:
    base = model.base
    assert isinstance(base, BrightPixel) and seen.day is not None
    covariance = model.dynamics.covariance(seen.day.double())
    told = SIZE * base.sign(seen).double()[..., None] * base.design.double()
    law = torch.einsum("ntbk,nkts,nsck->ntbsc", told, covariance, told)
    n, t, b = seen.reflectance.shape
    law = law.reshape(n, t * b, t * b) + (NOISE * SIZE) ** 2 * torch.eye(t * b).double()
    mean = torch.full((t * b,), MIDDLE).double()
    flat = seen.reflectance.double().reshape(n, t * b)
    return torch.distributions.MultivariateNormal(mean, law).log_prob(flat)


def _correlation(w: Tensor) -> Tensor:
    """Of draws (K, n, T, D): (n, T, T, D), between dates of each variable."""
    z = (w - w.mean(0)) / w.std(0)
    return torch.einsum("kntd,knsd->ntsd", z, z) / (len(z) - 1)


def _of(exact: Exact) -> Tensor:
    covariance = torch.einsum("ntdsd->ntsd", exact.covariance)
    sd = torch.einsum("nttd->ntd", covariance).sqrt()
    return covariance / (sd[:, :, None] * sd[:, None])


def _neighbours(correlation: Tensor, order: Tensor) -> Tensor:
    """Between each date and the next one, (n, T − 1, D)."""
    n = len(order)
    rows = torch.arange(n)[:, None]
    return correlation[rows, order[:, :-1], order[:, 1:]]
