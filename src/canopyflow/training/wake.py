"""The wake step: what real pixels say about the physics, with the posterior held.

Wake-sleep learning (Hinton et al., Science 268, 1995) takes turns: asleep, the posterior learns from
simulations, as all models here do; awake, the generative model learns from what was seen, at states that the
posterior draws. What is learned awake is a discrepancy of the physics, a factor for each band that all pixels
share: error of calibration, of atmospheric correction, of spectra of leaves and soils. A factor needs no new
sleep: a spectrum divided by it is one that the posterior knows.

No label is used. What the state can explain, such as a bright soil, is no discrepancy and stays where it is.

The posterior must be right: if it is too wide, spectra scatter more about its draws than the noise allows,
and factors above one, which raise the noise with the reflectance, seem likelier. Its draws should therefore
be refined by importance weights (:class:`canopyflow.models.estimators.refined.Refined`).
"""

from dataclasses import replace

import torch
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.runtime import generator
from canopyflow.observations.observation import Observation
from canopyflow.physics.noise import NoiseModel

_LEAST = 20
"""Pixels for each band, below which factors would be noise."""


def without(seen: Observation, log_factor: Tensor) -> Observation:
    """``seen`` with a discrepancy ``log_factor`` (bands,) taken out of its reflectance."""
    return replace(seen, reflectance=seen.reflectance * torch.exp(-log_factor).to(seen.reflectance))


def wake(
    model: Estimator,
    seen: Observation,
    *,
    rounds: int = 20,
    draws: int = 16,
    deviation: float = 0.1,
    seed: int = 0,
) -> Tensor:
    """Logarithms (bands,) of the factors between real spectra ``seen`` (n) and those of the physics.

    Each of ``rounds`` draws states from the posterior of the spectra without the discrepancy found so far,
    and then takes the factors that make ``seen`` likeliest at these states, under a normal law of their
    logarithms with standard ``deviation``: expectation maximisation, where the posterior of ``model`` gives
    the expectation.
    Raises DataError for too few pixels, and for a generative model whose noise is another.
    """
    noise = getattr(model.generative, "noise", None)
    if not isinstance(noise, NoiseModel):
        raise DataError("the generative model has no noise of the radiative transfer", "use field or prosail")
    bands = len(seen.bands)
    if len(seen) < _LEAST * bands:
        raise DataError(
            f"{len(seen)} pixels are too few to tell factors of {bands} bands",
            f"give {_LEAST * bands} or more",
        )
    log_factor = torch.zeros(bands, device=seen.reflectance.device)
    for number in range(rounds):
        with torch.no_grad():
            known = without(seen, log_factor)
            g = generator("wake", seed, number, device=seen.reflectance.device)
            rendered = model.generative.decode(model.posterior(known).draw(draws, g).z, seen)
        log_factor = _likeliest(noise, seen, rendered, log_factor, deviation)
    return log_factor


def _likeliest(
    noise: NoiseModel, seen: Observation, rendered: Tensor, start: Tensor, deviation: float
) -> Tensor:
    """Factors with which ``seen`` (n) is likeliest where the physics ``rendered`` (K, n, bands)."""
    value = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([value], max_iter=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        likelihood = noise.log_prob(seen.reflectance, rendered * value.exp(), seen.partly)
        total = -likelihood.mean() + 0.5 * (value / deviation).square().sum() / len(seen)
        total.backward()
        return total

    optimizer.step(loss)
    return value.detach()
