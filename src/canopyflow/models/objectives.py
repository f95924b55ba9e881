"""Training objectives: each turns one batch into a loss to minimise, in nats per pixel.

All are called ``objective(model, batch, samples)``; ``batch.variables`` is
None for observed pixels, which only objectives that need no truth can use.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.retrieval import RetrievalModel


@dataclass(frozen=True)
class Batch:
    """Noisy pixels: reflectance (B, bands), angles (B, 3) degrees, platform (B,) long, truth (B, 11)."""

    reflectance: Tensor
    angles: Tensor
    platform: Tensor
    variables: Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """A loss per pixel, (B,), and whether it needs the true variables."""

    loss: Callable[[RetrievalModel, Batch, int], Tensor]
    needs_truth: bool


def _log_weights(model: RetrievalModel, batch: Batch, samples: int) -> Tensor:
    """log p(x, z_k) - log q(z_k | x), (K, B); on the base box, where the Jacobians have cancelled."""
    q = model.posterior(batch.reflectance, batch.angles, batch.platform)
    u, log_q = q.base.rsample_and_log_prob((samples,))
    return q.base_log_joint(u) - log_q


def _elbo(model: RetrievalModel, batch: Batch, samples: int) -> Tensor:
    """Negative evidence lower bound, averaged over K draws."""
    return -_log_weights(model, batch, samples).mean(0)


def _iwae(model: RetrievalModel, batch: Batch, samples: int) -> Tensor:
    """Negative importance-weighted bound (Burda et al. 2016): tighter with every draw."""
    return math.log(samples) - torch.logsumexp(_log_weights(model, batch, samples), dim=0)


def _npe(model: RetrievalModel, batch: Batch, samples: int) -> Tensor:
    """Neural posterior estimation: -log q of the variables that made the spectrum (forward KL)."""
    assert batch.variables is not None
    return -model.posterior(batch.reflectance, batch.angles, batch.platform).log_prob(batch.variables)


OBJECTIVES: dict[str, Objective] = {
    "elbo": Objective(_elbo, needs_truth=False),
    "iwae": Objective(_iwae, needs_truth=False),
    "npe": Objective(_npe, needs_truth=True),
}


def objective(name: str) -> Objective:
    """The objective called ``name``. Raises ConfigError with the nearest name for an unknown one."""
    if name not in OBJECTIVES:
        near = get_close_matches(name, OBJECTIVES, n=1) or sorted(OBJECTIVES)
        raise ConfigError(f"objective {name!r} is unknown", f"did you mean {near[0]!r}?")
    return OBJECTIVES[name]
